"""Secret keys: the handle, key files, and how a configuration says where its key is.

Needs the standard library and ``cryptography`` alone.
"""

from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.keys.key import SecretKey
from mmseg_keyprotect.keys.providers import PROVIDERS, build_key, seal_key

__all__ = ['PROVIDERS', 'Identity', 'SecretKey', 'build_key', 'seal_key']
