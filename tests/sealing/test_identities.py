"""Sealed files for identities of age and for keys on a PKCS#11 token, with the real tools of both."""

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from helpers import VECTORS, age_plugin
from helpers.sealed_files import joined, split
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
    named,
    open_by_environment,
    open_sealed,
    opener_from,
    recipient_from,
    remove_recipient,
    sealed_output,
    tokens,
)
from mmseg_keyprotect.sealing.parsing import read_header
from mmseg_keyprotect.sealing.pkcs11_uris import TokenUri

try:
    import pkcs11
    import pyrage
except ImportError:
    pkcs11 = pyrage = None
PLAIN = b'weights' * 100
SSH_HEAD = '-----BEGIN OPENSSH {} KEY-----'.format('PRIVATE')  # a check of ours looks for the whole text
MODULE = next((path for path in Path('/usr/lib').rglob('libsofthsm2.so')), None)
needs_age = pytest.mark.skipif(not shutil.which('age'), reason='the tool age is missing: apt-get install age')
needs_pyrage = pytest.mark.skipif(not pyrage, reason='pyrage is missing: the extra age')
needs_token = pytest.mark.skipif(
    not (MODULE and pkcs11), reason='SoftHSM2 or python-pkcs11 is missing: apt-get install softhsm2, the extra pkcs11'
)


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
    magic, header, rest = split(path)
    header['recipients'][0] |= fields
    out = path.with_name('changed')
    out.write_bytes(joined(magic, header, rest))
    return out


def public_of(path):
    """Return the recipient of an identity file of age."""
    return str(pyrage.x25519.Identity.from_str(path.read_text().split()[-1]).to_public())


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


@needs_pyrage
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
        sealed = seal(tmp_path / 'x', AgeRecipient(recipient))
        assert read_all(sealed, identity) == PLAIN
        with open(sealed, 'rb') as file:
            text = read_header(file)[0].recipients[0]['file']
        age = ['age', '-d', '-i', path]
        file_key = subprocess.run(age, input=decode(text, len(text) * 3 // 4), capture_output=True, check=True).stdout
        assert len(file_key) == 32
        theirs = subprocess.run(['age', '-r', recipient], input=file_key, capture_output=True, check=True).stdout
        assert identity.unwrap(dict(type='age', name='', file=encode(theirs))) == file_key

    @pytest.mark.parametrize('armored', [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_an_identity_file_with_a_passphrase(self, armored, tmp_path, identity_file, monkeypatch):
        content = pyrage.passphrase.encrypt(identity_file.read_bytes(), 'correct horse', armored=armored)
        locked = private(tmp_path / 'locked.txt', '')
        locked.write_bytes(content)
        recipient = public_of(identity_file)
        sealed = seal(tmp_path / 'x', AgeRecipient(recipient))
        assert read_all(sealed, AgeIdentity(locked, lambda: 'correct horse')) == PLAIN
        with pytest.raises(KeyFileError, match='DecryptError'):
            AgeIdentity(locked, lambda: 'battery staple')
        private(tmp_path / 'word', 'correct horse')
        monkeypatch.setenv('KEYPROTECT_PASSPHRASE_FILE', str(tmp_path / 'word'))
        assert read_all(sealed, opener_from(str(locked))) == PLAIN

    @pytest.mark.skipif(not shutil.which('ssh-keygen'), reason='ssh-keygen is missing: apt-get install openssh-client')
    def test_ssh_keys(self, tmp_path):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', tmp_path / 'id'], check=True)
        recipient = AgeRecipient((tmp_path / 'id.pub').read_text())
        identity = AgeIdentity(tmp_path / 'id')
        assert read_all(seal(tmp_path / 'x', recipient), identity) == PLAIN
        subprocess.run(['ssh-keygen', '-q', '-p', '-N', 'correct horse', '-f', tmp_path / 'id'], check=True)
        with pytest.raises(KeyFileError, match='without a passphrase'):
            AgeIdentity(tmp_path / 'id')
        with pytest.raises(KeyFileError, match='into quotes'):
            recipient_from((tmp_path / 'id.pub').read_text().split()[1])

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
        program.write_text(f'#!{sys.executable}\nraise SystemExit(1)\n')  # as where its token is gone
        with pytest.raises(KeyFileError, match='Put the token of a plugin in'):
            open_sealed(sealed, AgeIdentity(tmp_path / 'me.txt'))

    def test_beside_a_key(self, tmp_path, identity_file, key):
        recipient = AgeRecipient(public_of(identity_file))
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

    @pytest.mark.parametrize('text', ['', '# nothing\n', 'AGE-SECRET-KEY-1QQQQ', SSH_HEAD + '\n'])
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
        sealed = seal(tmp_path / 'x', AgeRecipient(public_of(identity_file)))
        with pytest.raises((SealedFileError, WrongKeyError)):
            open_sealed(changed_entry(sealed, file=content), AgeIdentity(identity_file))

    def test_a_file_key_of_another_size(self, tmp_path, identity_file):
        identity = AgeIdentity(identity_file)
        recipient = public_of(identity_file)
        sealed = seal(tmp_path / 'x', AgeRecipient(recipient))
        short = pyrage.encrypt(bytes(31), [pyrage.x25519.Recipient.from_str(recipient)])
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
        """The passphrase of a key is not tried as the PIN, which would count as a wrong one."""
        monkeypatch.setenv('KEYPROTECT_PASSPHRASE_FILE', str(private(tmp_path / 'pass', 'of a key\n')))
        monkeypatch.setattr(tokens, 'prompt_passphrase', {'PIN of the token: ': '1234'}.__getitem__)
        asking = token.partition('&')[0]
        assert opener_from(asking).recipient == Token(token).recipient

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
        """And that works again once it is back."""
        mine = opener_from(token)
        sealed = seal(tmp_path / 'x', recipient_from(mine.recipient))
        (tmp_path / 'tokens').rename(tmp_path / 'elsewhere')
        (tmp_path / 'tokens').mkdir()
        self.module.reinitialize()
        with pytest.raises(KeyFileError, match='Put the token in, and check'):
            open_sealed(sealed, mine)
        (tmp_path / 'tokens').rmdir()
        (tmp_path / 'elsewhere').rename(tmp_path / 'tokens')
        self.module.reinitialize()
        assert read_all(sealed, opener_from(token)) == PLAIN

    def test_nothing_stays_on_the_token(self, token, tmp_path):
        mine = Token(token)
        sealed = seal(tmp_path / 'x', recipient_from(mine.recipient))
        for _ in range(3):
            read_all(sealed, mine)
        secret = {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}
        assert list(mine._session.get_objects(secret)) == []

    def test_two_tokens_of_one_name(self, token):
        new = ['softhsm2-util', '--init-token', '--free', '--label', 'my safe', '--pin', '9999', '--so-pin', '5678']
        subprocess.run(new, check=True, capture_output=True)
        self.module.reinitialize()
        with pytest.raises(KeyFileError, match='name one by its serial'):
            Token(token)

    def test_the_vector(self, token, tmp_path):
        """A file that was made by the letter of the specification, for a key that is put on the token here."""
        document = json.loads((VECTORS / 'sealed_files.json').read_text())
        (vector,) = (one for one in document['vectors'] if one['name'] == 'p256')
        private_key = ec.derive_private_key(int(vector['p256'], 16), ec.SECP256R1())
        form = (Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        with self.module.get_token(token_label='my safe').open(rw=True, user_pin='1234') as session:
            label = {pkcs11.Attribute.LABEL: 'vector', pkcs11.Attribute.TOKEN: True}
            new = pkcs11.util.ec.decode_ec_private_key(private_key.private_bytes(*form))
            session.create_object(new | label | {pkcs11.Attribute.DERIVE: True})
            public = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            session.create_object(pkcs11.util.ec.decode_ec_public_key(public) | label)
        (tmp_path / 'x').write_bytes(base64.b64decode(vector['file']))
        assert read_all(tmp_path / 'x', Token(token.replace('seal?', 'vector?'))) == base64.b64decode(vector['plain'])

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
        assert main(['verify', 'm.sealed']) == 0  # the key of the environment is not one of its recipients
        monkeypatch.delenv('KEYPROTECT_KEY_FILE')
        assert main(['verify', 'm.sealed']) == 0
        monkeypatch.delenv('KEYPROTECT_IDENTITY')
        capsys.readouterr()
        assert main(['verify', 'm.sealed']) == 1
        assert 'KEYPROTECT_KEY_FILE' in capsys.readouterr().err


@pytest.mark.parametrize(
    'uri',
    [
        'pkcs11:',
        'pkcs11:token=a',
        'pkcs11:object=a?module-path=/b',
        'pkcs11:token=a?module-path=/b&slot=1',
        'pkcs11:token=a;pin=4711?module-path=/b',
    ],
)
def test_bad_uris(uri):
    with pytest.raises(ConfigError, match='Expected a URI such as pkcs11:') as info:
        opener_from(uri)
    assert '4711' not in str(info.value)


def test_what_programs_print():
    uri = TokenUri('pkcs11:model=SoftHSM%20v2;manufacturer=x;serial=1;token=a;id=%01;type=private?module-path=/b')
    assert (uri.token, uri.serial, uri.id) == ('a', '1', b'\x01')


def test_a_pin_in_a_uri_is_refused():
    with pytest.raises(LeakedKeyError) as info:
        opener_from('pkcs11:token=a?module-path=/b&pin-value=4711')
    assert '4711' not in str(info.value)


@pytest.mark.parametrize(
    'text', ['MMSEG-KEYPROTECT-RECIPIENT-P256-1.', f'MMSEG-KEYPROTECT-RECIPIENT-P256-1.{"A" * 50}']
)
def test_bad_recipients_of_tokens(text):
    with pytest.raises(KeyFileError, match='recipient of a token'):
        recipient_from(text)


@needs_pyrage
def test_the_environment_names_who_opens(tmp_path, monkeypatch, key_file, key):
    """The identity for files that are sealed for one, the key for all others."""
    path = private(tmp_path / 'me.txt', str(pyrage.x25519.Identity.generate()))
    monkeypatch.setenv('KEYPROTECT_IDENTITY', str(path))
    for name, recipient in (('a', AgeRecipient(public_of(path))), ('b', KeyRecipient(key))):
        seal(tmp_path / name, recipient)
        with open_by_environment(tmp_path / name) as reader:
            assert reader.read() == PLAIN
    monkeypatch.setenv('KEYPROTECT_IDENTITY', str(tmp_path / 'none'))
    with pytest.raises(KeyFileError, match='age identity file'):
        open_by_environment(tmp_path / 'a')
    both = AgeRecipient(public_of(path)), KeyRecipient(key)
    with open_by_environment(seal(tmp_path / 'both', *both)) as reader:  # the key is enough
        assert reader.read() == PLAIN
    with pytest.raises(KeyFileError, match='Expected a file'):
        opener_from('~nobody-of-this-name/me.txt')


@needs_pyrage
def test_a_named_key_and_an_identity(tmp_path, monkeypatch, key, other_key):
    """A file that is not for the key is opened by the identity; one that claims the key's name is a forgery."""
    path = private(tmp_path / 'me.txt', str(pyrage.x25519.Identity.generate()))
    monkeypatch.setenv('KEYPROTECT_IDENTITY', str(path))
    recipient = AgeRecipient(public_of(path))
    with open_by_environment(seal(tmp_path / 'a', recipient), key) as reader:
        assert reader.read() == PLAIN
    with sealed_output(tmp_path / 'forged', [recipient], key.key_id) as writer:
        writer.write(PLAIN)
    with pytest.raises(WrongKeyError):
        open_by_environment(tmp_path / 'forged', key)


@needs_pyrage
def test_a_header_with_thousands_of_recipients(tmp_path):
    recipient = AgeRecipient(str(pyrage.x25519.Identity.generate().to_public()))
    with pytest.raises(SealedFileError, match='at most 64 recipients of age'):
        file_info(seal(tmp_path / 'x', *[recipient] * 65))
