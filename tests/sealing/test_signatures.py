"""Signatures of publishers and licences: checked before anything is decrypted, whatever opens the file."""

import hashlib
import io
import tarfile
from datetime import datetime, timedelta, timezone

import pytest

from helpers.sealed_files import PLAIN, joined, split
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError, KeyFileError, LicenceError, SealedFileError, SignatureError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    Licence,
    PublicRecipient,
    SealedReader,
    Signer,
    add_recipients,
    device_id,
    file_info,
    open_sealed,
    publisher_of,
    recipient_of,
    remove_recipient,
    seal_file,
    seal_folder,
    sealed_output,
    sealing_into,
    unseal_file,
)
from mmseg_keyprotect.sealing.sealed_files import refuse_plain
from mmseg_keyprotect.sealing.writing import SealedWriter

PUBLISHER = SecretKey.from_bytes(hashlib.sha256(b'publisher').digest())


def days(number):
    return (datetime.now(timezone.utc) + timedelta(days=number)).strftime('%Y-%m-%dT%H:%M:%SZ')


def read_all(path, key, **options):
    with open_sealed(path, key, **options) as reader:
        return reader.read()


@pytest.fixture
def seal(plain, tmp_path, key):
    """Return a function that seals the plain file with a licence of the given terms."""

    def make(name='signed', **terms):
        path = tmp_path / name
        seal_file(plain, path, [KeyRecipient(key)], key.key_id, Signer(PUBLISHER, Licence(**terms)))
        return path

    return make


def test_there_and_back(seal, key, tmp_path):
    path = seal(recipient='ACME', not_after='2999-12-31')
    assert read_all(path, key, publisher=publisher_of(PUBLISHER)) == PLAIN
    unseal_file(path, tmp_path / 'again', key)
    assert (tmp_path / 'again').read_bytes() == PLAIN
    with open_sealed(path, key) as reader:  # any place, in any order
        for place in (len(PLAIN) - 3, 0, 1 << 18):
            reader.seek(place)
            assert reader.read(3) == PLAIN[place : place + 3]
    found = file_info(path)
    assert (found['version'], found['publisher']) == (2, publisher_of(PUBLISHER))
    assert found['licence'] == Licence('ACME', not_after='2999-12-31').to_fields()


def test_a_writer_in_the_middle_of_a_file(key):
    file = io.BytesIO()
    file.write(b'before')
    with sealing_into(file, [KeyRecipient(key)], signer=Signer(PUBLISHER)) as writer:
        writer.write(PLAIN)
    file.write(b'after')
    sealed = file.getvalue()
    assert sealed.startswith(b'before')
    assert sealed.endswith(b'after')
    assert read_all(io.BytesIO(sealed[6:-5]), key) == PLAIN


@pytest.mark.skipif(not hasattr(tarfile, 'data_filter'), reason='Python before 3.10.12 or 3.11.4 unseals no folder')
def test_a_folder(tmp_path, key):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'a.txt').write_text('a')
    seal_folder(tmp_path / 'model', tmp_path / 'sealed', [KeyRecipient(key)], signer=Signer(PUBLISHER))
    unseal_file(tmp_path / 'sealed', tmp_path / 'again', key)
    assert (tmp_path / 'again' / 'a.txt').read_text() == 'a'


class TestPublisher:
    def test_another_one(self, seal, key, other_key):
        with pytest.raises(SignatureError, match=f'that {publisher_of(other_key)} signed, but got one of'):
            read_all(seal(), key, publisher=publisher_of(other_key))

    def test_none(self, plain, tmp_path, key):
        seal_file(plain, tmp_path / 'x', [KeyRecipient(key)])
        with pytest.raises(SignatureError, match='one without a signature'):
            read_all(tmp_path / 'x', key, publisher=publisher_of(PUBLISHER))

    def test_no_publisher(self, seal, key):
        path = seal()
        for text in ('me', publisher_of(PUBLISHER)[:-1] + '_', recipient_of(key)):
            with pytest.raises(KeyFileError, match='Expected a publisher'):
                read_all(path, key, publisher=text)

    def test_the_environment_holds_for_everything(self, plain, seal, tmp_path, key, monkeypatch):
        signed = seal()
        seal_file(plain, tmp_path / 'unsigned', [KeyRecipient(key)])
        monkeypatch.setenv('KEYPROTECT_PUBLISHER', publisher_of(PUBLISHER))
        unseal_file(signed, tmp_path / 'again', key)
        for act in (
            lambda: open_sealed(tmp_path / 'unsigned', key),
            lambda: unseal_file(tmp_path / 'unsigned', tmp_path / 'x', key),
            lambda: add_recipients(tmp_path / 'unsigned', tmp_path / 'x', [], key),
            lambda: refuse_plain(plain),
        ):
            with pytest.raises(SignatureError):
                act()
        assert not (tmp_path / 'x').exists()

    def test_a_plain_file_is_refused_too(self, tmp_path, key_file, monkeypatch):
        """Where it stands in the place of a signed one."""
        torch = pytest.importorskip('torch')
        pytest.importorskip('mmengine')
        from mmseg_keyprotect.engine.sealed_checkpoints import load_from_local, read_content

        path = tmp_path / 'plain.pth'
        torch.save(dict(state_dict=dict(a=torch.zeros(1))), path)
        assert load_from_local(str(path))
        monkeypatch.setenv('KEYPROTECT_PUBLISHER', publisher_of(PUBLISHER))
        for act in (load_from_local, read_content):
            with pytest.raises(SignatureError, match='is a plain one'):
                act(str(path))

    def test_empty_text_requires_what_the_environment_does(self, seal, key, other_key, monkeypatch):
        monkeypatch.setenv('KEYPROTECT_PUBLISHER', f' {publisher_of(other_key)}\n')
        with pytest.raises(SignatureError):
            open_sealed(seal(), key, publisher='')

    def test_what_is_signed_was_verified(self, plain, tmp_path, key, other_key, monkeypatch):
        """Another recipient changes the file while it is copied."""
        base = tmp_path / 'base'
        seal_file(plain, base, [KeyRecipient(key)])

        class Late(KeyRecipient):
            def wrap(self, file_key):
                data = bytearray(base.read_bytes())
                data[-100] ^= 1
                base.write_bytes(data)
                return super().wrap(file_key)

        with pytest.raises(SealedFileError, match='damaged'):
            add_recipients(base, tmp_path / 'x', [Late(other_key)], key, signer=Signer(PUBLISHER))
        assert not (tmp_path / 'x').exists()

    def test_who_has_the_file_key_cannot_sign(self, seal, key, tmp_path):
        """A customer seals other weights under the same file key, and keeps the signature."""
        path = seal()
        with open(path, 'rb') as file:
            reader = SealedReader(file, key)
            header, file_key = reader.header, reader.file_key
        with open(tmp_path / 'forged', 'wb') as file:
            writer = SealedWriter(file, header, file_key)
            writer.write(PLAIN[::-1])
            writer.finish()
            file.write(path.read_bytes()[-96:])
        with pytest.raises(SealedFileError):
            read_all(tmp_path / 'forged', key)

    def test_a_signature_of_another_file(self, seal, key, tmp_path):
        """Its licence is better, but it is not of this file."""
        ended, better = seal('ended', not_after=days(-1)), seal('better', not_after=days(300))
        magic, header, rest = split(ended)
        mine, theirs = header['signature'], split(better)[1]['signature']
        (tmp_path / 'x').write_bytes(joined(magic, header | dict(signature=theirs), rest))
        with pytest.raises(SignatureError, match='it was changed after signing'):
            read_all(tmp_path / 'x', key)
        mixed = mine | dict(licence=theirs['licence'])
        (tmp_path / 'y').write_bytes(joined(magic, header | dict(signature=mixed), rest))
        with pytest.raises(SignatureError, match='it was changed after signing'):
            read_all(tmp_path / 'y', key)

    def test_no_chunk_is_decrypted_that_is_not_signed(self, seal, key):
        """Each chunk is compared with its digest first, wherever reading begins."""
        path = seal()
        data = bytearray(path.read_bytes())
        digests = len(data) - 96
        chunk = digests - (len(PLAIN) + 3 * 16) + (1 << 18)  # within the second
        data[chunk + 100] ^= 1
        with open_sealed(io.BytesIO(bytes(data)), key) as reader:
            assert reader.read(10) == PLAIN[:10]
            reader.seek(1 << 18)
            with pytest.raises(SealedFileError, match='chunk 2 of 3'):
                reader.read(1)
            reader.close()


class TestLicence:
    @pytest.mark.parametrize(
        ('terms', 'text'),
        [
            (dict(not_after=days(-1)), 'it ended at'),
            (dict(not_before=days(1)), 'it begins at'),
            (dict(device='0' * 16), 'it is for the device 0000000000000000'),
        ],
        ids=['ended', 'early', 'device'],
    )
    def test_what_it_does_not_allow(self, terms, text, seal, key, tmp_path):
        if 'device' in terms:
            pytest.importorskip('machineid')
        path = seal(**terms)
        with pytest.raises(LicenceError, match=text):
            read_all(path, key)
        with pytest.raises(LicenceError, match=text):  # before the key is tried
            read_all(path, SecretKey.generate())
        with pytest.raises(LicenceError, match=text):
            add_recipients(path, tmp_path / 'x', [], key, signer=Signer(SecretKey.generate()))
        assert not (tmp_path / 'x').exists()

    def test_what_it_allows(self, seal, key):
        pytest.importorskip('machineid')
        path = seal(not_before=days(-1), not_after=days(1), device=device_id(), text='as agreed')
        assert read_all(path, key) == PLAIN

    def test_its_publisher_renews_it(self, seal, key, other_key, tmp_path):
        """The chunks stay as they are, and each customer gets terms of their own."""
        ended = seal(not_after=days(-1), recipient='ACME')
        renewed = Signer(PUBLISHER, Licence('ACME', not_after=days(300)))
        add_recipients(ended, tmp_path / 'new', [PublicRecipient(recipient_of(other_key))], key, signer=renewed)
        assert read_all(tmp_path / 'new', other_key, publisher=publisher_of(PUBLISHER)) == PLAIN
        assert file_info(tmp_path / 'new')['licence'] == renewed.licence.to_fields()
        end = len(PLAIN) + 3 * 16 + 96
        assert (tmp_path / 'new').read_bytes()[-end:] == ended.read_bytes()[-end:]
        remove_recipient(tmp_path / 'new', tmp_path / 'one', f'key {key.key_id}', key, signer=renewed)
        assert read_all(tmp_path / 'one', other_key) == PLAIN

    def test_a_copy_keeps_it(self, seal, key, other_key, tmp_path):
        path = seal(recipient='ACME', not_after=days(9))
        add_recipients(path, tmp_path / 'x', [KeyRecipient(other_key)], key, signer=Signer(PUBLISHER))
        assert file_info(tmp_path / 'x')['licence'] == file_info(path)['licence']
        remove_recipient(tmp_path / 'x', tmp_path / 'y', f'key {key.key_id}', other_key, signer=Signer(PUBLISHER))
        assert file_info(tmp_path / 'y')['licence'] == file_info(path)['licence']
        add_recipients(path, tmp_path / 'z', [], key, signer=Signer(PUBLISHER, Licence()))
        assert file_info(tmp_path / 'z')['licence'] == Licence().to_fields()

    def test_a_foreign_signer_is_told_before_the_key_is_tried(self, seal, tmp_path):
        path = seal(not_after=days(-1))
        with pytest.raises(LicenceError):
            add_recipients(path, tmp_path / 'x', [], SecretKey.generate(), signer=Signer(SecretKey.generate()))

    def test_a_signed_file_is_not_copied_unsigned(self, seal, key, tmp_path):
        path = seal()
        for act in (
            lambda: add_recipients(path, tmp_path / 'x', [], key),
            lambda: remove_recipient(path, tmp_path / 'x', 'somebody', key),
        ):
            with pytest.raises(SignatureError, match='the key that signs the copy'):
                act()
        assert not (tmp_path / 'x').exists()

    def test_an_unsigned_file_is_signed_as_it_is(self, plain, key, tmp_path):
        seal_file(plain, tmp_path / 'base', [KeyRecipient(key)])
        add_recipients(tmp_path / 'base', tmp_path / 'signed', [], key, signer=Signer(PUBLISHER))
        assert read_all(tmp_path / 'signed', key, publisher=publisher_of(PUBLISHER)) == PLAIN

    @pytest.mark.parametrize(
        'terms',
        [
            dict(not_after='tomorrow'),
            dict(not_after='2026-02-30'),
            dict(not_after='\uff12\uff10\uff12\uff16-01-01'),
            dict(not_after='2026-01-01T25:00:00Z'),
            dict(not_before='2026-01-02', not_after='2026-01-01'),
            dict(device='my laptop'),
            dict(recipient=5),
            dict(text='a' * 65537),
        ],
    )
    def test_bad_terms(self, terms):
        with pytest.raises(ConfigError):
            Licence(**terms)

    def test_the_last_second(self):
        licence = Licence(not_before='2026-01-01', not_after='2026-01-31')
        for second, allowed in (
            ('2025-12-31T23:59:59', False),
            ('2026-01-01T00:00:00', True),
            ('2026-01-31T23:59:59', True),
            ('2026-02-01T00:00:00', False),
        ):
            assert (licence.problem(datetime.fromisoformat(second + '+00:00')) == '') is allowed


def test_this_device(capsys):
    pytest.importorskip('machineid')
    assert main(['inspect', '--this-device']) == 0
    assert capsys.readouterr().out.strip() == device_id()


def test_commands(plain, key_file, other_key_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(key_file))
    monkeypatch.chdir(tmp_path)
    assert main(['keygen', '--show-publisher', str(other_key_file)]) == 0
    publisher = capsys.readouterr().out.strip()
    (tmp_path / 'terms.txt').write_text('as agreed\x1b[2J')
    sealing = ['seal', 'plain.pth', '--sign', str(other_key_file)]
    assert main([*sealing, '-o', 'x', '--licensee', 'ACME', '--not-after', '2999-01-31', '--terms', 'terms.txt']) == 0
    assert main([*sealing, '-o', 'ended', '--not-after', '2025-01-31']) == 0
    assert main(['seal', 'plain.pth', '-o', 'unsigned']) == 0
    capsys.readouterr()
    assert main(['inspect', 'x']) == 0
    shown = capsys.readouterr().out
    for line in (f'publisher: {publisher}', 'licence, recipient: ACME', 'not_after: 2999-01-31T23:59:59Z'):
        assert line in shown
    assert 'licence: allows to open it here now' in shown
    assert '\x1b' not in shown
    for name, text in (
        ('ended', 'does not allow to open it here now: it ended'),
        ('unsigned', 'publisher: not signed'),
    ):
        assert main(['inspect', name]) == 0
        assert text in capsys.readouterr().out
    assert main(['verify', 'x', '--publisher', publisher]) == 0
    assert f'signed by {publisher}' in capsys.readouterr().out
    assert main(['verify', 'unsigned', '--publisher', publisher]) == 1
    assert main(['verify', 'ended']) == 1
    renewing = [
        'recipients',
        'add',
        'ended',
        '-o',
        'renewed',
        '--sign',
        str(other_key_file),
        '--not-after',
        '2999-01-31',
    ]
    assert main(renewing) == 0
    assert main(['verify', 'renewed']) == 0
    (tmp_path / 'long.txt').write_text('é' * 65537)
    assert main([*sealing, '-o', 'y', '--terms', 'long.txt']) == 1
    bad = [
        ['seal', 'plain.pth', '-o', 'y', '--licensee', 'ACME'],
        ['seal', 'plain.pth', '-o', 'y', '--sign', str(key_file)],  # who opens it could sign
        ['inspect'],
        ['inspect', 'x', '--this-device'],
        ['verify', 'unsigned', '--publisher', ''],
        *([*sealing, '-o', 'y', option, ' '] for option in ('--not-after', '--device', '--licensee', '--terms')),
        ['seal', 'plain.pth', '-o', 'y', '--sign', ''],
    ]
    for words in bad:
        with pytest.raises(SystemExit):
            main(words)
    assert not (tmp_path / 'y').exists()


def test_text_cannot_look_like_a_line_of_ours(seal, capsys):
    path = seal(recipient='ACME\npublisher: good', text='one\nlicence: allows to open it here now', not_after=days(-1))
    assert main(['inspect', str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'publisher: good' not in lines
    assert 'licence: allows to open it here now' not in lines
    assert '  licence: allows to open it here now' in lines


def test_a_tampered_header_is_not_shown(seal, tmp_path, capsys):
    path = seal(recipient='ACME')
    path.write_bytes(path.read_bytes().replace(b'ACME', b'EVIL', 1))
    assert main(['inspect', str(path)]) == 1
    assert 'it was changed after signing' in capsys.readouterr().err


def test_many_chunks(tmp_path, key):
    with sealed_output(tmp_path / 'x', [KeyRecipient(key)], signer=Signer(PUBLISHER)) as writer:
        for _ in range(40):
            writer.write(bytes(1 << 18))
    assert read_all(tmp_path / 'x', key) == bytes(40 << 18)
