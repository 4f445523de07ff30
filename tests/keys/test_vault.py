"""Keys of HashiCorp Vault and OpenBao: a real server where one is installed, and a stand-in of its HTTP interface."""

import gzip
import json
import sys
import time
import traceback

import pytest

from helpers.key_lines import (
    PASSPHRASE,
    SECRET,
    assert_no_secret,
    output_keeps_secret,  # noqa: F401  a fixture that runs by itself
    plain_line,
    refuses,
    sealed_line,
    write,
)
from helpers.vault_servers import TOKEN, real_server, request, stand_in
from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError, MissingDependencyError
from mmseg_keyprotect.keys import SecretKey, build_key
from mmseg_keyprotect.keys import providers as key_providers

pytest.importorskip('hvac')
KEY = SecretKey.from_bytes(SECRET)


@pytest.fixture(autouse=True)
def bare_process(monkeypatch, tmp_path):
    """No key loaded yet, no variables, and an empty home folder."""
    monkeypatch.setattr(key_providers, '_loaded', {})
    monkeypatch.setattr(key_providers, '_from_stores', {})
    for name in ('VAULT_ADDR', 'VAULT_TOKEN', 'VAULT_NAMESPACE', 'KEYPROTECT_PASSPHRASE_FILE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    (tmp_path / 'home').mkdir()


@pytest.fixture
def server(monkeypatch):
    """The stand-in, with a token in the environment."""
    secrets = {
        'secret/data/mmseg/key': dict(key=plain_line() + '\n', other='x', number=7, damaged=plain_line()[:-1]),
        'secret/data/sealed': dict(key=sealed_line()),
        'old/mmseg/key': dict(key=plain_line()),
    }
    with stand_in(secrets) as running:
        monkeypatch.setenv('VAULT_ADDR', running.url)
        monkeypatch.setenv('VAULT_TOKEN', TOKEN)
        yield running


def vault(path='mmseg/key', field='key', **fields):
    return build_key(dict(type='Vault', path=path, field=field, **fields))


def test_a_real_server(tmp_path, monkeypatch):
    with real_server(tmp_path) as url:
        if url is None:
            pytest.skip('neither bao nor vault is installed')
        request(url, 'POST', 'secret/data/mmseg/key', dict(data=dict(key=plain_line() + '\n')))
        request(url, 'POST', 'sys/mounts/old', dict(type='kv', options=dict(version='1')))
        request(url, 'POST', 'old/mmseg/key', dict(key=plain_line()))
        rule = 'path "secret/data/mmseg/key" { capabilities = ["read"] }'
        request(url, 'PUT', 'sys/policies/acl/reader', dict(policy=rule))
        reader = request(url, 'POST', 'auth/token/create', dict(policies=['reader']))['auth']['client_token']
        monkeypatch.setenv('VAULT_ADDR', url)
        monkeypatch.setenv('VAULT_TOKEN', reader)
        assert vault() == KEY
        with refuses('permission denied'):
            vault('mmseg/other')
        monkeypatch.setenv('VAULT_TOKEN', TOKEN)
        assert vault(mount='old', kv_version=1) == KEY
        with refuses('404'):
            vault('mmseg/other')
        request(url, 'POST', 'auth/token/revoke', dict(token=reader))
        request(url, 'DELETE', 'secret/data/mmseg/key')
        monkeypatch.setattr(key_providers, '_from_stores', {})
        with refuses('404'):
            vault()
        monkeypatch.setenv('VAULT_TOKEN', reader)
        with refuses('permission denied'):
            vault()


def test_both_versions_of_the_stand_in(server, tmp_path):
    assert vault() == vault(mount='secret', timeout=1e12) == KEY
    assert vault(mount='old', kv_version=1) == KEY
    passphrase = write(tmp_path / 'passphrase', PASSPHRASE)
    assert vault('sealed', passphrase_file=str(passphrase)) == KEY
    with refuses('none at this path'):
        vault('mmseg/key', mount='old')


def test_the_stand_in_is_asked_once(server, monkeypatch):
    for _ in range(3):
        assert vault() == KEY
    assert server.asked == ['/v1/secret/data/mmseg/key']
    monkeypatch.setenv('VAULT_ADDR', server.url + '/')
    vault()
    assert len(server.asked) == 2


def test_the_token_of_the_home_folder(server, tmp_path, monkeypatch):
    monkeypatch.delenv('VAULT_TOKEN')
    write(tmp_path / 'home' / '.vault-token', TOKEN + '\n')
    assert vault() == KEY


@pytest.mark.parametrize('content', [None, '', b'\xff' + TOKEN.encode(), f'{TOKEN}\n{TOKEN}', TOKEN + 'ö'])
def test_no_token(content, server, tmp_path, monkeypatch):
    monkeypatch.delenv('VAULT_TOKEN')
    if content is not None:
        write(tmp_path / 'home' / '.vault-token', content)
    with refuses('Expected a token in VAULT_TOKEN or ~/.vault-token.*vault login', lines=[TOKEN]):
        vault()
    assert not server.asked


def test_no_address(server, monkeypatch):
    monkeypatch.delenv('VAULT_ADDR')
    with refuses('Expected the environment variable VAULT_ADDR.*it is not set'):
        vault()


@pytest.mark.parametrize('address', ['http://127.0.0.1:9', 'https://127.0.0.1:{port}', 'no address', 'ftp://x'])
def test_no_server(address, server, monkeypatch):
    monkeypatch.setenv('VAULT_ADDR', address.format(port=server.server_port))
    with refuses(r'Expected an answer of the server of VAULT_ADDR, but got (\w*Error|Missing|Invalid)', lines=[TOKEN]):
        vault()


@pytest.mark.parametrize(
    ('path', 'field', 'match'),
    [
        ('mmseg/none', 'key', r'404.*grep \^MMSEG my.key \| vault kv put -mount=secret mmseg/none key=-'),
        ('../../sys/x', 'key', '404'),
        ('mmseg/key', 'none', 'no such field'),
        ('mmseg/key', 'number', 'no text in it'),
        ('mmseg/key', 'other', 'key'),
        ('mmseg/key', 'damaged', "field 'damaged' of 'mmseg/key' in the vault"),
    ],
)
def test_what_is_no_key(path, field, match, server):
    with refuses(match):
        vault(path, field)


def test_a_wrong_token(server, monkeypatch):
    monkeypatch.setenv('VAULT_TOKEN', 'hvs.' + 'Expired' * 3)
    with refuses('permission denied.*403.*wrong or expired', lines=['hvs.' + 'Expired' * 3]):
        vault()


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b' ')
        time.sleep(0.05)


ODD = {
    'hangs': (lambda handler: time.sleep(2), 'within 0.5 seconds'),
    'drips': (drip, 'within 0.5 seconds'),
    'leaves': (lambda handler: handler.wfile.close(), 'but got ConnectionError'),
    'huge': (lambda handler: handler.answer(200, b'{"data": "' + b'x' * 10**7), 'more than 64 KiB'),
    'bomb': (
        lambda handler: handler.answer(200, gzip.compress(bytes(10**7)), **{'Content-Encoding': 'gzip'}),
        'more than 64 KiB',
    ),
    'page': (lambda handler: handler.answer(200, f'<html>{plain_line()}'.encode()), 'but got another reply'),
    'deep': (lambda handler: handler.answer(200, b'[' * 60000), 'but got another reply'),
    'version 1': (lambda handler: handler.answer(200, dict(data=dict(key=plain_line()))), 'kv_version'),
    'sealed': (lambda handler: handler.answer(503, dict(errors=['Vault is sealed'])), 'status 503.*vault status'),
    'moved': (lambda handler: handler.answer(307, b'', Location=f'/v1/secret/data/{plain_line()}'), r'redirect \(307'),
}


@pytest.mark.parametrize('name', ODD)
@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_servers_that_answer_oddly(name, server):
    server.raw['odd'], match = ODD[name]
    begun = time.monotonic()
    with refuses(match, lines=[TOKEN]):
        vault('odd', mount='raw', timeout=0.5 if 'within' in match else 30)
    assert time.monotonic() - begun < 20
    assert server.asked == ['/v1/raw/data/odd']


@pytest.mark.parametrize('case', ['hangs', 'page', 'moved', 'drips'])
def test_no_secret_in_frames(case, server):
    server.raw['odd'] = ODD[case][0]
    with pytest.raises(KeyFileError) as caught:
        vault('odd', mount='raw', timeout=0.5)
    error = caught.value
    while error is not None:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        ours = [frame for frame in shown.stack if 'mmseg_keyprotect' in frame.filename]
        assert ours
        assert_no_secret(str([frame.locals for frame in ours]), lines=['.' + TOKEN])
        error = error.__context__


@pytest.mark.parametrize(
    ('fields', 'match', 'error'),
    [
        (dict(path='a', field='b', token=TOKEN), "unknown field 'token'", ConfigError),
        (dict(path='a', field='b', address='x', url='y'), "unknown field 'address'.*'url'", ConfigError),
        (dict(path='a'), "no field 'field'", ConfigError),
        (dict(path='a', field=1), "field 'field' of type int", ConfigError),
        (dict(path='a', field='b', mount=''), "an empty field 'mount'", ConfigError),
        (dict(path='a', field='b', timeout=0), 'not above 0', ConfigError),
        (dict(path='a', field='b', kv_version='2'), 'where a number belongs', ConfigError),
        (dict(path='a', field='b', kv_version=3), 'to be 1 or 2', ConfigError),
        (dict(path='a', field=plain_line()), 'a configuration', LeakedKeyError),
    ],
)
def test_bad_fields(fields, match, error, server):
    with pytest.raises(error, match=f'(?i){match}') as caught:
        build_key(dict(type='Vault', **fields))
    assert TOKEN not in str(caught.value)
    assert_no_secret(json.dumps(str(caught.value)))


def test_without_the_library(server, monkeypatch):
    monkeypatch.setitem(sys.modules, 'hvac', None)
    with refuses(r"pip install 'mmseg-keyprotect\[vault\]'", MissingDependencyError):
        vault()
