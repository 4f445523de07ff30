"""MMSegmentation's segmentors with a block stem, with encrypted feature maps, or both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.keys.identity import identities_of, joined
from mmseg_keyprotect.models.denial.denial import Denial
from mmseg_keyprotect.models.features.binding import bind_features
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.preprocessor import KeyedSegDataPreProcessor
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.lifting import CENTRE, PlainInput
from mmseg_keyprotect.models.stem.places import find_stem, put_block_stem
from mmseg_keyprotect.models.stem.pretrained import check_lifted, is_pretrained, keyed_to_pretrained


class KeyedMixin:
    """A segmentor with a block stem, with encrypted feature maps, or both.

    See :class:`~mmseg_keyprotect.models.BlockStem` and :class:`~mmseg_keyprotect.models.FeatureEncryption`.
    The configuration is that of the plain segmentor, mean and std of ``data_preprocessor`` included: they and the key
    are folded into weights of the plain shape as these are loaded. Before a block stem images are normalised to -1 to
    1. Pretrained weights of a backbone are bound to the key of the feature maps as the model is initialised.

    Args:
        backbone: The plain backbone's configuration; its ``init_cfg`` may be of type ``KeyedPretrained``.
        block_stem: ``border``, see BlockStem; ``tied``, see TiedBlockStem, by default where the backbone has pretrained
            weights; and ``block_size``, where ``data_preprocessor`` does not encrypt. With ``feature_encryption`` there
            is a block stem only where this is given.
        feature_encryption: Arguments of FeatureEncryption but the backbone; the key is that of ``data_preprocessor`` by
            default. And ``bind``, whether the initial weights are bound to the key, so that the model begins as the
            plain one would; by default where the backbone has pretrained weights.
        denial: ``weight`` and ``un_key``, for training against thieves, see
            :class:`~mmseg_keyprotect.models.denial.denial.Denial`.
        **kwargs: Of the plain segmentor.

    Raises:
        ConfigError: The backbone, a cipher or the preprocessor is not one that this can work with.
        BlockAlignmentError: The block size is no multiple of the stride, or not that of the cipher.
        WrongKeyError: Images and feature maps have different keys.
    """

    def __init__(
        self,
        backbone: dict,
        block_stem: Mapping[str, Any] | None = None,
        feature_encryption: Mapping[str, Any] | None = None,
        denial: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        keyed_pretrained, backbone = keyed_to_pretrained(backbone)
        super().__init__(backbone=backbone, **kwargs)
        self.keyed_pretrained = keyed_pretrained
        self.block_stem: str | None = None
        self._pretrained = is_pretrained(backbone, kwargs.get('pretrained'))
        self._bind = False
        if block_stem is not None or feature_encryption is None:
            self._put_stem(block_stem or {})
        if feature_encryption is not None:
            if not isinstance(feature_encryption, Mapping):
                raise ConfigError(
                    "Expected `feature_encryption` as a dict, such as dict(stages='all'), but got "
                    f'{feature_encryption!r}.'
                )
            preprocessor = kwargs.get('data_preprocessor')
            key = preprocessor.get('key') if isinstance(preprocessor, Mapping) else None
            options = {'key': key, **feature_encryption}
            self._bind = options.pop('bind', self._pretrained)
            self.feature_encryption = FeatureEncryption(self.backbone, **options)
            joined(identities_of(self).values())  # so that another key is refused
        self.denial = None if denial is None else Denial.from_config(denial, self)
        if isinstance(self.data_preprocessor, KeyedSegDataPreProcessor):
            self.data_preprocessor.denial = self.denial

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[SegDataSample] | None = None,
        mode: str = 'tensor',
        denied: Sequence[Tensor] | None = None,
    ) -> Any:
        """Do as the plain segmentor; in training mode the losses of ``denial`` come with its own.

        Args:
            inputs: Float (N, C, H, W).
            data_samples: With labels, for ``loss``.
            mode: ``tensor``, ``predict`` or ``loss``.
            denied: The same batch as users without the correct key send it, as from the data preprocessor.
        """
        result = super().forward(inputs, data_samples, mode)
        if mode == 'loss' and self.training and self.denial is not None:
            result = {**result, **self.denial.losses(self, inputs, denied, data_samples)}
        return result

    def _put_stem(self, block_stem: Mapping[str, Any]) -> None:
        preprocessor = self.data_preprocessor
        if not isinstance(preprocessor, SegDataPreProcessor):
            raise ConfigError(
                'Expected a KeyedSegDataPreProcessor, or a SegDataPreProcessor behind KeyedBlockEncrypt, but got '
                f'{type(preprocessor).__name__}. Set model.data_preprocessor.'
            )
        options = self._options(block_stem)
        options.setdefault('tied', self._pretrained)
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
    def stem(self) -> BlockStem | None:
        """The block stem, if there is one."""
        return None if self.block_stem is None else self.backbone.get_submodule(self.block_stem)

    def init_weights(self) -> None:
        """Initialise the model; pretrained weights absorb the key.

        Raises:
            ConfigError: ``KeyedPretrained`` was asked for, and the checkpoint has no such first convolution.
        """
        again = self.is_init
        super().init_weights()
        if self.keyed_pretrained and self.stem is not None:
            check_lifted(self.stem, self.block_stem, self.keyed_pretrained)
        if self._bind and not again:
            bind_features(self.backbone, self.feature_encryption)


@MODELS.register_module()
class KeyedEncoderDecoder(KeyedMixin, EncoderDecoder):
    """MMSegmentation's EncoderDecoder with a block stem or encrypted feature maps; see :class:`KeyedMixin`."""


@MODELS.register_module()
class KeyedCascadeEncoderDecoder(KeyedMixin, CascadeEncoderDecoder):
    """MMSegmentation's CascadeEncoderDecoder with a block stem or encrypted feature maps; see :class:`KeyedMixin`."""
