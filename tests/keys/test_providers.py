"""Key providers: how a configuration names the place of its key."""

import functools
import getpass
import io
import os
import shutil
import sys
import types
import warnings
from collections import UserDict
from pathlib import Path

import pytest

from helpers.key_lines import (
    PASSPHRASE,
    SECRET,
    assert_no_secret,
    output_keeps_secret,  # noqa: F401  a fixture that runs by itself
    plain_line,
    posix,
    refuses,
    sealed_line,
    write,
)
from mmseg_keyprotect.errors import ConfigError, LeakedKeyError
from mmseg_keyprotect.keys import SecretKey, encoding
from mmseg_keyprotect.keys import providers as key_providers
from mmseg_keyprotect.keys.providers import build_key

KEY = SecretKey.from_bytes(SECRET)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def bare_process(monkeypatch):
    """No key loaded yet, no variables, no terminal."""
    monkeypatch.setattr(key_providers, '_loaded', {})
    for name in ('KEYPROTECT_KEY_FILE', 'KEYPROTECT_PASSPHRASE_FILE', 'MY_KEY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'stdin', io.StringIO())


@pytest.fixture
def plain(tmp_path):
    return write(tmp_path / 'plain.key', plain_line() + '\n')


@pytest.fixture
def sealed(tmp_path):
    return write(tmp_path / 'sealed.key', sealed_line() + '\n')


@pytest.fixture
def passphrase_file(tmp_path):
    return write(tmp_path / 'passphrase', PASSPHRASE + '\n')


@pytest.fixture
def prompts(monkeypatch):
    """A terminal where the user types the correct passphrase."""
    asked = []
    monkeypatch.setattr(sys, 'stdin', Terminal())
    monkeypatch.setattr(getpass, 'getpass', lambda text: asked.append(text) or PASSPHRASE)
    return asked


# Where a key can come from


def test_a_key_is_returned_as_it_is():
    assert build_key(KEY) is KEY


@pytest.mark.parametrize('function', [lambda: KEY, functools.partial(SecretKey.from_bytes, SECRET)])
def test_function(function):
    assert build_key(function) == KEY


@pytest.mark.parametrize('got', [None, SECRET, plain_line(), 'KEY'])
def test_function_must_return_a_key(got):
    with refuses(f'return a SecretKey, but got {type(got).__name__}', ConfigError):
        build_key(lambda: got)


@pytest.mark.parametrize('path_type', [str, Path])
def test_key_file(plain, path_type):
    assert build_key(dict(type='KeyFile', path=path_type(plain))) == KEY


def test_key_file_in_the_home_folder(plain, monkeypatch):
    monkeypatch.setenv('HOME', str(plain.parent))
    assert build_key(dict(type='KeyFile', path='~/plain.key')) == KEY


def test_environment_names_the_file(plain, monkeypatch):
    monkeypatch.setenv('MY_KEY', str(plain))
    assert build_key(dict(type='EnvKeyFile', name='MY_KEY')) == KEY


@pytest.mark.parametrize('make', [plain_line, sealed_line])
def test_environment_holds_the_key(make, monkeypatch, passphrase_file):
    monkeypatch.setenv('MY_KEY', make())
    assert build_key(dict(type='EnvKey', name='MY_KEY', passphrase_file=str(passphrase_file))) == KEY


def test_default_is_the_variable_of_the_project(plain, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(plain))
    assert build_key() == build_key(None) == KEY


@pytest.mark.parametrize('kind', [dict, UserDict, types.MappingProxyType])
def test_any_mapping(plain, kind):
    cfg = kind(dict(type='KeyFile', path=str(plain), passphrase_file=None))
    assert build_key(cfg) == KEY
    assert dict(cfg) == dict(type='KeyFile', path=str(plain), passphrase_file=None)


def test_config_of_mmengine(plain, monkeypatch):
    config = pytest.importorskip('mmengine.config')
    monkeypatch.setenv('MY_KEY', str(plain))
    cfg = config.Config(dict(key=dict(type='KeyFile', path=str(plain)), other=dict(type='EnvKeyFile', name='MY_KEY')))
    assert build_key(cfg.key) == build_key(cfg.other) == KEY
    assert_no_secret(cfg.dump())


def test_key_substituted_into_a_config_of_mmengine(tmp_path, monkeypatch, capfd):
    config = pytest.importorskip('mmengine.config')
    monkeypatch.setenv('MY_KEY', plain_line())
    path = write(tmp_path / 'config.py', "key = dict(type='EnvKey', name='{{$MY_KEY:}}')\n")
    cfg = config.Config.fromfile(path)
    capfd.readouterr()  # mmengine itself logs the value that it puts in
    with refuses('Do not write', LeakedKeyError):
        build_key(cfg.key)


# Configs that cannot work


@pytest.mark.parametrize('cfg', ['my.key', plain_line(), SECRET, 7, ['my.key'], SecretKey, dict])
def test_other_types(cfg):
    with refuses(f'Expected `key` to be .*, but got {type(cfg).__name__}', ConfigError):
        build_key(cfg)


@pytest.mark.parametrize(
    ('cfg', 'match'),
    [
        (dict(), 'one of KeyFile, EnvKeyFile, EnvKey, KeyCommand, Keyring, Vault, but got None'),
        (dict(path='my.key'), 'one of KeyFile, EnvKeyFile, EnvKey, KeyCommand, Keyring, Vault, but got None'),
        (dict(type='Keyfile', path='my.key'), "got 'Keyfile'"),
        (dict(type=SecretKey, path='my.key'), 'got <class'),
        (dict(type=['KeyFile']), 'got .*KeyFile'),
        (dict(type='KeyFile'), "no field 'path'"),
        (dict(type='KeyFile', name='MY_KEY'), "unknown field 'name'; no field 'path'"),
        (dict(type='KeyFile', path='my.key', passphrase='x'), "unknown field 'passphrase'"),
        (dict({'type': 'KeyFile', 'path': 'my.key', 7: 8}), 'unknown field 7'),
        (dict(type='KeyFile', path=None), "'path' of type NoneType"),
        (dict(type='KeyFile', path=SECRET), "'path' of type bytes"),
        (dict(type='KeyFile', path=3), "'path' of type int"),
        (dict(type='KeyFile', path=''), "empty field 'path'"),
        (dict(type='KeyFile', path='my.key', passphrase_file=''), "empty field 'passphrase_file'"),
        (dict(type='KeyFile', path='my.key', passphrase_file=b'x'), "'passphrase_file' of type bytes"),
        (dict(type='EnvKeyFile'), "no field 'name'"),
        (dict(type='EnvKeyFile', path='my.key'), "unknown field 'path'; no field 'name'"),
        (dict(type='EnvKeyFile', name=''), "empty field 'name'"),
        (dict(type='EnvKey', name=Path('x')), "'name' of type"),
        (dict(type='EnvKey'), "no field 'name'"),
    ],
)
def test_bad_fields(cfg, match):
    with refuses(match, ConfigError):
        build_key(cfg)


def test_all_problems_are_listed():
    with pytest.raises(ConfigError) as info:
        build_key(dict(type='KeyFile', name='a', file='b', passphrase_file=7))
    assert len(info.value.problems) == 4
    assert all(isinstance(problem, ConfigError) and str(problem) in str(info.value) for problem in info.value.problems)


@pytest.mark.parametrize('line', [plain_line(), sealed_line(), plain_line()[:30], f' {plain_line()}\n'])
@pytest.mark.parametrize(
    'fields',
    [
        lambda line: dict(type='KeyFile', path=line),
        lambda line: dict(type='KeyFile', path=Path(f'keys/{line}')),
        lambda line: dict(type='KeyFile', path='my.key', passphrase_file=line),
        lambda line: dict(type='KeyFile', path='my.key', key=line),
        lambda line: dict(type='EnvKeyFile', name=line),
        lambda line: dict(type='EnvKey', name=line),
        lambda line: dict(type='EnvKey', name=[line]),
        lambda line: dict(type=line),
        lambda line: {'type': 'KeyFile', line: 'path'},
    ],
)
def test_a_key_in_a_config_is_a_leak(line, fields):
    with refuses('the key is leaked: make a new one', LeakedKeyError):
        build_key(fields(line))


# Keys that cannot be loaded


@pytest.mark.parametrize('value', [None, ''])
def test_nothing_is_said_about_the_key(value, monkeypatch):
    if value is not None:
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', value)
    parts = ('`keyprotect keygen my.key`', 'export KEYPROTECT_KEY_FILE=my.key')
    with refuses('.*'.join(('KEYPROTECT_KEY_FILE', *parts))):
        build_key(None)


def test_unset_variable_of_a_file():
    with refuses('MY_KEY to name a key file, but it is not set.*export MY_KEY=my.key'):
        build_key(dict(type='EnvKeyFile', name='MY_KEY'))


def test_unset_variable_of_a_key():
    with refuses('MY_KEY to hold a key line, but it is not set'):
        build_key(dict(type='EnvKey', name='MY_KEY'))


def test_variable_holds_the_key_where_a_path_belongs(monkeypatch):
    monkeypatch.setenv('MY_KEY', plain_line())
    with refuses('path of a file', LeakedKeyError):
        build_key(dict(type='EnvKeyFile', name='MY_KEY'))
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', plain_line())
    with refuses('path of a file', LeakedKeyError):
        build_key()


@pytest.mark.parametrize(
    ('value', 'match'),
    [
        ('my.key', 'unknown prefix'),
        (plain_line() + ' ', 'not canonical'),
        (plain_line()[:-1], 'wrong length'),
        (f'# comment\n{plain_line()}\n', 'unknown prefix'),
        ('\udcff' + plain_line(), 'unknown prefix'),
        (plain_line() + '\udcff', 'not canonical'),
    ],
)
def test_variable_holds_something_else(value, match, monkeypatch):
    monkeypatch.setenv('MY_KEY', value)
    with refuses(f'^environment variable MY_KEY: .*{match}'):
        build_key(dict(type='EnvKey', name='MY_KEY'))


def test_missing_key_file(tmp_path):
    with refuses("^key file '.*no.key': Expected a file, but it was not found"):
        build_key(dict(type='KeyFile', path=str(tmp_path / 'no.key')))


@posix
def test_exposed_key_file(plain):
    build_key(dict(type='KeyFile', path=plain))
    plain.chmod(0o644)
    with refuses('chmod 600'):  # although the key is loaded already
        build_key(dict(type='KeyFile', path=plain))


# Passphrases


def test_passphrase_file(sealed, passphrase_file):
    assert build_key(dict(type='KeyFile', path=str(sealed), passphrase_file=str(passphrase_file))) == KEY


def test_passphrase_file_of_the_environment(sealed, passphrase_file, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_PASSPHRASE_FILE', str(passphrase_file))
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(sealed))
    assert build_key() == KEY


def test_passphrase_file_of_the_config_comes_first(sealed, passphrase_file, monkeypatch, tmp_path):
    monkeypatch.setenv('KEYPROTECT_PASSPHRASE_FILE', str(tmp_path / 'nowhere'))
    assert build_key(dict(type='KeyFile', path=sealed, passphrase_file=passphrase_file)) == KEY


def test_prompt_at_a_terminal(sealed, prompts):
    assert build_key(dict(type='KeyFile', path=sealed)) == KEY
    assert prompts == ['Passphrase of the key: ']


def test_no_prompt_for_a_plain_key(plain, prompts):
    assert build_key(dict(type='KeyFile', path=plain, passphrase_file='nowhere')) == KEY
    assert prompts == []


@pytest.mark.parametrize('stdin', [io.StringIO(), None, 'closed'])
def test_no_terminal(sealed, stdin, monkeypatch):
    if stdin == 'closed':
        stdin = Terminal()
        stdin.close()
    monkeypatch.setattr(sys, 'stdin', stdin)
    with refuses('passphrase_file.*export KEYPROTECT_PASSPHRASE_FILE=FILE'):
        build_key(dict(type='KeyFile', path=sealed))


def echoing(text):
    warnings.warn('Can not control echo on the terminal.', getpass.GetPassWarning, stacklevel=2)
    return PASSPHRASE


def hung_up(text):
    raise EOFError


@pytest.mark.parametrize('terminal', [echoing, hung_up])
def test_terminal_that_fails(sealed, monkeypatch, prompts, terminal):
    monkeypatch.setattr(getpass, 'getpass', terminal)
    with refuses('no passphrase was given, or there is no terminal that can hide it'):
        build_key(dict(type='KeyFile', path=sealed))


@pytest.mark.parametrize('end', ['', '\n', '\r\n'])
@pytest.mark.parametrize('passphrase', [PASSPHRASE, ' blanks around ', 'two\nlines', 'ends in one\n', 'ends in cr\r'])
def test_one_line_end_is_not_part_of_the_passphrase(tmp_path, passphrase, end):
    if end == '' and passphrase.endswith('\n'):
        pytest.skip('its last line end is the one that is taken off')
    if end == '\n' and passphrase.endswith('\r'):
        pytest.skip('reads as one line end')
    key_file = write(tmp_path / 'a.key', sealed_line(passphrase=passphrase))
    passphrase_file = write(tmp_path / 'passphrase', passphrase + end)
    assert build_key(dict(type='KeyFile', path=key_file, passphrase_file=passphrase_file)) == KEY


@pytest.mark.parametrize(
    ('content', 'mode', 'match'),
    [
        ('wrong\n', 0o600, 'wrong passphrase'),
        (f'{PASSPHRASE}\n\n', 0o600, 'wrong passphrase'),
        ('', 0o600, 'passphrase file.*is empty'),
        ('\n', 0o600, 'passphrase is empty'),
        ('\r\n', 0o600, 'passphrase is empty'),
        (b'\xff\n', 0o600, 'passphrase file.*UTF-8'),
        (b'x' * 65537, 0o600, 'passphrase file.*64 KiB'),
        pytest.param(PASSPHRASE, 0o604, 'passphrase file.*chmod 600', marks=posix),
        (None, None, 'passphrase file.*not found'),
    ],
)
def test_bad_passphrase_files(sealed, tmp_path, content, mode, match):
    path = tmp_path / 'passphrase'
    if content is not None:
        write(path, content, mode)
    with refuses(match):
        build_key(dict(type='KeyFile', path=str(sealed), passphrase_file=str(path)))


# A process loads a key once


def test_a_passphrase_is_asked_for_once(sealed, prompts, monkeypatch):
    works = []
    scrypt = encoding.Scrypt
    monkeypatch.setattr(encoding, 'Scrypt', lambda **arguments: works.append(1) or scrypt(**arguments))
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(sealed))
    monkeypatch.chdir(sealed.parent)
    Path('link.key').symlink_to(sealed)
    first = build_key(dict(type='KeyFile', path=str(sealed)))
    assert build_key(dict(type='KeyFile', path='sealed.key')) is first
    assert build_key(dict(type='KeyFile', path='link.key')) is first
    assert build_key() is first
    assert (len(prompts), len(works)) == (1, 1)


def test_a_failure_is_not_kept(sealed, passphrase_file, tmp_path):
    wrong = write(tmp_path / 'wrong', 'wrong')
    with refuses('wrong passphrase'):
        build_key(dict(type='KeyFile', path=sealed, passphrase_file=wrong))
    assert build_key(dict(type='KeyFile', path=sealed, passphrase_file=passphrase_file)) == KEY


@pytest.mark.parametrize('same_inode', [True, False])
def test_a_changed_file_is_loaded_again(plain, tmp_path, same_inode):
    """Even with the same size, time and inode number, as on file systems with coarse times."""
    assert build_key(dict(type='KeyFile', path=plain)) == KEY
    before = plain.stat()
    other = SecretKey.from_bytes(bytes(32))
    new = write(tmp_path / 'new.key', plain_line(bytes(32)) + '\n')
    if same_inode:
        plain.write_bytes(new.read_bytes())
    else:
        shutil.move(new, plain)
    os.utime(plain, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert plain.stat().st_size == before.st_size
    assert build_key(dict(type='KeyFile', path=plain)) == other


def test_a_removed_file_is_missed(plain):
    build_key(dict(type='KeyFile', path=plain))
    plain.unlink()
    with refuses('not found'):
        build_key(dict(type='KeyFile', path=plain))


def test_what_is_kept_shows_no_key(plain, sealed, passphrase_file):
    build_key(dict(type='KeyFile', path=plain))
    build_key(dict(type='KeyFile', path=sealed, passphrase_file=passphrase_file))
    assert len(key_providers._loaded) == 2
    assert_no_secret(repr(key_providers._loaded))
