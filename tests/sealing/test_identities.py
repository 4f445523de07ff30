"""Sealed files for identities of age and for keys on a PKCS#11 token, with the real tools of both."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import age_plugin
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import (
    ConfigError,
    KeyFileError,
    LeakedKeyError,
    MissingDependencyError,
    SealedFileError,
    WrongKeyError,
)
from mmseg_keyprotect.keys.encoding import decode, encode
from mmseg_keyprotect.sealing import (
    AgeIdentity,
    AgeRecipient,
    KeyRecipient,
    PassphraseRecipient,
    Token,
    file_info,
    identity_from,
    named,
    open_by_environment,
    open_sealed,
    recipient_from,
    remove_recipient,
    sealed_output,
)
from mmseg_keyprotect.sealing.header import MAGIC, read_header

pkcs11, pyrage = pytest.importorskip('pkcs11'), pytest.importorskip('pyrage')
PLAIN = b'weights' * 100
MODULE = next((path for path in Path('/usr/lib').rglob('libsofthsm2.so')), None)
needs_age = pytest.mark.skipif(not shutil.which('age'), reason='the tool age is missing: apt-get install age')
needs_token = pytest.mark.skipif(not MODULE, reason='SoftHSM2 is missing: apt-get install softhsm2')


@pytest.fixture(autouse=True)
def nothing_opened(monkeypatch):
    monkeypatch.setattr(named, '_opened', {})


def seal(path, *recipients):
    with sealed_output(path, recipients) as writer:
        writer.write(PLAIN)
    return path


def read_all(path, *args, **options):
    with open_sealed(path, *args, **options) as reader:
        return reader.read()


def changed_entry(path, **fields):
    """Return a copy of a sealed file whose first recipient has other fields."""
    data = path.read_bytes()
    start = len(MAGIC) + 4
    size = int.from_bytes(data[start - 4 : start], 'little')
    header = json.loads(data[start : start + size])
    header['recipients'][0] |= fields
    text = json.dumps(header, sort_keys=True, separators=(',', ':')).encode()
    out = path.with_name('changed')
    out.write_bytes(MAGIC + len(text).to_bytes(4, 'little') + text + data[start + size :])
    return out


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


class TestAge:
    @pytest.fixture
    def identity_file(self, tmp_path):
        return private(tmp_path / 'me.txt', f'# mine\n{pyrage.x25519.Identity.generate()}\n')

    @needs_age
    def test_both_ways(self, tmp_path):
        """An identity of age-keygen opens our files, and the tool age opens the entry of our header."""
        path = tmp_path / 'me.txt'
        shown = subprocess.run(['age-keygen', '-o', path], capture_output=True, text=True, check=True).stderr
        recipient = shown.split()[-1]
        identity = AgeIdentity(path)
        assert identity.recipient == recipient
        sealed = seal(tmp_path / 'x', AgeRecipient(recipient))
        assert read_all(sealed, identity) == PLAIN
        with open(sealed, 'rb') as file:
            text = read_header(file)[0].recipients[0]['file']
        age = ['age', '-d', '-i', path]
        file_key = subprocess.run(age, input=decode(text, len(text) * 3 // 4), capture_output=True, check=True).stdout
        assert len(file_key) == 32
        theirs = subprocess.run(['age', '-r', recipient], input=file_key, capture_output=True, check=True).stdout
        header, mac = changed_entry(sealed, file=encode(theirs)), None
        with open(header, 'rb') as file, pytest.raises(SealedFileError, match='changed after sealing'):
            read_header(file)[0].open(identity, None, b'', mac or bytes(32))  # their wrapping opens; the mac is of ours

    @needs_age
    def test_an_identity_file_with_a_passphrase(self, tmp_path, identity_file):
        content = pyrage.passphrase.encrypt(identity_file.read_bytes(), 'correct horse', armored=True)
        locked = private(tmp_path / 'locked.txt', content.decode())
        recipient = AgeIdentity(identity_file).recipient
        sealed = seal(tmp_path / 'x', AgeRecipient(recipient))
        assert read_all(sealed, AgeIdentity(locked, lambda: 'correct horse')) == PLAIN
        with pytest.raises(KeyFileError, match='DecryptError'):
            AgeIdentity(locked, lambda: 'battery staple')
        with pytest.raises(KeyFileError, match='passphrase'):
            AgeIdentity(locked)

    def test_ssh_keys(self, tmp_path):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', tmp_path / 'id'], check=True)
        recipient = AgeRecipient((tmp_path / 'id.pub').read_text())
        identity = AgeIdentity(tmp_path / 'id')
        assert read_all(seal(tmp_path / 'x', recipient), identity) == PLAIN
        with pytest.raises(KeyFileError, match='Its own program prints'):
            _ = identity.recipient

    def test_a_plugin(self, tmp_path, monkeypatch):
        program = tmp_path / 'bin' / 'age-plugin-sealtest'
        program.parent.mkdir()
        program.write_text(f'#!{sys.executable}\n' + Path(age_plugin.__file__).read_text())
        program.chmod(stat.S_IRWXU)
        with pytest.raises(KeyFileError, match='the plugin of age'):
            AgeRecipient(age_plugin.RECIPIENT)
        monkeypatch.setenv('PATH', f'{program.parent}:{os.environ["PATH"]}')
        sealed = seal(tmp_path / 'x', AgeRecipient(age_plugin.RECIPIENT))
        assert read_all(sealed, AgeIdentity(private(tmp_path / 'me.txt', age_plugin.IDENTITY))) == PLAIN

    def test_beside_a_key(self, tmp_path, identity_file, key):
        recipient = AgeRecipient(AgeIdentity(identity_file).recipient)
        sealed = seal(tmp_path / 'x', PassphraseRecipient('correct horse'), recipient, KeyRecipient(key))
        assert f'age {recipient.name}' in file_info(sealed)['recipients']
        for opener in (AgeIdentity(identity_file), key):
            assert read_all(sealed, opener) == PLAIN
        other = private(tmp_path / 'other.txt', str(pyrage.x25519.Identity.generate()))
        with pytest.raises(WrongKeyError, match='got the age identity'):
            open_sealed(sealed, AgeIdentity(other))
        assert read_all(sealed, AgeIdentity(other), 'correct horse') == PLAIN
        remove_recipient(sealed, tmp_path / 'left', recipient.name, AgeIdentity(identity_file))
        with pytest.raises(WrongKeyError):
            open_sealed(tmp_path / 'left', AgeIdentity(identity_file))

    @pytest.mark.parametrize('text', ['age1', 'age1qqq', 'ssh-ed25519 AAAA', 'age1sealtest1xxxx', 'age1\x00'])
    def test_no_recipient(self, text):
        with pytest.raises(KeyFileError, match='recipient of age'):
            recipient_from(text)

    @pytest.mark.parametrize(
        'text', ['', '# nothing\n', 'AGE-SECRET-KEY-1QQQQ', '-----BEGIN OPENSSH PRIVATE KEY-----\n']
    )
    def test_no_identity(self, text, tmp_path):
        with pytest.raises(KeyFileError) as info:
            AgeIdentity(private(tmp_path / 'me.txt', text))
        assert 'QQQQ' not in str(info.value)

    def test_an_exposed_identity(self, identity_file):
        identity_file.chmod(0o644)
        with pytest.raises(KeyFileError, match='0600|chmod'):
            AgeIdentity(identity_file)

    @pytest.mark.parametrize('content', ['', 5, 'a b', 'A', encode(b'no age file'), 'A' * 20000])
    def test_a_damaged_entry(self, content, tmp_path, identity_file):
        sealed = seal(tmp_path / 'x', AgeRecipient(AgeIdentity(identity_file).recipient))
        with pytest.raises((SealedFileError, WrongKeyError)):
            open_sealed(changed_entry(sealed, file=content), AgeIdentity(identity_file))

    def test_a_file_key_of_another_size(self, tmp_path, identity_file):
        identity = AgeIdentity(identity_file)
        sealed = seal(tmp_path / 'x', AgeRecipient(identity.recipient))
        short = pyrage.encrypt(bytes(31), [pyrage.x25519.Recipient.from_str(identity.recipient)])
        with pytest.raises(SealedFileError, match='file key of 32 bytes'):
            open_sealed(changed_entry(sealed, file=encode(short)), identity)

    def test_without_pyrage(self, monkeypatch):
        monkeypatch.setitem(sys.modules, 'pyrage', None)
        with pytest.raises(MissingDependencyError, match=r'mmseg-keyprotect\[age\]'):
            AgeRecipient('age1qqq')


@needs_token
class TestToken:
    @pytest.fixture
    def token(self, tmp_path, monkeypatch):
        """Return the URI of a P-256 key on a fresh token."""
        (tmp_path / 'tokens').mkdir()
        private(tmp_path / 'softhsm2.conf', f'directories.tokendir = {tmp_path / "tokens"}\n')
        monkeypatch.setenv('SOFTHSM2_CONF', str(tmp_path / 'softhsm2.conf'))
        self.module = pkcs11.lib(str(MODULE))
        self.module.reinitialize()
        new = ['softhsm2-util', '--init-token', '--free', '--label', 'my safe', '--pin', '1234', '--so-pin', '5678']
        subprocess.run(new, check=True, capture_output=True)
        self.module.reinitialize()
        self.make_key('seal')
        private(tmp_path / 'pin', '1234\n')
        yield f'pkcs11:token=my%20safe;object=seal?module-path={MODULE}&pin-source=file:{tmp_path / "pin"}'
        self.module.finalize()

    def make_key(self, label, curve='secp256r1'):
        with self.module.get_token(token_label='my safe').open(rw=True, user_pin='1234') as session:
            parameters = pkcs11.util.ec.encode_named_curve_parameters(curve)
            domain = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: parameters}, local=True
            )
            derive = pkcs11.MechanismFlag.DERIVE
            domain.generate_keypair(store=True, label=label, capabilities=derive)

    def test_there_and_back(self, token, tmp_path, key):
        mine = Token(token)
        sealed = seal(tmp_path / 'x', recipient_from(mine.recipient), KeyRecipient(key))
        for opener in (mine, key):
            assert read_all(sealed, opener) == PLAIN
        with open_sealed(sealed, mine) as reader:
            assert reader.raw.opened_as == 'p256'

    def test_the_key_never_leaves_the_token(self, token):
        private_key = Token(token)._private
        assert private_key[pkcs11.Attribute.SENSITIVE]
        assert not private_key[pkcs11.Attribute.EXTRACTABLE]
        with pytest.raises(pkcs11.AttributeSensitive):
            private_key[pkcs11.Attribute.VALUE]

    def test_another_key_of_the_token(self, token, tmp_path):
        sealed = seal(tmp_path / 'x', recipient_from(Token(token).recipient))
        named._opened.clear()
        self.module.reinitialize()
        self.make_key('other')
        with pytest.raises(WrongKeyError, match="got the token key 'other' of 'my safe'"):
            open_sealed(sealed, Token(token.replace('seal?', 'other?')))

    def test_a_wrong_pin(self, token, tmp_path):
        private(tmp_path / 'pin', '0000')
        with pytest.raises(KeyFileError, match='PinIncorrect') as info:
            Token(token)
        assert '0000' not in str(info.value)

    def test_a_pin_that_is_asked_for(self, token, tmp_path, monkeypatch):
        private(tmp_path / 'pass', '1234\n')
        monkeypatch.setenv('KEYPROTECT_PASSPHRASE_FILE', str(tmp_path / 'pass'))
        asking = token.partition('&')[0]
        assert identity_from(asking).recipient == Token(token).recipient

    @pytest.mark.parametrize(
        ('old', 'new', 'text'),
        [
            ('my%20safe', 'lost', 'NoSuchToken'),
            ('object=seal', 'object=lost', 'NoSuchKey'),
            (str(MODULE), '/lib/none.so', '/lib/none.so'),
        ],
    )
    def test_what_is_missing(self, token, old, new, text):
        with pytest.raises(KeyFileError, match=text):
            Token(token.replace(old, new))

    def test_another_curve(self, token):
        self.make_key('large', 'secp384r1')
        with pytest.raises(KeyFileError, match='Expected a P-256 key'):
            Token(token.replace('seal?', 'large?'))

    def test_a_token_that_is_gone(self, token, tmp_path):
        mine = Token(token)
        sealed = seal(tmp_path / 'x', recipient_from(mine.recipient))
        self.module.finalize()
        with pytest.raises(KeyFileError, match='Put the token in again'):
            open_sealed(sealed, mine)
        self.module.initialize()

    def test_a_hostile_point(self, token, tmp_path):
        mine = Token(token)
        sealed = seal(tmp_path / 'x', recipient_from(mine.recipient))
        with pytest.raises(SealedFileError, match='point of P-256'):
            open_sealed(changed_entry(sealed, ephemeral=encode(b'\x04' + bytes(64))), mine)

    def test_commands(self, token, tmp_path, monkeypatch, capsys, key_file):
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'm.bin').write_bytes(PLAIN)
        assert main(['keygen', '--show-recipient', token]) == 0
        recipient = capsys.readouterr().out.strip()
        assert main(['seal', 'm.bin', '-o', 'm.sealed', '--no-key', '--recipient', recipient]) == 0
        assert main(['verify', 'm.sealed', '--identity', token]) == 0
        assert "for this token's public text" in capsys.readouterr().out
        assert main(['unseal', 'm.sealed', '-o', 'again', '--identity', token]) == 0
        assert (tmp_path / 'again').read_bytes() == PLAIN
        monkeypatch.setenv('KEYPROTECT_IDENTITY', token)
        with open_by_environment('m.sealed') as reader:
            assert reader.read() == PLAIN


@pytest.mark.parametrize(
    'uri',
    [
        'pkcs11:',
        'pkcs11:token=a',
        'pkcs11:object=a?module-path=/b',
        'pkcs11:token=a?module-path=/b&slot=1',
        'pkcs11:token=a;model=x?module-path=/b',
    ],
)
def test_bad_uris(uri):
    with pytest.raises(ConfigError, match='Expected a URI such as pkcs11:'):
        identity_from(uri)


def test_a_pin_in_a_uri_is_refused():
    with pytest.raises(LeakedKeyError) as info:
        identity_from('pkcs11:token=a?module-path=/b&pin-value=4711')
    assert '4711' not in str(info.value)


@pytest.mark.parametrize(
    'text', ['MMSEG-KEYPROTECT-RECIPIENT-P256-1.', f'MMSEG-KEYPROTECT-RECIPIENT-P256-1.{"A" * 50}']
)
def test_bad_recipients_of_tokens(text):
    with pytest.raises(KeyFileError, match='recipient of a token'):
        recipient_from(text)


def test_the_environment_names_who_opens(tmp_path, monkeypatch, key_file, key):
    """The identity for files that are sealed for one, the key for all others."""
    path = private(tmp_path / 'me.txt', str(pyrage.x25519.Identity.generate()))
    monkeypatch.setenv('KEYPROTECT_IDENTITY', str(path))
    for name, recipient in (('a', AgeRecipient(AgeIdentity(path).recipient)), ('b', KeyRecipient(key))):
        seal(tmp_path / name, recipient)
        with open_by_environment(tmp_path / name) as reader:
            assert reader.read() == PLAIN
    monkeypatch.setenv('KEYPROTECT_IDENTITY', str(tmp_path / 'none'))
    with pytest.raises(KeyFileError, match='age identity file'):
        open_by_environment(tmp_path / 'a')
