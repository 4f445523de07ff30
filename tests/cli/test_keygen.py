"""The command that makes key files."""

import base64
import getpass
import hashlib
import io
import os
import shlex
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys import line as key_line

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / 'tools' / 'keygen.py'
SECRET = hashlib.sha256(b'a secret for tests').digest()
PASSPHRASE = 'correct horse battery'
posix = pytest.mark.skipif(os.name != 'posix', reason='modes are POSIX')


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Run the command in tmp_path with a known secret; give exit code, stdout, stderr. No output shows the secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, 'urandom', lambda n: SECRET[:n])
    monkeypatch.setattr(sys, 'stdin', io.StringIO())
    monkeypatch.setattr(key_line, 'LOG2N', 2)
    for name in ('KEYPROTECT_KEY_FILE', 'KEYPROTECT_PASSPHRASE_FILE'):
        monkeypatch.delenv(name, raising=False)

    def run(*argv):
        code = main(['keygen', *map(str, argv)])
        out, err = capfd.readouterr()
        encoded = base64.b64encode(SECRET).decode()
        urlsafe = base64.urlsafe_b64encode(SECRET).decode()
        for form in (SECRET.hex(), repr(SECRET)[2:-1], encoded[:12], urlsafe[:12], PASSPHRASE, 'Traceback'):
            assert form not in out + err
        assert SECRET not in (out + err).encode('utf-8', 'surrogateescape')
        return code, out, err

    return run


@pytest.fixture
def typed(monkeypatch):
    """What is typed at the terminal, one answer for each prompt."""
    answers = []
    monkeypatch.setattr(getpass, 'getpass', lambda text: answers.pop(0))
    return answers


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


KEY = SecretKey.from_bytes(SECRET)


def test_makes_a_key_and_says_what_next(call, tmp_path):
    code, out, err = call('my.key')
    path = tmp_path / 'my.key'
    assert code == 0
    assert err == ''
    lines = out.splitlines()
    assert lines[0] == f'key id: {KEY.key_id}'
    assert lines[1] == f'file: {path} (mode 0600)'
    assert f'export KEYPROTECT_KEY_FILE={shlex.quote(str(path))}' in lines[2]
    assert 'backup' in lines[3]
    assert 'without the key the model is lost' in lines[3]
    assert len(lines) == 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SecretKey.load(path) == KEY


def test_path_is_quoted_for_the_shell(call, tmp_path):
    _, out, _ = call("it's my.key")
    assert shlex.quote(str(tmp_path / "it's my.key")) in out


@pytest.mark.parametrize('name', ['there', 'dangling'])
def test_never_overwrites(call, tmp_path, name):
    (tmp_path / 'there').write_text('precious')
    (tmp_path / 'dangling').symlink_to('nowhere')
    code, out, err = call(name)
    assert (code, out) == (1, '')
    assert err.startswith(f"error: Expected a new path, but '{name}' exists already.")
    assert (tmp_path / 'there').read_text() == 'precious'
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['no/my.key'], 'does not exist'),
        (['MMSEG-KEYPROTECT-KEY-1.abcdefghijklmnopqrstuvwxyz'], 'path of a file'),
        ([''], 'empty text'),
        (['my.key', '--passphrase-file', 'no'], "passphrase file 'no': Expected a file, but it was not found"),
        (['--show-id', 'no.key'], "key file 'no.key': Expected a file, but it was not found"),
        (['--show-id', ''], 'empty text'),
        (['--show-id', '.'], "key file '.': Expected a readable file"),
        (['--show-id', 'MMSEG-KEYPROTECT-KEY-1.abcdefghijklmnopqrstuvwxyz'], 'path of a file'),
    ],
)
def test_errors(call, argv, message, tmp_path):
    code, out, err = call(*argv)
    assert (code, out) == (1, '')
    assert err.startswith('error: ')
    assert message in err
    assert 'abcdefgh' not in err
    assert [line.partition(' ')[0] for line in err.splitlines()] == ['error:', 'hint:']
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'argv',
    [
        [],
        ['my.key', '--show-id', 'other.key'],
        ['my.key', '--passphrase', '--passphrase-file', 'x'],
        ['--show-id', 'my.key', '--passphrase'],
    ],
)
def test_usage(call, argv, capfd):
    with pytest.raises(SystemExit) as info:
        call(*argv)
    assert info.value.code == 2
    assert 'usage:' in capfd.readouterr().err


def test_passphrase_is_asked_for_twice(call, typed, tmp_path):
    typed += [PASSPHRASE, PASSPHRASE]
    code, out, _ = call('my.key', '--passphrase')
    assert code == 0
    assert '(mode 0600, sealed)' in out
    assert typed == []
    assert SecretKey.load(tmp_path / 'my.key', PASSPHRASE) == KEY


@pytest.mark.parametrize(
    ('answers', 'message'), [([PASSPHRASE, PASSPHRASE + 'x'], 'passphrases differ'), (['', ''], 'passphrase is empty')]
)
def test_bad_new_passphrase(call, typed, tmp_path, answers, message):
    typed += answers
    code, out, err = call('my.key', '--passphrase')
    assert (code, out) == (1, '')
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_told_before_the_prompt(call, typed, tmp_path):
    private(tmp_path / 'my.key', 'precious')
    code, _, err = call('my.key', '--passphrase')
    assert code == 1
    assert 'never overwritten' in err


@pytest.mark.parametrize('failure', [EOFError, KeyboardInterrupt])
def test_prompt_is_broken_off(call, monkeypatch, tmp_path, failure):
    def leave(text):
        raise failure

    monkeypatch.setattr(getpass, 'getpass', leave)
    code, out, err = call('my.key', '--passphrase')
    assert (code, out) == (130 if failure is KeyboardInterrupt else 1, '')
    assert err.strip().startswith('interrupted: no key was made' if failure is KeyboardInterrupt else 'error: ')
    assert list(tmp_path.iterdir()) == []


def test_no_prompt_that_echoes(call, monkeypatch, tmp_path):
    def echo(text):
        warnings.warn('Can not control echo on the terminal.', getpass.GetPassWarning, stacklevel=2)
        return PASSPHRASE

    monkeypatch.setattr(getpass, 'getpass', echo)
    code, _, err = call('my.key', '--passphrase')
    assert code == 1
    assert 'Use a passphrase file' in err
    assert list(tmp_path.iterdir()) == []


def test_passphrase_file(call, tmp_path):
    private(tmp_path / 'passphrase', PASSPHRASE + '\n')
    assert call('my.key', '--passphrase-file', 'passphrase')[0] == 0
    assert SecretKey.load(tmp_path / 'my.key', PASSPHRASE) == KEY
    assert call('--show-id', 'my.key', '--passphrase-file', 'passphrase') == (0, f'{KEY.key_id}\n', '')


@pytest.mark.parametrize('text', ['', '\n'])
def test_empty_passphrase_file(call, tmp_path, text):
    private(tmp_path / 'passphrase', text)
    code, _, err = call('my.key', '--passphrase-file', 'passphrase')
    assert code == 1
    assert 'is empty' in err
    assert not (tmp_path / 'my.key').exists()


@posix
def test_exposed_passphrase_file(call, tmp_path):
    private(tmp_path / 'passphrase', PASSPHRASE).chmod(0o644)
    code, _, err = call('my.key', '--passphrase-file', 'passphrase')
    assert code == 1
    assert 'chmod 600' in err


def test_show_id_prints_the_id_alone(call, tmp_path):
    KEY.save(tmp_path / 'my.key')
    assert call('--show-id', 'my.key') == (0, f'{KEY.key_id}\n', '')


@posix
def test_show_id_warns_of_an_exposed_file(call, tmp_path):
    KEY.save(tmp_path / 'my.key')
    (tmp_path / 'my.key').chmod(0o644)
    code, out, err = call('--show-id', 'my.key')
    assert (code, out) == (0, f'{KEY.key_id}\n')
    assert err.startswith("warning: key file 'my.key'")
    assert 'chmod 600 my.key' in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_show_id_of_a_sealed_key_asks(call, tmp_path, typed, monkeypatch):
    KEY.save(tmp_path / 'my.key', PASSPHRASE)
    monkeypatch.setattr(sys, 'stdin', Terminal())
    typed += [PASSPHRASE, 'wrong']
    assert call('--show-id', 'my.key') == (0, f'{KEY.key_id}\n', '')
    code, out, err = call('--show-id', 'my.key')
    assert (code, out) == (1, '')
    assert 'wrong passphrase' in err
    assert typed == []


def test_show_id_of_a_sealed_key_without_a_terminal(call, tmp_path):
    KEY.save(tmp_path / 'my.key', PASSPHRASE)
    code, out, err = call('--show-id', 'my.key')
    assert (code, out) == (1, '')
    assert 'KEYPROTECT_PASSPHRASE_FILE' in err


def test_show_id_of_a_damaged_key(call, tmp_path):
    KEY.save(tmp_path / 'my.key')
    private(tmp_path / 'bad.key', (tmp_path / 'my.key').read_text().rstrip('\n') + ' \n')
    code, out, err = call('--show-id', 'bad.key')
    assert (code, out) == (1, '')
    assert err.startswith("error: key file 'bad.key': Expected the base64url of 36 bytes after the prefix, but ")
    assert 'the key is not canonical base64' in err


def test_as_a_script(tmp_path):
    """As users call it; also that it stays light."""
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    command = [sys.executable, '-X', 'importtime', str(SCRIPT), 'my.key']
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.returncode == 0
    key = SecretKey.load(tmp_path / 'my.key')
    assert f'key id: {key.key_id}' in result.stdout
    assert (tmp_path / 'my.key').read_text().splitlines()[-1][30:40] not in result.stdout + result.stderr
    modules = {line.rpartition('|')[2].strip() for line in result.stderr.splitlines()}
    assert 'mmseg_keyprotect.keys' in modules
    assert not modules & {'torch', 'mmseg', 'mmengine', 'numpy'}
    again = subprocess.run([sys.executable, str(SCRIPT), 'my.key'], cwd=tmp_path, env=env, capture_output=True)
    assert again.returncode == 1
    assert again.stderr.startswith(b'error: ')
    assert SecretKey.load(tmp_path / 'my.key') == key
