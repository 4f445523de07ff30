"""Secret keys: the key itself, key files, and how a configuration names its key.

This package needs only the standard library and ``cryptography``.

Example:
    >>> from mmseg_keyprotect.keys import SecretKey
    >>> SecretKey.generate().save('first.key')
    >>> key = SecretKey.load('first.key')
"""

from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.keys.key import SecretKey
from mmseg_keyprotect.keys.passphrases import find_passphrase, prompt_passphrase
from mmseg_keyprotect.keys.providers import PROVIDERS, build_key, seal_key

__all__ = ['PROVIDERS', 'Identity', 'SecretKey', 'build_key', 'find_passphrase', 'prompt_passphrase', 'seal_key']
