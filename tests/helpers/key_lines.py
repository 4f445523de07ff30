"""Key lines written by the words of the specification, and checks that no output shows a secret."""

import base64
import contextlib
import hashlib
import os
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import KeyFileError

PLAIN = 'MMSEG-KEYPROTECT-KEY-1.'


SEALED = 'MMSEG-KEYPROTECT-SEALED-KEY-1.'


SECRET = hashlib.sha256(b'a secret for tests').digest()


PASSPHRASE = 'correct hörse battery'


posix = pytest.mark.skipif(os.name != 'posix', reason='modes are POSIX')


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip('=')


def plain_line(secret=SECRET):
    return PLAIN + b64(secret + hashlib.sha256(secret).digest()[:4])


def sealed_line(secret=SECRET, passphrase=PASSPHRASE, log2n=1, prefix=SEALED):
    """Sealed by the words of the specification, with other libraries than the package where there are any."""
    salt, nonce = b'0123456789abcdef', b'twelve bytes'
    aes = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**log2n, r=8, p=1, maxmem=2**26, dklen=32)
    return prefix + b64(bytes([log2n]) + salt + nonce + AESGCM(aes).encrypt(nonce, secret, prefix.encode()))


def write(path, content, mode=0o600):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def assert_no_secret(text, secret=SECRET, lines=()):
    """No form of the secret, and no part of a key line, is in the text."""
    standard = base64.b64encode(secret).decode()
    forms = [secret.hex(), secret.hex().upper(), repr(secret)[2:-1], repr(list(secret))[1:-1], PASSPHRASE]
    payloads = [standard, b64(secret), plain_line(secret).removeprefix(PLAIN), sealed_line().removeprefix(SEALED)]
    payloads += [line.partition('.')[2] for line in lines]
    for payload in payloads:
        forms += [payload[i : i + 8] for i in range(0, len(payload) - 8, 4)]
    assert secret not in text.encode('utf-8', 'surrogateescape')
    for form in forms:
        assert form not in text


def assert_error_keeps_secret(error, lines=()):
    seen = []
    queue = [error]
    while queue:
        one = queue.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        assert_no_secret(f'{one} {one!r} {one.args!r} {one.__dict__!r}', lines=lines)
        queue += [one.__context__, one.__cause__]
    assert_no_secret(''.join(traceback.format_exception(error)), lines=lines)


@contextlib.contextmanager
def refuses(match, error=KeyFileError, lines=()):
    with pytest.raises(error, match=match) as info:
        yield
    assert type(info.value) is error
    assert_error_keeps_secret(info.value, lines)


@pytest.fixture(autouse=True)
def output_keeps_secret(capfd, caplog):
    yield
    out, err = capfd.readouterr()
    assert_no_secret(out + err + caplog.text)
