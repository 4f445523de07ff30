"""The client: encrypts image files where the key is, for a model elsewhere. numpy, pillow and cryptography alone.

>>> from mmseg_keyprotect.images import Encryptor
>>> encryptor = Encryptor(SecretKey.load('my.key'))          # doctest: +SKIP
>>> encryptor.encrypt_file('street.jpg', 'street.png')       # doctest: +SKIP

From the command line: ``python -m mmseg_keyprotect.images encrypt IN... -o OUT --key-file my.key``.
"""

from mmseg_keyprotect.images.encryptor import Encryptor
from mmseg_keyprotect.images.files import read_encrypted, read_image, write_encrypted

__all__ = ['Encryptor', 'read_encrypted', 'read_image', 'write_encrypted']
