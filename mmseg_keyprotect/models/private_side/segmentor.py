"""A segmentor whose backbone is public and frozen, and whose checkpoints hold the private part alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.stem.pretrained import is_pretrained

PUBLIC = 'backbone.'
"""The prefix of the names of public weights."""

SAME = 1e-3
"""The relative difference of a tensor's norm up to which public weights count as the same: fp16 files, resizing."""


@MODELS.register_module()
class PrivateSideSegmentor(EncoderDecoder):
    """An EncoderDecoder on a public backbone: only the neck and the heads are trained, and only they are private.

    The backbone is frozen with the weights of its ``init_cfg``, batch norms included, and nothing feeds back into it.
    So it may run on a machine that nobody trusts: what it computes, everybody can compute. The checkpoints hold the
    private part alone, and the norms of the public tensors. As one is loaded, the backbone gets the public weights
    from where its configuration says.

    The neck is private too; :class:`~mmseg_keyprotect.models.private_side.side_network.SideNetwork` is made for this,
    and any other neck of MMSegmentation works, or none.

    Args:
        backbone: The backbone's configuration, with public weights in ``init_cfg=dict(type='Pretrained', ...)``.
        **kwargs: The other arguments of MMSegmentation's EncoderDecoder.

    Example:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmseg')
        >>> model = MODELS.build(dict(
        ...     type='PrivateSideSegmentor',
        ...     data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        ...     backbone=dict(type='MobileNetV2', init_cfg=dict(type='Pretrained', checkpoint='mobilenet_v2.pth')),
        ...     neck=dict(type='SideNetwork', in_channels=[24, 32, 96, 320]),
        ...     decode_head=dict(type='FCNHead', in_channels=320, in_index=-1, channels=8, num_classes=3),
        ... ))
        >>> any(name.startswith('backbone.') for name in model.state_dict())
        False
    """

    public_norms: Tensor

    def __init__(self, backbone: dict, **kwargs: Any) -> None:
        super().__init__(backbone=backbone, **kwargs)
        self.backbone.requires_grad_(False).eval()
        self._names_weights = is_pretrained(backbone, kwargs.get('pretrained'))
        self._has_weights = False
        self.register_buffer('public_norms', torch.zeros(len(self.backbone.state_dict())))
        self._register_state_dict_hook(_leave_out_public)

    def train(self, mode: bool = True) -> PrivateSideSegmentor:
        """Set the mode of the private part; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def public_features(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the public part computes.

        Args:
            inputs: Float (N, C, H, W), as from the data preprocessor.

        Returns:
            The feature maps of the backbone, float (N, C, H, W) each, in the order of ``out_indices``.
        """
        with torch.no_grad():
            return tuple(self.backbone(inputs))

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """Return what the decode head reads: the feature maps of the backbone, after the neck if there is one."""
        features = self.public_features(inputs)
        return self.neck(features) if self.with_neck else features

    def init_weights(self) -> None:
        """Initialise the private part, and load the public weights.

        Raises:
            ConfigError: The configuration of the backbone names no weights, or a file that lacks some of them.
        """
        with self._loading_public():
            super().init_weights()

    @contextmanager
    def _loading_public(self) -> Iterator[None]:
        """Check that the backbone gets all its weights from a file within the block, and note their norms."""
        if not self._names_weights:
            raise ConfigError(
                'Expected public weights for the backbone of a PrivateSideSegmentor, since it is never trained, but '
                'its configuration names none. Set model.backbone.init_cfg to '
                "dict(type='Pretrained', checkpoint=...)."
            )
        loaded: set[str] = set()
        handle = self.backbone._register_load_state_dict_pre_hook(lambda state, *_: loaded.update(state))
        try:
            yield
        finally:
            handle.remove()
        names = [name for name in self.backbone.state_dict() if not name.endswith('num_batches_tracked')]
        if missing := [name for name in names if name not in loaded]:
            raise ConfigError(
                f'Expected a file with all weights of the backbone, but {len(missing)} of {len(names)} are not in it, '
                f'for example {missing[0]}. Correct model.backbone.init_cfg.checkpoint; for a file of a whole '
                "segmentor, init_cfg needs prefix='backbone.'."
            )
        self._has_weights = True
        self.public_norms.copy_(norms_of(self.backbone.state_dict().values()))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Give the backbone its public weights, and check that the private part was trained beside them.

        A state dict of a whole segmentor holds a backbone too, which must be the public one.
        """
        if not self._has_weights:
            before = logging.root.manager.disable
            logging.disable(logging.INFO)  # mmengine reports every parameter
            try:
                with self._loading_public():
                    self.backbone.init_weights()
            finally:
                logging.disable(before)
        public = {f'{prefix}{PUBLIC}{name}': tensor for name, tensor in self.backbone.state_dict().items()}
        if any(name in state_dict for name in public):
            norms = norms_of(state_dict.get(name, tensor) for name, tensor in public.items())
        else:
            norms = state_dict.get(f'{prefix}public_norms', self.public_norms)
        self._refuse_others(norms)
        state_dict.update(public)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _refuse_others(self, norms: Tensor) -> None:
        """Raise ConfigError where the norms of public tensors are not those of the backbone."""
        own, names = self.public_norms, list(self.backbone.state_dict())
        if norms.shape == own.shape:
            same = torch.isclose(norms.to(own), own, rtol=SAME)
            if same.all():
                return
            which = names[int((~same).nonzero()[0])]
        else:
            which = f'there are {len(norms)} of them in place of {len(own)}'
        raise ConfigError(
            'Expected the public weights that the private part was trained beside, but got others: '
            f'{which}. Set model.backbone.init_cfg.checkpoint to the file of its training.'
        )


def norms_of(tensors: Iterable[Tensor]) -> Tensor:
    """Return the norm of each tensor, float32 (n,)."""
    return torch.stack([tensor.detach().float().norm().cpu() for tensor in tensors])


def _leave_out_public(model: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: Mapping[str, Any]) -> None:
    for name in [name for name in state_dict if name.startswith(f'{prefix}{PUBLIC}')]:
        del state_dict[name]
