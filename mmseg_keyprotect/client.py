"""The former name of :mod:`mmseg_keyprotect.images`; as a program it is the command ``keyprotect``."""

import sys

from mmseg_keyprotect.images import Encryptor, read_encrypted, read_image, write_encrypted

__all__ = ['Encryptor', 'read_encrypted', 'read_image', 'write_encrypted']

if __name__ == '__main__':
    from mmseg_keyprotect.cli.main import main

    sys.exit(main())
