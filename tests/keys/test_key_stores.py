"""Keys that a program prints, or that the keyring of the operating system keeps: real programs, a real keyring."""

import shlex
import subprocess
import sys
import time

import pytest

from helpers.key_lines import (
    PASSPHRASE,
    SECRET,
    output_keeps_secret,  # noqa: F401  a fixture that runs by itself
    plain_line,
    refuses,
    sealed_line,
    write,
)
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError, LeakedKeyError
from mmseg_keyprotect.keys import SecretKey, build_key, seal_key
from mmseg_keyprotect.keys import providers as key_providers

KEY = SecretKey.from_bytes(SECRET)
OTHER = SecretKey.from_bytes(bytes(32))


@pytest.fixture(autouse=True)
def bare_process(monkeypatch):
    """No key loaded yet, and no variables."""
    monkeypatch.setattr(key_providers, '_loaded', {})
    monkeypatch.setattr(key_providers, '_from_stores', {})
    for name in ('KEY_FILE', 'KEY_COMMAND', 'SEAL_KEY_FILE', 'SEAL_KEY_COMMAND', 'PASSPHRASE_FILE'):
        monkeypatch.delenv(f'KEYPROTECT_{name}', raising=False)


@pytest.fixture
def stored(tmp_path):
    return write(tmp_path / 'stored.key', plain_line() + '\n')


def program(code):
    return [sys.executable, '-c', code]


def command(words, **options):
    return build_key(dict(type='KeyCommand', command=words, **options))


def test_what_a_program_prints(stored, tmp_path):
    assert command(['cat', str(stored)]) == KEY
    assert command(f'cat {shlex.quote(str(stored))}') == KEY
    whole = tmp_path / 'whole.key'
    OTHER.save(whole)  # with comments
    assert command(('cat', str(whole)), timeout=5) == OTHER


def test_a_sealed_key_of_a_program(tmp_path):
    sealed = write(tmp_path / 'sealed.key', sealed_line() + '\n')
    passphrase = write(tmp_path / 'passphrase', PASSPHRASE + '\n')
    assert command(['cat', str(sealed)], passphrase_file=str(passphrase)) == KEY


@pytest.mark.parametrize('words', [['/no/such/program'], ['a\0b']])
def test_no_program(words):
    with refuses('No such file|not a usable command'):
        command(words)


@pytest.mark.parametrize(
    ('code', 'match'),
    [
        ('pass', 'got no lines'),
        ('print(line); print(line)', 'got 2 lines'),
        ('print(line); raise SystemExit(3)', 'failed with exit code 3'),
        ('print(line * 10**4)', 'more than 64 KiB'),
        ('sys.stdout.buffer.write(line.encode() + bytes([255]))', 'other bytes'),
        ('print(line[:-1])', 'key of a command'),
        ('input()', 'exit code 1'),
    ],
)
def test_programs_that_print_no_key(code, match, stored, capfd):
    with refuses(match):
        command([*program(f'import sys; line = open(sys.argv[1]).read().strip(); {code}'), str(stored)])
    capfd.readouterr()  # the program's own traceback


def test_a_program_is_asked_once(stored, tmp_path):
    count = f'open({str(tmp_path / "count")!r}, "a").write("x"); import sys; print(open(sys.argv[1]).read())'
    for _ in range(3):
        assert command([*program(count), str(stored)]) == KEY
    assert (tmp_path / 'count').read_text() == 'x'


def test_a_program_that_closes_its_output_and_goes_on(stored):
    begun = time.monotonic()
    with refuses('within 0.5 seconds'):
        command(['sh', '-c', 'cat "$0"; exec >&-; sleep 60', str(stored)], timeout=0.5)
    assert time.monotonic() - begun < 30
    assert command(['cat', str(stored)], timeout=1e12) == KEY


def test_a_key_in_the_place_of_a_command(monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_COMMAND', plain_line())
    with refuses('Expected a program that prints a key', LeakedKeyError):
        build_key()


@pytest.mark.parametrize('code', ['import time; time.sleep(60)', 'while True: print("x" * 1000)'])
def test_programs_that_do_not_end(code):
    begun = time.monotonic()
    with refuses('within 0.5 seconds|more than 64 KiB'):
        command(program(code), timeout=0.5)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ('fields', 'match'),
    [
        (dict(command=''), "an empty field 'command'"),
        (dict(command=' '), 'got none'),
        (dict(command='"'), 'matching quotes'),
        (dict(command=[1]), 'got none'),
        (dict(command='cat', timeout=0), "field 'timeout' that is not above 0"),
        (dict(command='cat', timeout='5'), 'where a number belongs'),
        (dict(command='cat', timeout=True), 'where a number belongs'),
        (dict(command='cat', shell=True), "unknown field 'shell'"),
        ({}, "no field 'command'"),
    ],
)
def test_bad_fields(fields, match):
    with refuses(match, ConfigError):
        build_key(dict(type='KeyCommand', **fields))


def test_commands_in_the_environment(stored, tmp_path, monkeypatch):
    whole = tmp_path / 'whole.key'
    OTHER.save(whole)
    monkeypatch.setenv('KEYPROTECT_KEY_COMMAND', f'cat {shlex.quote(str(stored))}')
    assert build_key() == seal_key() == KEY
    monkeypatch.setenv('KEYPROTECT_SEAL_KEY_COMMAND', f'cat {shlex.quote(str(whole))}')
    assert (build_key(), seal_key()) == (KEY, OTHER)
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(stored))
    with refuses('KEYPROTECT_KEY_FILE and KEYPROTECT_KEY_COMMAND are both set', ConfigError):
        build_key()


def test_sealed_files_open_with_the_key_of_a_command(stored, tmp_path, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_COMMAND', f'cat {shlex.quote(str(stored))}')
    (tmp_path / 'weights').write_bytes(b'weights')
    assert main(['seal', str(tmp_path / 'weights'), '-o', str(tmp_path / 'sealed')]) == 0
    assert main(['unseal', str(tmp_path / 'sealed'), '-o', str(tmp_path / 'again')]) == 0
    assert (tmp_path / 'again').read_bytes() == b'weights'


@pytest.fixture
def keyring_file(tmp_path):
    """The keyring of a user without a desktop: a file, by the package keyrings.alt."""
    keyring = pytest.importorskip('keyring')
    backend = pytest.importorskip('keyrings.alt.file').PlaintextKeyring()
    backend.file_path = str(tmp_path / 'keyring.cfg')
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    yield keyring
    keyring.set_keyring(before)


def test_the_keyring(keyring_file):
    keyring_file.set_password('models', 'seg', plain_line())
    assert build_key(dict(type='Keyring', service='models', name='seg')) == KEY
    with refuses("keyring entry 'other' of 'models'.*no such entry.*keyring set models other"):
        build_key(dict(type='Keyring', service='models', name='other'))
    keyring_file.set_password('models', 'bad', 'no key')
    with refuses('key'):
        build_key(dict(type='Keyring', service='models', name='bad'))


def test_a_keyring_that_cannot_be_read():
    keyring = pytest.importorskip('keyring')
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())
    try:
        with refuses('got NoKeyringError. Unlock it'):
            build_key(dict(type='Keyring', service='models', name='seg'))
    finally:
        keyring.set_keyring(before)


def test_gpg(stored, tmp_path, monkeypatch):
    """A key in a file that GnuPG has encrypted, as `pass` and `sops` keep it."""
    home = tmp_path / 'gnupg'
    home.mkdir(mode=0o700)
    monkeypatch.setenv('GNUPGHOME', str(home))
    options = ['--batch', '--pinentry-mode', 'loopback', '--passphrase', 'x']
    try:
        subprocess.run(
            ['gpg', *options, '-o', tmp_path / 'key.gpg', '-c', stored], check=True, capture_output=True, timeout=60
        )
    except FileNotFoundError:
        pytest.skip('gpg is not installed')
    assert command(['gpg', '--quiet', *options, '-d', str(tmp_path / 'key.gpg')]) == KEY
