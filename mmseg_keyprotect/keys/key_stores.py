"""Keys that are kept outside of files: by a program that prints them, or by the keyring of the operating system."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from threading import TIMEOUT_MAX, Thread

from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError, MissingDependencyError
from mmseg_keyprotect.keys.files import MAX_FILE_BYTES, only_key_line
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.line import KEY_MARK

TIMEOUT = 60.0
"""Seconds that a program may take, in which it may ask for a PIN or a finger."""


@without_locals
def line_of_command(command: str | Sequence[str], timeout: float = TIMEOUT) -> str:
    """Run a program that prints a key, and return its one key line, which is not checked yet.

    The program runs without a shell and without input. Its messages on stderr go where those of this process go; what
    it prints is never shown.

    Args:
        command: The program and its arguments, as a list, or as text with the quotes of a shell.
        timeout: Seconds that it may take.

    Raises:
        ConfigError: The command is empty, or its quotes do not match.
        LeakedKeyError: The command holds a key.
        KeyFileError: The program is missing or fails, takes longer, or prints anything but one key line.
    """
    words = _words(command)
    name = f'command {words[0]!r}'
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, 'strerror', None) or 'not a usable command'
        raise KeyFileError(f'{name}: Expected a program to run, but got: {reason}. Check the command.') from None
    printed: list[bytes] = []
    assert process.stdout is not None
    stdout = process.stdout
    reader = Thread(target=lambda: printed.append(stdout.read(MAX_FILE_BYTES + 1)), daemon=True)
    end, code = time.monotonic() + timeout, None
    try:
        reader.start()
        reader.join(min(timeout, TIMEOUT_MAX))
        data = b''.join(printed)
        if len(data) <= MAX_FILE_BYTES and not reader.is_alive():
            code = process.wait(max(0.1, min(end - time.monotonic(), TIMEOUT_MAX)))
    except subprocess.TimeoutExpired:
        pass
    finally:  # also where the user interrupts
        process.kill()
        process.wait()
    if not reader.is_alive():
        stdout.close()
    if code is None and len(data) <= MAX_FILE_BYTES:
        raise KeyFileError(
            f'{name}: Expected a key within {timeout:g} seconds, but got none. Run it by hand, or set a longer '
            '`timeout`.'
        )
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f'{name}: Expected a key, but got more than 64 KiB. Check the command.')
    if code:
        raise KeyFileError(f'{name}: Expected a key, but the program failed with exit code {code}. Run it by hand.')
    text = data.decode('utf-8', 'replace')
    if text.encode() != data:  # compared, because a UnicodeDecodeError would carry the data
        raise KeyFileError(f'{name}: Expected UTF-8 text, but got other bytes. Check the command.')
    return only_key_line(text, name)


@without_locals
def line_of_keyring(service: str, name: str) -> str:
    """Return the one key line that the keyring of the operating system keeps, which is not checked yet.

    Args:
        service: The service under which it is kept.
        name: The name of the entry.

    Raises:
        MissingDependencyError: The package keyring is not installed.
        KeyFileError: There is no such entry, the keyring is locked, or the entry is no key line.
    """
    try:
        import keyring
    except ImportError:
        raise MissingDependencyError.of('keyring', 'keyring') from None
    what = f'keyring entry {name!r} of {service!r}'
    try:
        text = keyring.get_password(service, name)
    except Exception as error:  # every backend has classes of its own
        raise KeyFileError(f'{what}: Expected a keyring to read, but got {type(error).__name__}. Unlock it.') from None
    if text is None:
        raise KeyFileError(
            f'{what}: Expected a key, but there is no such entry. Store it: '
            f'grep ^MMSEG my.key | keyring set {shlex.quote(service)} {shlex.quote(name)}'
        )
    return only_key_line(text, what)


def _words(command: str | Sequence[str]) -> list[str]:
    try:
        if isinstance(command, str):
            words = shlex.split(command.replace('\\', '\\\\') if os.name == 'nt' else command)
        else:
            words = list(command)
    except ValueError as error:
        raise ConfigError(f'Expected a command with matching quotes, but got: {error}. Correct it.') from None
    if not words or not all(isinstance(word, str) for word in words):
        raise ConfigError('Expected a program and its arguments as text, but got none. Name a program.')
    if any(KEY_MARK in word for word in words):
        raise LeakedKeyError(
            f'Expected a program that prints a key, but got text that holds {KEY_MARK!r}, as a key line does. Put the '
            'key into a file and name that. If others could read the text, the key is leaked: make a new one.'
        )
    return words
