"""MMSegmentation's segmentors with a block stem, with encrypted feature maps, or both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import BaseSegmentor, CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.config.checks.labels import wrong_padding
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.keys.identity import identities_of, joined
from mmseg_keyprotect.models.backbones import adapter_of
from mmseg_keyprotect.models.denial.denial import Denial
from mmseg_keyprotect.models.features.binding import bind_features, fold_features, unfold_features
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.preprocessor import KeyedSegDataPreProcessor, swaps_channels
from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.pretrained import check_lifted, is_pretrained, keyed_to_pretrained
from mmseg_keyprotect.models.stem.replacement import put_block_stem
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem


class KeyedMixin(BaseSegmentor):
    """Gives a segmentor a block stem, encrypted feature maps, or both.

    The configuration is that of the plain segmentor, with mean and std of ``data_preprocessor``, and the network reads
    images that are normalised by them. The stem absorbs the key as weights of the plain shape are loaded. Pretrained
    weights of a backbone are bound to the key of the feature maps as the model is initialised.

    Args:
        backbone: The plain backbone's configuration; its ``init_cfg`` may be of type
            :class:`~mmseg_keyprotect.models.stem.pretrained.KeyedPretrained`.
        block_stem: The block stem's options. ``border``: see
            :class:`~mmseg_keyprotect.models.stem.block_stem.BlockStem`. ``tied``: see
            :class:`~mmseg_keyprotect.models.stem.tied_stem.TiedBlockStem`; defaults to whether the backbone has
            pretrained weights. ``block_size``: needed where ``data_preprocessor`` does not encrypt. Without
            ``feature_encryption``, a model gets a block stem by default; with it, only where this argument is given.
        feature_encryption: The arguments of
            :class:`~mmseg_keyprotect.models.features.encryption.FeatureEncryption` but the backbone. The key defaults
            to that of ``data_preprocessor``. A further option, ``bind``, says whether the initial weights are bound to
            the key, so that the model starts from the plain one's function; it defaults to whether the backbone has
            pretrained weights.
        denial: ``weight`` and ``un_key``, for training that denies users without the correct key, see
            :class:`~mmseg_keyprotect.models.denial.denial.Denial`.
        **kwargs: The other arguments of the plain segmentor.

    Raises:
        ConfigError: The backbone, a cipher, the preprocessor or an option does not work with a block stem, encrypted
            feature maps or denial.
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
        """The checkpoint of ``KeyedPretrained``, if the backbone has one."""
        self.block_stem: str | None = None
        """The dotted name of the block stem inside the backbone, if there is one."""
        self._pretrained = is_pretrained(backbone, kwargs.get('pretrained'))
        self._bind = False
        if block_stem is not None or feature_encryption is None:
            self._put_stem(block_stem or {})
        if feature_encryption is not None:
            self._encrypt_features(feature_encryption, kwargs.get('data_preprocessor'))
        self.denial = None if denial is None else Denial.from_config(denial, self)
        if isinstance(self.data_preprocessor, KeyedSegDataPreProcessor):
            self.data_preprocessor.denial = self.denial
            self._check_labels(self.data_preprocessor.seg_pad_val)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[SegDataSample] | None = None,
        mode: str = 'tensor',
        denied: Sequence[Tensor] | None = None,
    ) -> Any:
        """Forward pass of the wrapped segmentor; in training, the losses of ``denial`` are added to its own.

        Args:
            inputs: Float (N, C, H, W), as from the data preprocessor.
            data_samples: One for each image, with labels for the mode ``loss``.
            mode: ``tensor``, ``predict`` or ``loss``.
            denied: The same images as users without the correct key send them, as from the data preprocessor.

        Returns:
            What the wrapped segmentor returns in this mode.
        """
        result = super().forward(inputs, data_samples, mode)
        if mode == 'loss' and self.training and self.denial is not None and data_samples is not None:
            result = {**result, **self.denial.losses(self, inputs, denied, data_samples)}
        return result

    @property
    def stem(self) -> BlockStem | None:
        """The block stem, if there is one."""
        return None if self.block_stem is None else self.backbone.get_submodule(self.block_stem)

    def untie(self) -> None:
        """Replace a tied block stem, in place, by a free one that computes the same, with the key in its weights.

        Call it before the model is exported, traced or pickled: the parameters of a tied stem are those of the plain
        model. Optimizers must be made anew. A model without a tied stem stays as it is.
        """
        if self.block_stem is not None and isinstance(self.stem, TiedBlockStem):
            parent, _, name = self.block_stem.rpartition('.')
            setattr(self.backbone.get_submodule(parent), name, self.stem.untied())

    def fold(self) -> None:
        """Move what the key does to feature maps into the weights, in place; inference then has no further step.

        Call it before the model only predicts, or is exported or traced. The weights then work without the key of the
        feature maps. Their state dict says so, and no model that is not folded loads it. A model without encrypted
        feature maps stays as it is.

        Raises:
            ConfigError: The transforms cannot be moved, see
                :func:`~mmseg_keyprotect.models.features.binding.bind_features`. The model stays as it is, and works.
        """
        if getattr(self, 'feature_encryption', None) is not None:
            fold_features(self.backbone, self.feature_encryption)

    def unfold(self) -> None:
        """Undo :meth:`~mmseg_keyprotect.models.segmentors.KeyedMixin.fold`, to the bit."""
        if getattr(self, 'feature_encryption', None) is not None:
            unfold_features(self.backbone, self.feature_encryption)

    def init_weights(self) -> None:
        """Initialise the model; pretrained weights absorb the key.

        Raises:
            ConfigError: The checkpoint of ``KeyedPretrained`` has no first convolution of the backbone's shape.
        """
        again = self.is_init
        super().init_weights()
        if self.keyed_pretrained and self.block_stem is not None:
            check_lifted(self.backbone, self.block_stem, self.keyed_pretrained)
        if self._bind and not again:
            bind_features(self.backbone, self.feature_encryption)

    def _check_labels(self, seg_pad_val: int) -> None:
        """Raise ConfigError where a head would learn from the pixels that extend an image to whole blocks."""
        for name, head in self.named_modules():
            if isinstance(head, BaseDecodeHead) and head.ignore_index not in (seg_pad_val, None):
                raise wrong_padding(f'model.{name}', head.ignore_index, 'model.data_preprocessor', seg_pad_val)

    def _put_stem(self, block_stem: Mapping[str, Any]) -> None:
        """Replace the first convolution of the backbone, and let the preprocessor pad batches for it."""
        preprocessor = self.data_preprocessor
        if not isinstance(preprocessor, SegDataPreProcessor):
            raise ConfigError(
                'Expected a KeyedSegDataPreProcessor, or a SegDataPreProcessor behind KeyedBlockEncrypt, but got '
                f'{type(preprocessor).__name__}. Set model.data_preprocessor.'
            )
        options = self._stem_options(block_stem)
        options.setdefault('tied', self._pretrained)
        cipher = getattr(preprocessor, 'keyed_cipher', None)
        absorber = StemKeyAbsorber(
            mean=getattr(preprocessor, 'mean', torch.zeros(1)).flatten(),
            std=getattr(preprocessor, 'std', torch.ones(1)).flatten(),
            rgb=cipher is None or (cipher.channel_order == 'rgb') != swaps_channels(preprocessor),
            keyed_cipher=cipher,
        )
        self.block_stem = adapter_of(self.backbone).first_convolution()
        stem = put_block_stem(self.backbone, absorber=absorber, **options)
        if isinstance(preprocessor, KeyedSegDataPreProcessor):
            preprocessor.channels = stem.plain_shape[1]
        if preprocessor.pad_val != 0:
            raise ConfigError(
                f'Expected data_preprocessor.pad_val 0, which means the border of the block stem, but got '
                f'{preprocessor.pad_val}. Set it to 0.'
            )
        preprocessor.pad_val = math.nan  # the stem replaces it by its border

    def _stem_options(self, block_stem: Mapping[str, Any]) -> dict[str, Any]:
        """Check ``block_stem``, and return it with the block size of the cipher."""
        cipher = getattr(self.data_preprocessor, 'keyed_cipher', None)
        if not isinstance(block_stem, Mapping):
            raise ConfigError(
                f'Expected `block_stem` as a dict, but got {block_stem!r}. Set for example '
                "model.block_stem=dict(border='exact')."
            )
        options = dict(block_stem)
        if cipher is not None and options.setdefault('block_size', cipher.block_size) != cipher.block_size:
            raise BlockAlignmentError(
                f'Expected block_stem.block_size to be that of the cipher, {cipher.block_size}, but got '
                f'{options["block_size"]}. Leave it out.'
            )
        if set(options) - {'block_size', 'border', 'tied'} or 'block_size' not in options:
            raise ConfigError(
                'Expected `block_stem` with border, tied, and with block_size where data_preprocessor does not '
                f'encrypt, but got {sorted(options)}. Set model.block_stem to some of these options.'
            )
        return options

    def _encrypt_features(self, options: Mapping[str, Any], preprocessor: Any) -> None:
        """Encrypt feature maps of the backbone, with the key of the preprocessor's configuration by default."""
        if not isinstance(options, Mapping):
            raise ConfigError(
                f'Expected `feature_encryption` as a dict, but got {options!r}. Set for example '
                "model.feature_encryption=dict(stages='all')."
            )
        key = preprocessor.get('key') if isinstance(preprocessor, Mapping) else None
        options = {'key': key, **options}
        self._bind = options.pop('bind', self._pretrained)
        self.feature_encryption = FeatureEncryption(self.backbone, **options)
        joined(identities_of(self).values())  # raises where feature maps have another key than images


@MODELS.register_module()
class KeyedEncoderDecoder(KeyedMixin, EncoderDecoder):
    """MMSegmentation's EncoderDecoder with a block stem or encrypted feature maps.

    See :class:`~mmseg_keyprotect.models.segmentors.KeyedMixin` for the arguments.

    Example:
        >>> from mmengine.registry import init_default_scope
        >>> from mmseg.registry import MODELS
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> init_default_scope('mmseg')
        >>> model = MODELS.build(dict(
        ...     type='KeyedEncoderDecoder',
        ...     data_preprocessor=dict(type='KeyedSegDataPreProcessor', key=SecretKey.generate(), size=(64, 64)),
        ...     backbone=dict(type='MobileNetV2'),
        ...     decode_head=dict(type='FCNHead', in_channels=320, in_index=-1, channels=8, num_classes=3),
        ... ))
        >>> model.stem
        BlockStem(3, 32, Grid(kernel_size=3, stride=2, padding=1, block_size=4), border='grey')
    """


@MODELS.register_module()
class KeyedCascadeEncoderDecoder(KeyedMixin, CascadeEncoderDecoder):
    """MMSegmentation's CascadeEncoderDecoder with a block stem or encrypted feature maps.

    See :class:`~mmseg_keyprotect.models.segmentors.KeyedMixin` for the arguments.
    """
