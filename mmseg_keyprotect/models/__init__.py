"""The models, layers and preprocessors that a config names in ``model = dict(...)``."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.models.dilated_mobilenet_v2 import DilatedMobileNetV2
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.preprocessor import KeyedSegDataPreProcessor
from mmseg_keyprotect.models.private_side.segmentor import PrivateSideSegmentor
from mmseg_keyprotect.models.private_side.side_network import SideNetwork
from mmseg_keyprotect.models.segmentors import KeyedCascadeEncoderDecoder, KeyedEncoderDecoder
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.pretrained import KeyedPretrained
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem
from mmseg_keyprotect.models.watermark import WatermarkSegDataPreProcessor

__all__ = [
    'BlockStem',
    'DilatedMobileNetV2',
    'FeatureEncryption',
    'KeyedCascadeEncoderDecoder',
    'KeyedEncoderDecoder',
    'KeyedPretrained',
    'KeyedSegDataPreProcessor',
    'PrivateSideSegmentor',
    'SideNetwork',
    'TiedBlockStem',
    'WatermarkSegDataPreProcessor',
]
