"""MMSegmentation's segmentors with a block stem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS

from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.models.block_stem import BlockStem
from mmseg_keyprotect.models.keyed_pretrained import check_lifted, is_pretrained, keyed_to_pretrained
from mmseg_keyprotect.models.lifting import CENTRE, PlainInput
from mmseg_keyprotect.models.stems import find_stem, put_block_stem


class BlockStemMixin:
    """A segmentor whose backbone begins with a :class:`~mmseg_keyprotect.models.BlockStem`.

    The configuration is that of the plain segmentor, mean and std of ``data_preprocessor`` included: they and the key
    are folded into weights of the plain shape as these are loaded. The images themselves are normalised to -1 to 1.

    Args:
        backbone: The plain backbone's configuration; its ``init_cfg`` may be of type ``KeyedPretrained``.
        block_stem: ``border``, see BlockStem; ``tied``, see TiedBlockStem, by default where the backbone has pretrained
            weights; and ``block_size``, where ``data_preprocessor`` does not encrypt.
        **kwargs: Of the plain segmentor.

    Raises:
        ConfigError: The backbone, the cipher or the preprocessor is not one that a block stem can work with.
        BlockAlignmentError: The block size is no multiple of the stride, or not that of the cipher.
    """

    def __init__(self, backbone: dict, block_stem: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        keyed_pretrained, backbone = keyed_to_pretrained(backbone)
        super().__init__(backbone=backbone, **kwargs)
        self.keyed_pretrained = keyed_pretrained
        preprocessor = self.data_preprocessor
        if not isinstance(preprocessor, SegDataPreProcessor):
            raise ConfigError(
                'Expected a KeyedSegDataPreProcessor, or a SegDataPreProcessor behind KeyedBlockEncrypt, but got '
                f'{type(preprocessor).__name__}. Set model.data_preprocessor.'
            )
        options = self._options(block_stem or {})
        options.setdefault('tied', is_pretrained(backbone, kwargs.get('pretrained')))
        cipher = getattr(preprocessor, 'keyed_cipher', None)
        plain_input = PlainInput(
            mean=getattr(preprocessor, 'mean', torch.zeros(1)).flatten(),
            std=getattr(preprocessor, 'std', torch.ones(1)).flatten(),
            rgb=cipher is None or (cipher.channel_order == 'rgb') != preprocessor.channel_conversion,
            keyed_cipher=cipher,
        )
        self.block_stem = find_stem(self.backbone)
        stem = put_block_stem(self.backbone, plain_input=plain_input, **options)
        preprocessor._enable_normalize = True
        preprocessor.register_buffer('mean', torch.full((1, 1, 1), CENTRE), persistent=False)
        preprocessor.register_buffer('std', torch.full((1, 1, 1), CENTRE), persistent=False)
        if stem.border is not None:
            if preprocessor.pad_val != 0:
                raise ConfigError(
                    f'Expected data_preprocessor.pad_val 0, the mean colour, for the exact border, but got '
                    f'{preprocessor.pad_val}. Set it to 0, or use the grey border.'
                )
            preprocessor.pad_val = math.nan  # the stem puts its border there

    def _options(self, block_stem: Mapping[str, Any]) -> dict[str, Any]:
        cipher = getattr(self.data_preprocessor, 'keyed_cipher', None)
        if not isinstance(block_stem, Mapping):
            raise ConfigError(f"Expected `block_stem` as a dict, such as dict(border='exact'), but got {block_stem!r}.")
        options = dict(block_stem)
        if cipher is not None and options.setdefault('block_size', cipher.block_size) != cipher.block_size:
            raise BlockAlignmentError(
                f'Expected block_stem.block_size to be that of the cipher, {cipher.block_size}, but got '
                f'{options["block_size"]}. Leave it out.'
            )
        if set(options) - {'block_size', 'border', 'tied'} or 'block_size' not in options:
            raise ConfigError(
                'Expected `block_stem` with border, tied, and with block_size where data_preprocessor does not '
                f'encrypt, but got {sorted(options)}.'
            )
        return options

    @property
    def stem(self) -> BlockStem:
        """The block stem."""
        return self.backbone.get_submodule(self.block_stem)

    def init_weights(self) -> None:
        """Initialise the model; pretrained weights of the first convolution are lifted and absorb the key.

        Raises:
            ConfigError: ``KeyedPretrained`` was asked for, and the checkpoint has no such first convolution.
        """
        super().init_weights()
        if self.keyed_pretrained:
            check_lifted(self.stem, self.block_stem, self.keyed_pretrained)


@MODELS.register_module()
class KeyedEncoderDecoder(BlockStemMixin, EncoderDecoder):
    """MMSegmentation's EncoderDecoder with a block stem; see :class:`BlockStemMixin`."""


@MODELS.register_module()
class KeyedCascadeEncoderDecoder(BlockStemMixin, CascadeEncoderDecoder):
    """MMSegmentation's CascadeEncoderDecoder with a block stem; see :class:`BlockStemMixin`."""
