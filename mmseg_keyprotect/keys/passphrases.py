"""Where the passphrase of a sealed key or a sealed file comes from."""

from __future__ import annotations

import getpass
import os
import sys
import warnings

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys.files import AnyPath, read_secret_text
from mmseg_keyprotect.keys.frames import without_locals

PASSPHRASE_FILE_VARIABLE = 'KEYPROTECT_PASSPHRASE_FILE'


@without_locals
def find_passphrase(passphrase_file: AnyPath | None = None) -> str:
    """Find the passphrase of a sealed key or a sealed file.

    The sources in order are: ``passphrase_file``, the file that ``KEYPROTECT_PASSPHRASE_FILE`` names, and a prompt if
    stdin is a terminal. One line end at the end of the file is not part of the passphrase.

    Raises:
        KeyFileError: There is no passphrase, or its file is missing, unreadable, exposed, empty or not UTF-8.

    Example:
        >>> import os
        >>> from pathlib import Path
        >>> _ = Path('passphrase').write_text('correct horse')
        >>> os.chmod('passphrase', 0o600)
        >>> find_passphrase('passphrase')
        'correct horse'
    """
    path = passphrase_file or os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if path:
        text = read_secret_text(os.path.expanduser(path), 'passphrase file')
        text = text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text
        if not text:
            raise KeyFileError(
                f'passphrase file {os.fsdecode(path)!r}: Expected a passphrase, but the passphrase is empty. Write one '
                'into the file.'
            )
        return text
    if sys.stdin and not sys.stdin.closed and sys.stdin.isatty():
        return prompt_passphrase('Passphrase of the key: ')
    raise KeyFileError(
        'Expected a passphrase, but none is given and there is no terminal to ask for it. Give `passphrase_file` in '
        f'the key provider, or run `export {PASSPHRASE_FILE_VARIABLE}=FILE`.'
    )


@without_locals
def prompt_passphrase(text: str) -> str:
    """Ask for a passphrase on the terminal, without echo.

    Raises:
        KeyFileError: The input ended, or there is no terminal that can hide the passphrase.

    Example:
        >>> passphrase = prompt_passphrase('Passphrase: ')  # doctest: +SKIP
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', getpass.GetPassWarning)
            return getpass.getpass(text)
    except (EOFError, getpass.GetPassWarning):
        raise KeyFileError(
            'Expected a passphrase, but no passphrase was given, or there is no terminal that can hide it. Use a '
            'passphrase file instead.'
        ) from None
