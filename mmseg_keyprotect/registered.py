"""The names under which MMSegmentation's registries hold the types of this package.

A configuration names a type by one of these words. This module imports nothing, so that
:mod:`mmseg_keyprotect.compat` can name the types where they cannot be imported.
"""

from __future__ import annotations

PREPROCESSOR = 'KeyedSegDataPreProcessor'
WATERMARK = 'WatermarkSegDataPreProcessor'
TRANSFORM = 'KeyedBlockEncrypt'
LOADER = 'LoadEncryptedImage'
SEALED_LOADERS = ('LoadSealedImage', 'LoadSealedAnnotations')
HOOK = 'KeyGuardHook'
VISUALIZER = 'EncryptedImageVisualizer'
PRETRAINED = 'KeyedPretrained'
PRIVATE_SIDE = 'PrivateSideSegmentor'

SEGMENTORS = {
    'CascadeEncoderDecoder': 'KeyedCascadeEncoderDecoder',
    'EncoderDecoder': 'KeyedEncoderDecoder',
}
"""MMSegmentation's segmentors, and those with a block stem or encrypted feature maps that extend them."""

REGISTERED = {
    'MODELS': (
        'BlockStem',
        'DilatedMobileNetV2',
        PREPROCESSOR,
        PRIVATE_SIDE,
        'SideNetwork',
        'TiedBlockStem',
        WATERMARK,
        *SEGMENTORS.values(),
    ),
    'TRANSFORMS': (TRANSFORM, LOADER, *SEALED_LOADERS),
    'HOOKS': (HOOK, 'FoldedNormsHook', 'ValidateFirstHook'),
    'LOOPS': ('DenialValLoop',),
    'VISUALIZERS': (VISUALIZER,),
}
"""The names that the package registers, by the registry of ``mmseg.registry``."""
