"""Data sets at rest: sealed into shards, or encrypted block by block."""

from mmseg_keyprotect.shards.data_set import SealedDataSet, is_sealed_data_set
from mmseg_keyprotect.shards.encrypting import encrypt_data_set
from mmseg_keyprotect.shards.pairs import LAYOUTS, Layout
from mmseg_keyprotect.shards.sealing import seal_data_set

__all__ = ['LAYOUTS', 'Layout', 'SealedDataSet', 'encrypt_data_set', 'is_sealed_data_set', 'seal_data_set']
