"""The secret key, its handle and its file (docs/spec.md, sections 1, 2 and 6)."""

import base64
import contextlib
import copy
import errno
import hashlib
import hmac
import json
import os
import pickle
import stat
import string
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.key_lines import (
    PASSPHRASE,
    PLAIN,
    SEALED,
    SECRET,
    assert_no_secret,
    b64,
    plain_line,
    posix,
    refuses,
    sealed_line,
    write,
)
from mmseg_keyprotect.errors import KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys import SecretKey, encoding
from mmseg_keyprotect.keys import line as key_line
from mmseg_keyprotect.keys.line import KEY_LINE

secrets = st.binary(min_size=32, max_size=32)


@pytest.fixture
def key():
    return SecretKey.from_bytes(SECRET)


# The secret and what is derived from it


def test_generate_takes_32_bytes_of_the_operating_system(monkeypatch):
    asked = []
    monkeypatch.setattr(os, 'urandom', lambda n: asked.append(n) or SECRET)
    assert SecretKey.generate() == SecretKey.from_bytes(SECRET)
    assert asked == [32]


def test_generated_keys_differ():
    assert len({SecretKey.generate().key_id for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ('secret', 'got'),
    [
        (SECRET[:31], 'bytes of length 31'),
        (SECRET + b'\0', 'bytes of length 33'),
        (b'', 'bytes of length 0'),
        (bytearray(SECRET), 'bytearray of length 32'),
        (SECRET.hex()[:32], 'str of length 32'),
        (memoryview(SECRET), 'memoryview'),
        (12345, 'int'),
        (list(SECRET), 'list'),
        (None, 'NoneType'),
    ],
)
def test_from_bytes_wants_exactly_32_bytes(secret, got):
    with refuses(f'exactly 32 bytes, but got {got}'):
        SecretKey.from_bytes(secret)


def hkdf(secret, info, length):
    """HKDF as RFC 5869 writes it."""
    prk = hmac.digest(b'mmseg-keyprotect/1', secret, 'sha256')
    out, block, i = b'', b'', 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([i]), 'sha256')
        out, i = out + block, i + 1
    return out[:length]


@given(secrets, st.text(alphabet=st.characters(exclude_categories=['Cs'])), st.integers(1, 8160))
@settings(max_examples=50)
def test_derive_is_hkdf_sha256(secret, label, length):
    assert SecretKey.from_bytes(secret).derive(label, length) == hkdf(secret, label.encode(), length)


@given(secrets)
def test_key_id_is_8_derived_bytes_in_hex(secret):
    key_id = SecretKey.from_bytes(secret).key_id
    assert key_id == hkdf(secret, b'key-id', 8).hex()
    assert len(key_id) == 16
    assert set(key_id) <= set('0123456789abcdef')


@pytest.mark.parametrize('length', [0, -1, 8161])
def test_derive_refuses_lengths_out_of_range(key, length):
    with refuses('1 to 8160', ValueError):
        key.derive('label', length)


# The handle


def test_texts_of_a_handle_hold_the_key_id_only(key):
    expected = f'<SecretKey key_id={key.key_id}>'
    assert repr(key) == str(key) == f'{key}' == f'{key!r}' == '%s' % key == expected  # noqa: UP031
    assert f'{key:>50}' == expected.rjust(50)
    assert repr([key]) == f'[{expected}]'
    assert_no_secret(repr(key))


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused(key, protocol):
    with refuses("key provider.*type='KeyFile'", LeakedKeyError):
        pickle.dumps(key, protocol)
    with refuses('never pickled', LeakedKeyError):
        pickle.dumps({'deep': [key]}, protocol)


@pytest.mark.parametrize('way', ['__reduce__', '__reduce_ex__', '__getstate__'])
def test_no_way_round_pickle(key, way):
    with refuses('never pickled', LeakedKeyError):
        getattr(key, way)()


def test_copies_are_the_handle_itself(key):
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key
    assert copy.deepcopy({'a': [key]})['a'][0] is key


def test_equality(key, monkeypatch):
    assert key == SecretKey.from_bytes(SECRET)
    assert key != SecretKey.generate()
    assert key.__eq__(SECRET) is NotImplemented
    assert key != SECRET
    assert key != key.key_id
    calls = []
    monkeypatch.setattr(hmac, 'compare_digest', lambda a, b: calls.append(1) or a == b)
    assert key == SecretKey.from_bytes(SECRET)
    assert calls == [1]


@pytest.mark.parametrize('name', ['_secret', '_key_id', 'key_id', 'derive', 'anything'])
def test_handle_cannot_be_changed(key, name):
    with refuses('cannot be changed', AttributeError):
        setattr(key, name, b'x')
    with refuses('cannot be changed', AttributeError):
        delattr(key, name)
    assert key == SecretKey.from_bytes(SECRET)


def test_init_does_not_change_a_handle(key):
    with contextlib.suppress(TypeError):
        key.__init__(bytes(32))
    assert key == SecretKey.from_bytes(SECRET)


def test_handle_gives_no_bytes(key):
    assert not hasattr(key, '__dict__')
    assert not hasattr(key, '__bytes__')
    for spill in (bytes, vars, list, hash, json.dumps, memoryview):
        with refuses(None, TypeError):
            spill(key)


@pytest.mark.parametrize('module', ['keys', 'keys.providers'])
def test_import_is_light(module):
    code = (
        f'import sys, mmseg_keyprotect.{module}; print([m for m in ("torch", "mmengine", "numpy") if m in sys.modules])'
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'


# Saving


def test_saved_file(tmp_path, key):
    path = tmp_path / 'my.key'
    key.save(path)
    lines = path.read_bytes().decode().split('\n')
    assert 'secret key of mmseg-keyprotect' in lines[0]
    assert lines[1] == f'# key id: {key.key_id}'
    assert lines[2].startswith('# created: 2')
    assert len(lines[2]) == len('# created: 2000-01-01')
    assert lines[3:] == [plain_line(), '']
    assert all(line.startswith('#') for line in lines[:3])


@given(secrets)
@settings(max_examples=25, deadline=None)
def test_file_round_trip(secret):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'k')
        SecretKey.from_bytes(secret).save(path)
        assert SecretKey.load(path) == SecretKey.from_bytes(secret)


@posix
@pytest.mark.parametrize('umask', [0o000, 0o022, 0o077, 0o777])
def test_mode_is_0600_whatever_the_umask(tmp_path, key, umask):
    before = os.umask(umask)
    try:
        key.save(tmp_path / 'my.key')
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'my.key').stat().st_mode) == 0o600


@posix
def test_file_is_never_open_to_others_while_it_is_made(tmp_path, key, monkeypatch):
    modes = []
    real = os.chmod
    monkeypatch.setattr(os, 'chmod', lambda path, mode: modes.append(os.stat(path).st_mode) or real(path, mode))
    before = os.umask(0)
    try:
        key.save(tmp_path / 'my.key')
    finally:
        os.umask(before)
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


@pytest.mark.parametrize('kind', ['file', 'empty file', 'folder', 'link', 'dangling link'])
@pytest.mark.parametrize('race', [False, True])
def test_save_never_overwrites(tmp_path, key, kind, race, monkeypatch):
    path, target = tmp_path / 'my.key', tmp_path / 'target'
    if kind == 'folder':
        path.mkdir()
    elif 'link' in kind:
        path.symlink_to(target)
        if kind == 'link':
            target.write_text('precious')
    else:
        path.write_text('precious' if kind == 'file' else '')
    if race:  # the path appears after the first check
        monkeypatch.setattr(os.path, 'lexists', lambda _: False)
    with refuses('exists already.*never overwritten'):
        key.save(path)
    monkeypatch.undo()
    assert os.path.lexists(path)
    if kind == 'dangling link':
        assert not target.exists()
    if kind in ('file', 'link'):
        assert path.read_text() == 'precious'


def test_save_looks_at_the_path_before_it_asks_for_a_passphrase(tmp_path, key):
    path = write(tmp_path / 'my.key', 'precious')
    with refuses('never overwritten'):
        key.save(path, lambda: pytest.fail('asked'))


def test_save_needs_the_folder(tmp_path, key):
    with refuses('folder .*nowhere.* does not exist'):
        key.save(tmp_path / 'nowhere' / 'my.key')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('name', 'match'), [('a\0b', 'not a usable path'), ('x' * 300, 'cannot be written'), ('', 'empty text')]
)
def test_save_refuses_unusable_paths(tmp_path, key, name, match):
    with refuses(match):
        key.save(f'{tmp_path}/{name}' if name else name)


def test_save_below_a_file(tmp_path, key):
    write(tmp_path / 'file', 'x')
    with refuses('cannot be written'):
        key.save(tmp_path / 'file' / 'my.key')


def test_save_refuses_a_key_as_path(key):
    with refuses('path of a file', LeakedKeyError):
        key.save(plain_line())


@pytest.mark.parametrize(
    ('failure', 'error'),
    [(OSError(errno.ENOSPC, 'No space left on device'), KeyFileError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_nothing_is_left_of_a_failed_save(tmp_path, key, monkeypatch, failure, error):
    def fsync(fd):
        raise failure

    monkeypatch.setattr(os, 'fsync', fsync)
    with refuses('No space' if error is KeyFileError else None, error):
        key.save(tmp_path / 'my.key')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('passphrase', ['', lambda: ''])
def test_save_refuses_an_empty_passphrase(tmp_path, key, passphrase):
    with refuses('passphrase is empty'):
        key.save(tmp_path / 'my.key', passphrase)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('passphrase', [b'bytes', 7, lambda: None])
def test_a_passphrase_is_text(tmp_path, key, passphrase):
    with refuses('passphrase of type str, but got'):
        key.save(tmp_path / 'my.key', passphrase)


def test_sealed_round_trip(tmp_path, key):
    path = tmp_path / 'my.key'
    key.save(path, PASSPHRASE)
    text = path.read_text()
    line = text.split('\n')[3]
    assert_no_secret(text)
    assert f'# key id: {key.key_id}' in text
    raw = base64.urlsafe_b64decode(line.removeprefix(SEALED) + '=')
    assert len(raw) == 77
    assert raw[0] == 17
    aes = hashlib.scrypt(PASSPHRASE.encode(), salt=raw[1:17], n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    assert AESGCM(aes).decrypt(raw[17:29], raw[29:], SEALED.encode()) == SECRET
    assert SecretKey.load(path, lambda: PASSPHRASE) == key


def test_salt_and_nonce_are_fresh(tmp_path, key, monkeypatch):
    monkeypatch.setattr(key_line, 'LOG2N', 1)
    heads = set()
    for i in range(5):
        key.save(tmp_path / f'{i}', PASSPHRASE)
        heads.add((tmp_path / f'{i}').read_text().split('\n')[3][: len(SEALED) + 38])
    assert len(heads) == 5


# Loading


@pytest.mark.parametrize('path_type', [str, Path, os.fsencode])
def test_load_takes_any_path(tmp_path, key, path_type):
    assert SecretKey.load(path_type(write(tmp_path / 'my.key', plain_line()))) == key


@pytest.mark.parametrize(
    'text',
    [
        '{}',
        '{}\n',
        '{}\r\n',
        '\n\n{}\n\n',
        '\r\n# comment\r\n\r\n{}\r\n# after',
        '#\n#{}x\n{}\n',
        '# ünïcode \u2028 \x0b \x0c \x85\n{}\n',
        '# a lone \r is no line end\n{}\n',
    ],
)
def test_good_files(tmp_path, key, text):
    path = write(tmp_path / 'my.key', text.replace('{}', plain_line()))
    assert SecretKey.load(path) == key


@pytest.mark.parametrize('passphrase', [None, 'not needed', lambda: pytest.fail('asked')])
def test_a_plain_key_asks_for_no_passphrase(tmp_path, key, passphrase):
    assert SecretKey.load(write(tmp_path / 'my.key', plain_line()), passphrase) == key


@pytest.mark.parametrize('passphrase', [PASSPHRASE, lambda: PASSPHRASE])
def test_sealed_files(tmp_path, key, passphrase):
    assert SecretKey.load(write(tmp_path / 'my.key', sealed_line()), passphrase) == key


@given(secrets, st.text(alphabet=st.characters(exclude_categories=['Cs']), min_size=1), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_any_passphrase_opens_what_it_sealed(secret, passphrase, log2n):
    line = sealed_line(secret, passphrase, log2n)
    assert SecretKey.from_line(line, passphrase) == SecretKey.from_bytes(secret)


def test_passphrases_are_taken_as_given():
    composed, decomposed = 'p\u00e4ss', 'pa\u0308ss'
    line = sealed_line(passphrase=composed)
    for other in (decomposed, composed + ' ', composed + '\n', composed.upper()):
        with refuses('wrong passphrase'):
            SecretKey.from_line(line, other)


LINE = plain_line()
BODY = LINE.removeprefix(PLAIN)
SEALED_LINE = sealed_line()
SEALED_BODY = SEALED_LINE.removeprefix(SEALED)


def flip(text, i):
    """Another character of the alphabet at one place; the lowest bit changes."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + '-_'
    return text[:i] + alphabet[alphabet.index(text[i]) ^ 1] + text[i + 1 :]


BAD_FILES = {
    'empty': (b'', 'the file is empty'),
    'oversized': (b'#' * (64 * 1024 + 1), 'at most 64 KiB'),
    'oversized with a key': (LINE.encode() + b'\n' * 64 * 1024, 'at most 64 KiB'),
    'not UTF-8': (b'# \xff\xfe\n' + LINE.encode(), 'UTF-8'),
    'not UTF-8 in the key line': (LINE.encode() + b'\xc3', 'UTF-8'),
    'UTF-16': (LINE.encode('utf-16'), 'UTF-8'),
    'surrogate': (b'# \xed\xa0\x80\n' + LINE.encode(), 'UTF-8'),
    'no key line': ('# comment\n\n', 'exactly one key line, but got no lines'),
    'key line in a comment': (f'# {LINE}\n', 'exactly one key line, but got no lines'),
    'lone CR as line end': (f'# comment\r{LINE}\n', 'exactly one key line, but got no lines'),
    'two key lines': (f'{LINE}\n{LINE}\n', 'exactly one key line, but got 2'),
    'plain and sealed': (f'{LINE}\n{SEALED_LINE}\n', 'exactly one key line, but got 2'),
    'extra text': (f'{LINE}\nhello\n', 'exactly one key line, but got 2'),
    'line of one blank': (f'{LINE}\n \n', 'exactly one key line, but got 2'),
    'indented comment': (f' # comment\n{LINE}\n', 'exactly one key line, but got 2'),
    'byte order mark before a comment': (f'\ufeff# comment\n{LINE}\n', 'exactly one key line, but got 2'),
    'broken in two lines': (f'{LINE[:50]}\n{LINE[50:]}\n', 'exactly one key line, but got 2'),
    'byte order mark': (f'\ufeff{LINE}\n', 'unknown prefix'),
    'leading blank': (f' {LINE}\n', 'unknown prefix'),
    'quoted': (f'"{LINE}"\n', 'unknown prefix'),
    'other text': ('hello\n', 'unknown prefix'),
    'another product': ('AGE-SECRET-KEY-1QQPQ\n', 'unknown prefix'),
    'lower case prefix': (LINE.replace(PLAIN, PLAIN.lower()), 'unknown prefix'),
    'no dot': (LINE.replace('.', ''), 'unknown prefix'),
    'version 0': (LINE.replace('KEY-1.', 'KEY-0.'), 'unknown prefix'),
    'version 01': (LINE.replace('KEY-1.', 'KEY-01.'), 'unknown prefix'),
    'no version': (LINE.replace('KEY-1.', 'KEY-.'), 'unknown prefix'),
    'version in other digits': (LINE.replace('KEY-1.', 'KEY-\u0662.'), 'unknown prefix'),
    'version 2': (LINE.replace('KEY-1.', 'KEY-2.'), 'newer version'),
    'version 10': (LINE.replace('KEY-1.', 'KEY-10.'), 'newer version'),
    'huge version': (LINE.replace('KEY-1.', f'KEY-{"9" * 6000}.'), 'newer version'),
    'sealed version 2': (SEALED_LINE.replace('KEY-1.', 'KEY-2.'), 'newer version'),
    'trailing blank': (f'{LINE} \n', 'not canonical base64'),
    'trailing tab': (f'{LINE}\t\n', 'not canonical base64'),
    'two CR': (f'{LINE}\r\r\n', 'not canonical base64'),
    'blank inside': (f'{LINE[:40]} {LINE[40:]}\n', 'not canonical base64'),
    'padding': (f'{LINE}=\n', 'not canonical base64'),
    'sealed padding': (f'{SEALED_LINE}=\n', 'not canonical base64'),
    'standard alphabet': (f'{PLAIN}{"+" * 48}\n', 'not canonical base64'),
    'standard alphabet, slash': (f'{PLAIN}{"/" * 48}\n', 'not canonical base64'),
    'not ASCII': (f'{LINE[:-1]}\u00e9\n', 'not canonical base64'),
    'comment after the key': (f'{LINE} # mine\n', 'not canonical base64'),
    'nothing after the prefix': (PLAIN, 'wrong length: expected 48 characters, but got 0'),
    'one character short': (LINE[:-1], 'wrong length: expected 48.*got 47'),
    'one character long': (LINE + 'A', 'wrong length: expected 48.*got 49'),
    '31 bytes': (PLAIN + b64(SECRET[:31] + hashlib.sha256(SECRET[:31]).digest()[:4]), 'wrong length'),
    'no checksum': (PLAIN + b64(SECRET), 'wrong length: expected 48.*got 43'),
    'whole checksum': (PLAIN + b64(SECRET + hashlib.sha256(SECRET).digest()), 'wrong length'),
    'sealed body with plain prefix': (PLAIN + SEALED_BODY, 'wrong length'),
    'plain body with sealed prefix': (SEALED + BODY, 'wrong length: expected 103 characters'),
    'sealed, one character short': (SEALED_LINE[:-1], 'wrong length'),
    'sealed, one character long': (SEALED_LINE + 'A', 'wrong length'),
    'first character changed': (PLAIN + flip(BODY, 0), 'wrong checksum'),
    'last character changed': (PLAIN + flip(BODY, 47), 'wrong checksum'),
    'upper case': (PLAIN + BODY.upper(), 'wrong checksum'),
    'zero checksum': (PLAIN + b64(SECRET + bytes(4)), 'wrong checksum'),
    'sealed, loose last bits': (SEALED + flip(SEALED_BODY, 102), 'not canonical base64: its last'),
}


@pytest.mark.parametrize('name', BAD_FILES)
def test_bad_files(tmp_path, name):
    content, match = BAD_FILES[name]
    path = write(tmp_path / 'my.key', content)
    with refuses(match):
        SecretKey.load(path, PASSPHRASE)
    with pytest.raises(KeyFileError, match=r"^key file '.*my\.key'"):
        SecretKey.load(path, PASSPHRASE)


def test_64_kib_are_not_too_large(tmp_path, key):
    path = write(tmp_path / 'my.key', LINE.encode() + b'\n' * (64 * 1024 - len(LINE)))
    assert path.stat().st_size == 64 * 1024
    assert SecretKey.load(path) == key


@given(st.integers(0, 47), st.sampled_from(string.ascii_letters + string.digits + '-_'))
def test_every_changed_character_is_found(i, character):
    changed = BODY[:i] + character + BODY[i + 1 :]
    if changed != BODY:
        with refuses('wrong checksum'):
            SecretKey.from_line(PLAIN + changed)


@given(st.integers(0, 102), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_changed_bit_of_a_sealed_key_is_found(i, bit):
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + '-_'
    changed = alphabet[alphabet.index(SEALED_BODY[i]) ^ 1 << bit]
    line = SEALED + SEALED_BODY[:i] + changed + SEALED_BODY[i + 1 :]
    if i < 2:  # these characters hold log2N, a work factor that is too large or slow
        return
    with refuses('wrong passphrase|not canonical'):
        SecretKey.from_line(line, PASSPHRASE)


@given(st.text() | st.text(alphabet=LINE).map(lambda s: PLAIN + s) | st.text(alphabet=LINE).map(lambda s: SEALED + s))
@settings(deadline=None)
def test_any_text_is_refused_as_a_named_error(text):
    with refuses('^the key line: '):
        SecretKey.from_line(text)


@pytest.mark.parametrize('line', [None, 3, LINE.encode()])
def test_a_line_is_text(line):
    with refuses('key line as str, but got'):
        SecretKey.from_line(line)


@pytest.mark.parametrize('line', [LINE + '\n', LINE + '\r\n', '\n' + LINE, '# comment\n' + LINE])
def test_from_line_takes_the_line_alone(line):
    with refuses('unknown prefix|not canonical'):
        SecretKey.from_line(line)


@pytest.mark.parametrize('log2n', [0, 21, 22, 64, 255])
def test_work_factor_out_of_range_is_refused_before_any_work(monkeypatch, log2n):
    monkeypatch.setattr(encoding, 'Scrypt', lambda **_: pytest.fail('worked'))
    raw = base64.urlsafe_b64decode(SEALED_BODY + '=')
    with refuses(f'1 to 20, but got {log2n}'):
        SecretKey.from_line(SEALED + b64(bytes([log2n]) + raw[1:]), lambda: pytest.fail('asked'))


def test_work_factor_20_is_allowed_and_little_memory_is_told(monkeypatch):
    def scrypt(**arguments):
        assert arguments['n'] == 2**20
        assert (arguments['r'], arguments['p'], arguments['length']) == (8, 1, 32)
        raise MemoryError

    monkeypatch.setattr(encoding, 'Scrypt', scrypt)
    raw = base64.urlsafe_b64decode(SEALED_BODY + '=')
    with refuses('scrypt needs 1024 MiB'):
        SecretKey.from_line(SEALED + b64(bytes([20]) + raw[1:]), PASSPHRASE)


def test_sealed_without_passphrase(tmp_path):
    with refuses('Expected a passphrase, because the key is sealed, but got none'):
        SecretKey.load(write(tmp_path / 'my.key', SEALED_LINE))


@pytest.mark.parametrize(
    ('passphrase', 'match'),
    [
        ('wrong', 'wrong passphrase'),
        (lambda: 'wrong', 'wrong passphrase'),
        ('', 'passphrase is empty'),
        (b'bytes', 'type str, but got bytes'),
        (lambda: 7, 'type str, but got int'),
        (PASSPHRASE + '\ud800', 'not valid Unicode'),
    ],
)
def test_bad_passphrases(tmp_path, passphrase, match):
    with refuses(match):
        SecretKey.load(write(tmp_path / 'my.key', SEALED_LINE), passphrase)


def test_the_prefix_is_authenticated():
    line = sealed_line(prefix='MMSEG-KEYPROTECT-SEALED-KEY-2.').replace('KEY-2.', 'KEY-1.')
    with refuses('wrong passphrase'):
        SecretKey.from_line(line, PASSPHRASE)


def test_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refuses(f"key file 'my.key': Expected a file, but it was not found .looked for '{tmp_path}/my.key'"):
        SecretKey.load('my.key')


def test_folder(tmp_path):
    with refuses('readable file, but got: (Is a directory|Permission)'):
        SecretKey.load(tmp_path)


@pytest.mark.parametrize('name', ['a\0b', 'file/my.key', 'x' * 300, 'loop'])
def test_unusable_paths(tmp_path, name):
    write(tmp_path / 'file', LINE)
    (tmp_path / 'loop').symlink_to('loop')
    with refuses('Expected a readable file, but got'):
        SecretKey.load(f'{tmp_path}/{name}')


def test_empty_path():
    with refuses('empty text'):
        SecretKey.load('')


@posix
@pytest.mark.skipif(hasattr(os, 'geteuid') and os.geteuid() == 0, reason='root reads every file')
def test_unreadable_file(tmp_path):
    with refuses('Permission denied'):
        SecretKey.load(write(tmp_path / 'my.key', LINE, 0o000))


def test_refused_read(tmp_path, monkeypatch):
    path = write(tmp_path / 'my.key', LINE)

    def refuse(*_):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    with refuses('readable file, but got: Permission denied'):
        SecretKey.load(path)


def test_load_refuses_a_key_as_path():
    for line in (LINE, SEALED_LINE, LINE[:30]):
        with refuses('path of a file', LeakedKeyError):
            SecretKey.load(line)


@posix
@pytest.mark.parametrize('mode', [0o604, 0o602, 0o601, 0o644, 0o666, 0o777])
def test_exposed_file(tmp_path, key, mode):
    path = write(tmp_path / 'my.key', LINE, mode)
    with refuses(f'got mode {mode:04o}.*chmod 600 .*my.key'):
        SecretKey.load(path)
    with pytest.warns(UserWarning, match=f'mode {mode:04o}.*chmod 600') as caught:
        assert SecretKey.load(path, allow_world_readable=True) == key
    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]
    assert_no_secret(str(caught[0].message))


@posix
@pytest.mark.parametrize('mode', [0o640, 0o660, 0o610])
def test_a_file_of_a_group(tmp_path, key, mode):
    """Some servers give a key to a service by its group; it is said."""
    with pytest.warns(UserWarning, match=f'mode {mode:04o}, which a group of users can access') as caught:
        assert SecretKey.load(write(tmp_path / 'my.key', LINE, mode)) == key
    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]


@posix
@pytest.mark.parametrize('mode', [0o600, 0o400, 0o700])
def test_private_file(tmp_path, key, mode):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert SecretKey.load(write(tmp_path / 'my.key', LINE, mode)) == key


@posix
def test_another_kind_of_file_is_named_as_that(tmp_path):
    """A photo in the place of the key is not to be made private."""
    for data, reason in (
        (b'\xff\xd8\xff\xe0', 'another kind of file'),
        (b'# notes\n', 'Expected exactly one key line'),
    ):
        with pytest.raises(KeyFileError, match=reason) as caught:
            SecretKey.load(write(tmp_path / 'my.key', data, 0o644))
        assert 'chmod' not in str(caught.value)


@posix
def test_a_pipe_is_a_file_too(key):
    read, end = os.pipe()
    os.write(end, LINE.encode())
    os.close(end)
    assert SecretKey.load(f'/dev/fd/{read}') == key
    os.close(read)


@pytest.mark.skipif(not os.path.exists('/dev/zero'), reason='needs a file without an end')
def test_a_file_without_an_end_is_not_read_to_its_end():
    with refuses('at most 64 KiB'):
        SecretKey.load('/dev/zero', allow_world_readable=True)


# What other modules use


def test_key_line_expression_finds_both_kinds(tmp_path, key):
    assert KEY_LINE.search(f"key='{LINE}'").group() == LINE
    assert KEY_LINE.search(SEALED_LINE).group() == SEALED_LINE
    assert KEY_LINE.search('MMSEG-KEYPROTECT-KEY-1.short') is None
    key.save(tmp_path / 'my.key')
    assert KEY_LINE.findall((tmp_path / 'my.key').read_text()) == [LINE]
