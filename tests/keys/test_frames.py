"""No secret is in the local variables of a traceback, which rich and error trackers show."""

import os
import traceback

import pytest

from mmseg_keyprotect.errors import KeyFileError, KeyProtectError
from mmseg_keyprotect.keys import SecretKey, build_key, seal_key
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.sealing import KeyRecipient, PassphraseRecipient, open_sealed, seal_file, unseal_file
from mmseg_keyprotect.sealing.sealed_files import sealed_output

SECRET = bytes(range(100, 132))
PASSPHRASE = 'correct ' + 'horse'


class Secrets:
    """Fresh text for every use, so that the frames of the tests hold none of it."""

    def __init__(self, folder):
        SecretKey.from_bytes(SECRET).save(folder / 'plain.key')
        SecretKey.from_bytes(SECRET).save(folder / 'sealed.key', PASSPHRASE)
        self.folder = folder

    def line(self, name):
        return (self.folder / name).read_text().splitlines()[-1]

    def mistyped(self):
        line = self.line('plain.key')
        return line[:40] + ('A' if line[40] != 'A' else 'B') + line[41:]

    def needles(self):
        line = self.line('plain.key').rpartition('.')[2]
        return [line[:16], line[-16:], repr(SECRET)[3:20], PASSPHRASE, SECRET.hex()[:20], 'a wrong ' + 'passphrase']


def wrong():
    return 'a wrong ' + 'passphrase'


def write_file(secrets, text):
    path = secrets.folder / 'written'
    path.write_text(text)
    path.chmod(0o600)
    return path


def sealed(secrets, *recipients):
    (secrets.folder / 'weights').write_bytes(bytes(100))
    seal_file(secrets.folder / 'weights', secrets.folder / 'sealed.pth', recipients)
    return secrets.folder / 'sealed.pth'


def damaged(secrets, *recipients):
    path = sealed(secrets, *recipients)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


def failing_block(secrets):
    with sealed_output(secrets.folder / 'out', [KeyRecipient(SecretKey.from_bytes(SECRET))]) as writer:
        writer.write(b'x')
        raise KeyFileError('from the block')


def sealing_variable(secrets):
    os.environ['KEYPROTECT_SEAL_KEY_FILE'] = str(write_file(secrets, secrets.mistyped()))
    try:
        seal_key()
    finally:
        del os.environ['KEYPROTECT_SEAL_KEY_FILE']


def command(secrets):
    path = write_file(secrets, secrets.mistyped())
    build_key(dict(type='KeyCommand', command=['cat', str(path)]))


def environment(secrets):
    os.environ['A_KEY_LINE'] = secrets.mistyped()
    try:
        build_key(dict(type='EnvKey', name='A_KEY_LINE'))
    finally:
        del os.environ['A_KEY_LINE']


CASES = {
    'a mistyped line': lambda s: SecretKey.from_line(s.mistyped()),
    'a line with a blank': lambda s: SecretKey.from_line(' ' + s.line('plain.key')),
    'a mistyped file': lambda s: SecretKey.load(write_file(s, s.mistyped())),
    'two lines': lambda s: SecretKey.load(write_file(s, f'{s.line("plain.key")}\n{s.line("plain.key")}\n')),
    'a line for a path': lambda s: SecretKey.load(s.line('plain.key')),
    'a line in a config': lambda s: build_key(dict(type='KeyFile', path=s.line('plain.key'))),
    'a mistyped variable': environment,
    'a mistyped file for sealing': sealing_variable,
    'a mistyped line of a command': command,
    'a line for a command': lambda s: build_key(dict(type='KeyCommand', command=['x'], timeout=s.line('plain.key'))),
    'too short a secret': lambda s: SecretKey.from_bytes(SECRET[:31]),
    'a wrong passphrase': lambda s: SecretKey.from_line(s.line('sealed.key'), wrong()),
    'a passphrase from a function': lambda s: SecretKey.load(s.folder / 'sealed.key', wrong),
    'a passphrase of the wrong type': lambda s: PassphraseRecipient(PASSPHRASE.encode()),
    'an exposed passphrase file': lambda s: exposed(s, PASSPHRASE),
    'a key file that exists': lambda s: SecretKey.from_bytes(SECRET).save(s.folder / 'plain.key', PASSPHRASE),
    'a sealed file, wrong passphrase': lambda s: open_sealed(sealed(s, PassphraseRecipient(PASSPHRASE)), None, wrong()),
    'a damaged sealed file': lambda s: unseal_file(
        damaged(s, PassphraseRecipient(PASSPHRASE)), s.folder / 'out', None, PASSPHRASE + ''
    ),
    'a failing block': failing_block,
}


def exposed(secrets, text):
    write_file(secrets, text).chmod(0o644)
    find_passphrase(secrets.folder / 'written')


@pytest.mark.parametrize('case', CASES)
def test_no_secret_in_frames(case, tmp_path):
    secrets = Secrets(tmp_path)
    with pytest.raises(KeyProtectError) as caught:
        CASES[case](secrets)
    everything = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = ''
    while everything is not None:
        ours = [frame for frame in everything.stack if f'{os.sep}mmseg_keyprotect{os.sep}' in frame.filename]
        shown += ''.join(f'{frame.name} {frame.locals}\n' for frame in ours)
        everything = everything.__context__
    assert shown or case == 'a failing block'  # contextlib takes the frames of its generators out
    assert not [needle for needle in secrets.needles() if needle in shown], shown


def test_a_secret_is_found_where_there_is_one(tmp_path):
    """The search above finds a line in a frame."""
    secrets = Secrets(tmp_path)

    def holds(line):
        raise KeyFileError('Expected another line.')

    with pytest.raises(KeyFileError) as caught:
        holds(secrets.line('plain.key'))
    everything = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = ''.join(str(frame.locals) for frame in everything.stack)
    assert [needle for needle in secrets.needles() if needle in shown]


def test_an_error_that_the_caller_is_handling_keeps_its_frames():
    def work():
        number = 5
        raise ValueError(number)

    seen = []
    try:
        work()
    except ValueError as error:
        with pytest.raises(KeyFileError):
            SecretKey.load('missing.key')
        seen.append(error.__traceback__.tb_next.tb_frame.f_locals)
    assert seen == [{'number': 5}]
