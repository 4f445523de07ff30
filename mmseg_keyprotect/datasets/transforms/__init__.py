"""Transforms for the pipelines of MMSegmentation."""

from mmseg_keyprotect.config.view import META_KEYS
from mmseg_keyprotect.datasets.transforms.keyed_block_encrypt import KeyedBlockEncrypt
from mmseg_keyprotect.datasets.transforms.load_encrypted_image import LoadEncryptedImage
from mmseg_keyprotect.datasets.transforms.load_sealed import LoadSealedAnnotations, LoadSealedImage

__all__ = ['META_KEYS', 'KeyedBlockEncrypt', 'LoadEncryptedImage', 'LoadSealedAnnotations', 'LoadSealedImage']
