"""Pipeline transforms."""

from mmseg_keyprotect.datasets.transforms.keyed_block_encrypt import META_KEYS, KeyedBlockEncrypt

__all__ = ['META_KEYS', 'KeyedBlockEncrypt']
