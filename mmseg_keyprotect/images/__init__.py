"""Image files, plain and encrypted, for a client that has the key and a model that runs elsewhere.

This package needs only numpy, pillow and cryptography. The command ``keyprotect encrypt`` does the same from a shell.

Example:
    >>> from PIL import Image
    >>> from mmseg_keyprotect.images import Encryptor, read_encrypted
    >>> from mmseg_keyprotect.keys import SecretKey
    >>> Image.new('RGB', (6, 5)).save('street.jpg')
    >>> Encryptor(SecretKey.generate()).encrypt_file('street.jpg', 'street.png')
    True
    >>> image, note = read_encrypted('street.png')
    >>> image.shape, note['size']
    ((8, 8, 3), [5, 6])
"""

from mmseg_keyprotect.images.display import read_for_display
from mmseg_keyprotect.images.encryptor import Encryptor
from mmseg_keyprotect.images.files import is_encrypted, read_encrypted, read_image, write_encrypted

__all__ = ['Encryptor', 'is_encrypted', 'read_encrypted', 'read_for_display', 'read_image', 'write_encrypted']
