"""Sealed files: vectors, every kind of damage, recipients, memory, interruptions."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
from itertools import product

import pytest

from helpers import VECTORS
from helpers.sealed_files import PLAIN
from mmseg_keyprotect import errors
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import (
    ConfigError,
    KeyFileError,
    MissingFileError,
    OutputError,
    SealedFileError,
    WrongKeyError,
)
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    PassphraseRecipient,
    PublicRecipient,
    add_recipients,
    file_info,
    open_sealed,
    recipient_of,
    remove_recipient,
    seal_file,
    unseal_file,
)
from mmseg_keyprotect.sealing.header import MAGIC, Header
from mmseg_keyprotect.sealing.sealed_files import sealed_output, sealing_into
from mmseg_keyprotect.sealing.writing import SealedWriter

DOCUMENT = json.loads((VECTORS / 'sealed_files.json').read_text())


def read_all(path, key=None, passphrase=None):
    with open_sealed(path, key, passphrase) as reader:
        return reader.read()


@pytest.mark.parametrize(  # test_identities.py opens those for a token
    'vector', [one for one in DOCUMENT['vectors'] if 'p256' not in one], ids=lambda vector: vector['name']
)
def test_vector(vector, tmp_path):
    path = tmp_path / 'vector'
    path.write_bytes(base64.b64decode(vector['file']))
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret'])) if vector['secret'] else None
    if vector['expect'] == 'ok':
        assert read_all(path, key, vector['passphrase']) == base64.b64decode(vector['plain'])
        return
    with pytest.raises(getattr(errors, vector['expect'])):
        read_all(path, key, vector['passphrase'])
    with pytest.raises(getattr(errors, vector['expect'])):
        unseal_file(path, tmp_path / 'out', key, vector['passphrase'])
    assert [file.name for file in tmp_path.iterdir()] == ['vector']


@pytest.fixture
def sealed(plain, key):
    path = plain.with_name('sealed.pth')
    seal_file(plain, path, [KeyRecipient(key)], key.key_id)
    return path


def test_there_and_back(sealed, plain, tmp_path, key):
    assert PLAIN[:64] not in sealed.read_bytes()
    unseal_file(sealed, tmp_path / 'again.pth', key)
    assert (tmp_path / 'again.pth').read_bytes() == PLAIN
    assert file_info(sealed) == dict(
        version=1,
        key_id=key.key_id,
        chunk_size=1 << 18,
        sealed_bytes=sealed.stat().st_size,
        recipients=[f'key {key.key_id}'],
    )


@pytest.mark.parametrize('size', [1, 1000, 3 << 20])
def test_any_way_of_writing_gives_the_same(tmp_path, key, size):
    with sealed_output(tmp_path / 'x', [KeyRecipient(key)]) as writer:
        for start in range(0, len(PLAIN) if size > 1 else 5000, size):
            writer.write(PLAIN[start : start + size])
    assert read_all(tmp_path / 'x', key) == (PLAIN if size > 1 else PLAIN[:5000])


def test_seeking(sealed, key):
    with open_sealed(sealed, key) as reader:
        for place, length in ((1 << 18, 10), (len(PLAIN) - 5, 100), (3, 1 << 19), (0, 1)):
            reader.seek(place)
            assert reader.read(length) == PLAIN[place : place + length]
        assert reader.seek(-7, os.SEEK_END) == len(PLAIN) - 7
        assert reader.read() == PLAIN[-7:]


def test_nothing_of_a_damaged_chunk_stays_in_memory(sealed, key):
    """A whole chunk is decrypted into the memory of the caller, before its tag is known to be right."""
    data = bytearray(sealed.read_bytes())
    data[-len(PLAIN) - 3 * 16 + 1000] ^= 1  # in the first chunk
    memory = bytearray(b'x' * len(PLAIN))
    with open_sealed(io.BytesIO(bytes(data)), key) as reader:
        with pytest.raises(SealedFileError, match='chunk 1 of 3'):
            reader.raw.readinto(memory)
        reader.close()
    assert memory[: 1 << 18] in (bytes(1 << 18), b'x' * (1 << 18))


@pytest.mark.parametrize('sizes', [[1 << 18, 5, -1], [10, 1 << 18, -1], [-1], [600000], [0, None]])
def test_reading_in_pieces(sizes, sealed, key):
    with open_sealed(sealed, key) as reader:
        assert b''.join(reader.read(size) for size in sizes) == PLAIN
        assert reader.read() == b''


def test_two_files_share_nothing(plain, tmp_path, key):
    for name in 'ab':
        seal_file(plain, tmp_path / name, [KeyRecipient(key)])
    one, two = ((tmp_path / name).read_bytes() for name in 'ab')
    assert one[-(1 << 18) :] != two[-(1 << 18) :]


def test_recipients_come_and_go(sealed, plain, tmp_path, key, other_key):
    third = SecretKey.generate()
    public = PublicRecipient(recipient_of(other_key))
    add_recipients(sealed, tmp_path / 'three', [public, PassphraseRecipient('correct horse')], key)
    assert file_info(tmp_path / 'three')['recipients'] == [f'key {key.key_id}', f'x25519 {public.name}', 'passphrase']
    opened = [(key, None), (other_key, None), (None, 'correct horse')]
    for who, passphrase in opened:
        assert read_all(tmp_path / 'three', who, passphrase) == PLAIN
    for wrong in ((third, None), (None, 'battery'), (None, None)):
        with pytest.raises(WrongKeyError, match='one of the recipients'):
            read_all(tmp_path / 'three', *wrong)
    add_recipients(tmp_path / 'three', tmp_path / 'four', [PublicRecipient(recipient_of(third))], other_key)
    remove_recipient(tmp_path / 'four', tmp_path / 'left', public.name, third)
    assert read_all(tmp_path / 'left', third) == PLAIN
    with pytest.raises(WrongKeyError):
        read_all(tmp_path / 'left', other_key)
    chunks = sealed.read_bytes()[-len(PLAIN) - 3 * 16 :]
    assert (tmp_path / 'left').read_bytes().endswith(chunks)  # the weights were not encrypted again


def test_recipients_that_cannot_be_removed(sealed, tmp_path, key):
    with pytest.raises(ConfigError, match='Expected a recipient out of key'):
        remove_recipient(sealed, tmp_path / 'x', 'somebody', key)
    with pytest.raises(SealedFileError, match='last one'):
        remove_recipient(sealed, tmp_path / 'x', key.key_id, key)
    with pytest.raises(SealedFileError, match='at least one recipient'):
        seal_file(sealed.with_name('plain.pth'), tmp_path / 'x', [])
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize(
    'text',
    [
        '',
        'MMSEG-KEYPROTECT-RECIPIENT-1.abc',
        'MMSEG-KEYPROTECT-RECIPIENT-2.abc',
        'MMSEG-KEYPROTECT-KEY-1.' + 'A' * 43,
        f'MMSEG-KEYPROTECT-RECIPIENT-1.{"A" * 42}B',
        f'MMSEG-KEYPROTECT-RECIPIENT-2.{"A" * 48}',
    ],
)
@pytest.mark.filterwarnings('ignore:This recipient is of version 1')
def test_bad_recipients(text):
    with pytest.raises(KeyFileError, match='Expected a recipient') as info:
        PublicRecipient(text)
    assert 'AAAA' not in str(info.value)


def test_every_mistyped_character_is_noticed(key):
    text = recipient_of(key)
    alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    start, tried = len('MMSEG-KEYPROTECT-RECIPIENT-2.'), 0
    for place, other in product(range(start, len(text)), alphabet):
        if other != text[place]:
            tried += 1
            with pytest.raises(KeyFileError):
                PublicRecipient(text[:place] + other + text[place + 1 :])
    assert tried == 48 * 63


def old_text(public):
    return 'MMSEG-KEYPROTECT-RECIPIENT-1.' + base64.urlsafe_b64encode(public).decode().rstrip('=')


def test_recipients_of_version_1(key):
    new = PublicRecipient(recipient_of(key))
    with pytest.warns(UserWarning, match='of version 1, without a checksum'):
        old = PublicRecipient(old_text(new.public))
    assert (old.public, old.name) == (new.public, new.name)


@pytest.mark.filterwarnings('ignore:This recipient is of version 1')
def test_a_point_of_small_order_is_refused(plain, tmp_path):
    recipient = PublicRecipient(old_text(bytes(32)))
    with pytest.raises(SealedFileError, match='small order'):
        seal_file(plain, tmp_path / 'x', [recipient])


class TestWhoMadeIt:
    """Only the secret key itself tells who made a file."""

    def forged(self, plain, folder, key, **entries):
        """Seal a file for the public text of a key, as anybody can, that claims to be sealed under the key."""
        path = folder / 'forged'
        seal_file(plain, path, [*entries.values(), PublicRecipient(recipient_of(key))], key.key_id)
        return path

    def test_a_file_that_claims_a_key(self, plain, tmp_path, key):
        path = self.forged(plain, tmp_path, key)
        with pytest.raises(SealedFileError, match=f'that the key {key.key_id} sealed.*public text'):
            read_all(path, key)

    def test_an_entry_that_claims_a_key(self, plain, tmp_path, key, other_key):
        claim = KeyRecipient(other_key)
        claim.key = type('Claim', (), dict(key_id=key.key_id, derive=other_key.derive))
        path = tmp_path / 'forged'
        seal_file(plain, path, [claim, PublicRecipient(recipient_of(key))])
        with pytest.raises(SealedFileError, match='public text'):
            read_all(path, key)

    def test_a_customer_opens_what_the_owner_made(self, plain, tmp_path, key, other_key):
        seal_file(plain, tmp_path / 'x', [KeyRecipient(key), PublicRecipient(recipient_of(other_key))], key.key_id)
        for one, opened_as in ((key, 'key'), (other_key, 'x25519')):
            with open_sealed(tmp_path / 'x', one) as reader:
                assert reader.raw.opened_as == opened_as
        with open_sealed(tmp_path / 'x', key, own=True) as reader:
            assert reader.read() == PLAIN
        with pytest.raises(WrongKeyError, match='anybody who knows the recipient'):
            open_sealed(tmp_path / 'x', other_key, own=True)

    def test_a_key_that_is_both_kinds_of_recipient(self, plain, tmp_path, key, other_key):
        """In any order, and after the owner has added the key to a file that somebody made for the public text."""
        public = PublicRecipient(recipient_of(key))
        seal_file(plain, tmp_path / 'x', [public, KeyRecipient(key)], key.key_id)
        assert read_all(tmp_path / 'x', key) == PLAIN
        seal_file(plain, tmp_path / 'theirs', [KeyRecipient(other_key), public], other_key.key_id)
        add_recipients(tmp_path / 'theirs', tmp_path / 'mine', [KeyRecipient(key)], key)
        assert read_all(tmp_path / 'mine', key) == PLAIN
        remove_recipient(tmp_path / 'x', tmp_path / 'removed', f'key {key.key_id}', key)
        assert file_info(tmp_path / 'removed')['key_id'] == ''
        assert read_all(tmp_path / 'removed', key) == PLAIN

    def test_the_command(self, plain, tmp_path, key, key_file, other_key_file, other_key, capsys):
        seal_file(plain, tmp_path / 'x', [KeyRecipient(key), PublicRecipient(recipient_of(other_key))], key.key_id)
        words = ['verify', str(tmp_path / 'x'), '--key-file']
        assert main([*words, str(key_file), '--own']) == 0
        assert 'sealed by somebody who has this key' in capsys.readouterr().out
        assert main([*words, str(other_key_file)]) == 0
        assert 'anybody who knows that text' in capsys.readouterr().out
        assert main([*words, str(other_key_file), '--own']) == 1


class TestOneForm:
    """A header has one form, and an empty chunk is that of an empty file."""

    @pytest.mark.parametrize(
        'change',
        [
            lambda text: text.decode().encode('utf-16'),
            lambda text: b'\xef\xbb\xbf' + text,
            lambda text: text + b' ',
            lambda text: text.replace(b'{"chunk_size":', b'{"chunk_size":1,"chunk_size":', 1),
            lambda text: text.replace(b':', b': ', 1),
            lambda text: text.replace(b'chunk_size', b'chunk\\u005fsize', 1),
        ],
        ids=['utf-16', 'bom', 'blank', 'twice', 'colon', 'escape'],
    )
    def test_header(self, change, sealed, tmp_path):
        data = sealed.read_bytes()
        start = len(MAGIC) + 4
        size = int.from_bytes(data[start - 4 : start], 'little')
        text = change(data[start : start + size])
        (tmp_path / 'x').write_bytes(MAGIC + len(text).to_bytes(4, 'little') + text + data[start + size :])
        with pytest.raises(SealedFileError, match='header of a sealed file, but it is damaged'):
            file_info(tmp_path / 'x')

    def test_empty_last_chunk(self, tmp_path, key):
        file_key = bytes(range(32))
        header = Header.new(file_key, [KeyRecipient(key)], '', chunk_size=8)
        with open(tmp_path / 'x', 'wb') as file:
            writer = SealedWriter(file, header, file_key)
            writer._put(memoryview(bytes(8)), last=False)
            writer._put(memoryview(b''), last=True)
        with pytest.raises(SealedFileError, match='chunk 2 of 2'):
            read_all(tmp_path / 'x', key)

    def test_very_many_chunks(self, tmp_path, key):
        """A sparse file of terabytes in chunks of one byte."""
        file_key = bytes(range(32))
        header = Header.new(file_key, [KeyRecipient(key)], '', chunk_size=1)
        with open(tmp_path / 'x', 'wb') as file:
            SealedWriter(file, header, file_key)
            file.truncate(1 << 42)
        with pytest.raises(SealedFileError, match='to exhaust this machine'):
            read_all(tmp_path / 'x', key)


def test_bytes_can_be_tried_again(sealed, key, other_key):
    data = io.BytesIO(sealed.read_bytes())
    with pytest.raises(WrongKeyError):
        open_sealed(data, other_key)
    with open_sealed(data, key) as reader:
        assert reader.read() == PLAIN


@pytest.mark.parametrize('act', [open_sealed, file_info, lambda path: seal_file(path, 'out', [])])
def test_a_path_with_nul(act):
    with pytest.raises(MissingFileError, match='null byte'):
        act('a\0b')


def test_nothing_is_overwritten_or_sealed_twice(sealed, plain, tmp_path, key):
    with pytest.raises(OutputError, match='never overwritten'):
        seal_file(plain, sealed, [KeyRecipient(key)])
    with pytest.raises(SealedFileError, match='sealed already'):
        seal_file(sealed, tmp_path / 'twice', [KeyRecipient(key)])
    with pytest.raises(OutputError, match='never overwritten'):
        unseal_file(sealed, plain, key)
    with pytest.raises(MissingFileError, match='No such file'):
        seal_file(tmp_path / 'missing', tmp_path / 'x', [KeyRecipient(key)])


def test_a_full_disk_leaves_nothing(plain, tmp_path, key):
    """A limit on the size of files simulates a full disk."""
    code = f"""
import resource, signal, sys
from mmseg_keyprotect.errors import OutputError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, seal_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
try:
    seal_file({str(plain)!r}, {str(tmp_path / 'x')!r}, [KeyRecipient(SecretKey.generate())])
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert f'Expected room for {tmp_path / "x"}' in done.stdout, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ['plain.pth']


def test_kill_in_the_middle_leaves_no_half_file(plain, tmp_path, key_file):
    code = f"""
import time, sys
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.sealing.header import MAGIC, Header
from mmseg_keyprotect.sealing.sealed_files import sealed_output, sealing_into
from mmseg_keyprotect.sealing.writing import SealedWriter
with sealed_output({str(tmp_path / 'x')!r}, [KeyRecipient(SecretKey.load({str(key_file)!r}))]) as writer:
    writer.write(open({str(plain)!r}, 'rb').read())
    print('half', flush=True)
    time.sleep(3600)
"""
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'half\n'
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'x').exists()
    for file in tmp_path.glob('.x.*'):
        assert PLAIN[:64] not in file.read_bytes()
    seal_file(plain, tmp_path / 'x', [KeyRecipient(SecretKey.load(key_file))])  # the next attempt works


def test_memory_does_not_grow_with_the_file(tmp_path, key_file):
    """Sealing and unsealing 300 MB needs less than 60 MB of memory."""
    code = f"""
import resource
from pathlib import Path
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, open_sealed, seal_file, unseal_file
key = SecretKey.load({str(key_file)!r})
folder = Path({str(tmp_path)!r})
with open(folder / 'plain', 'wb') as file:
    file.truncate(300 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seal_file(folder / 'plain', folder / 'sealed', [KeyRecipient(key)])
unseal_file(folder / 'sealed', folder / 'again', key)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert float(done.stdout) < 60, done.stderr
    assert (tmp_path / 'again').stat().st_size == 300 << 20
    for name in ('plain', 'sealed', 'again'):
        (tmp_path / name).unlink()


def test_passphrases_are_asked_for_once(sealed, tmp_path, key):
    add_recipients(sealed, tmp_path / 'x', [PassphraseRecipient('one'), PassphraseRecipient('two')], key)
    asked = []
    assert read_all(tmp_path / 'x', None, lambda: asked.append(1) or 'two') == PLAIN
    assert asked == [1]


def test_headers_that_would_exhaust_the_machine(sealed, tmp_path, key):
    many = [PassphraseRecipient('word')] * 9
    recipient = many[0].wrap(bytes(32))
    monkey = type('Same', (), {'wrap': lambda self, file_key: recipient})
    with sealed_output(tmp_path / 'many', [monkey() for _ in many]) as writer:
        writer.write(b'x')
    with pytest.raises(SealedFileError, match='at most 8'):
        read_all(tmp_path / 'many', None, 'word')
    costly = dict(recipient, log2n=20)
    same = type('Same', (), {'wrap': lambda self, file_key: costly})
    with sealed_output(tmp_path / 'costly', [same() for _ in range(3)]) as writer:
        writer.write(b'x')
    with pytest.raises(SealedFileError, match='at most 8.*to exhaust this machine'):
        read_all(tmp_path / 'costly', None, 'word')
    nested = b'[' * 500_000
    (tmp_path / 'nested').write_bytes(
        b'MMSEG-KEYPROTECT-SEALED-FILE-1\n' + len(nested).to_bytes(4, 'little') + nested + bytes(100)
    )
    with pytest.raises(SealedFileError, match='damaged'):
        file_info(tmp_path / 'nested')


def test_an_aborted_write_is_never_whole(tmp_path, key):
    with open(tmp_path / 'x', 'wb') as file:
        sealing = sealing_into(file, [KeyRecipient(key)])
        writer = sealing.__enter__()
        writer.write(b'only half')
        assert not sealing.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        writer.close()
    with pytest.raises(SealedFileError):
        read_all(tmp_path / 'x', key)


def test_damage_is_not_copied(damaged, tmp_path, key, other_key):
    with pytest.raises(SealedFileError, match='chunk 2 of 3'):
        add_recipients(damaged, tmp_path / 'x', [PublicRecipient(recipient_of(other_key))], key)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['plain.pth', 'sealed.pth']


def test_unsealed_files_follow_the_umask(sealed, tmp_path, key):
    before = os.umask(0o077)
    try:
        unseal_file(sealed, tmp_path / 'x', key)
    finally:
        os.umask(before)
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o600


def test_a_passphrase_is_asked_for_last(sealed, tmp_path, key):
    add_recipients(sealed, tmp_path / 'two', [PassphraseRecipient('correct horse')], key)
    assert read_all(tmp_path / 'two', key, lambda: pytest.fail('asked')) == PLAIN


# Readers verify at the end of the block

END = len(PLAIN) - 5


@pytest.fixture
def damaged(sealed):
    """The second of three chunks is damaged."""
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    sealed.write_bytes(data)
    return sealed


@pytest.mark.parametrize('read', [0, 10, 1 << 17])
def test_a_damaged_chunk_that_is_never_read_is_found(damaged, key, read):
    reader = open_sealed(damaged, key)
    with pytest.raises(SealedFileError, match='chunk 2 of 3'), reader:
        assert (reader.read(read), reader.seek(-5, os.SEEK_END), reader.read()) == (PLAIN[:read], END, PLAIN[-5:])
    assert reader.closed
    assert reader.raw.closed


def test_an_exception_inside_the_block_is_kept(damaged, key):
    with pytest.raises(ZeroDivisionError) as info, open_sealed(damaged, key) as reader:
        raise ZeroDivisionError
    assert info.value.__context__ is None
    assert reader.raw.closed


def test_no_chunk_is_decrypted_twice_at_the_end(sealed, key, monkeypatch):
    with open_sealed(sealed, key) as reader:
        assert reader.read() == PLAIN
        monkeypatch.setattr(reader.raw, '_load', lambda index: pytest.fail('decrypted again'))
    with open_sealed(sealed, key) as reader:
        reader.close()  # a reader that was closed early verified what was read


def test_damage_that_is_found_while_a_file_is_unsealed_leaves_nothing(damaged, tmp_path, key):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SealedFileError, match='chunk 2 of 3'):
        unseal_file(damaged, tmp_path / 'out', key)
    assert sorted(tmp_path.iterdir()) == before
