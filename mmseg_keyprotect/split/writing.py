"""Write a model in two parts, and check that they give the masks of the whole before anybody gets them."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor

from mmseg_keyprotect.config.view import find_model, is_private_side, kind_of
from mmseg_keyprotect.errors import ConfigError, SealedFileError
from mmseg_keyprotect.export.comparison import Comparison, compare
from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.export.onnx_export import class_names, refuse_windows, samples_of
from mmseg_keyprotect.export.tracing import SMALLEST, onnx_model
from mmseg_keyprotect.files import new_folder
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.models.preprocessor import swaps_channels
from mmseg_keyprotect.models.private_side.segmentor import PrivateSideSegmentor
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.sealing import Recipient, Signer, sealed_output
from mmseg_keyprotect.split.graphs import PrivateGraph, PublicGraph
from mmseg_keyprotect.split.message import FeatureMessage
from mmseg_keyprotect.split.parts import (
    METADATA,
    PRIVATE_FILE,
    PUBLIC_FILE,
    SIZE,
    PrivatePart,
    PublicPart,
    padded_size,
)
from mmseg_keyprotect.version import SPEC_VERSION

MOST_PIXELS = 2**22
"""Pixels of the largest image, unless the parts are made for a larger size. Logits take four bytes a class each."""

WHOLE_STRIDES = 448
"""Pixels that are a multiple of the strides of all backbones: 4 to 32, and 14."""

TIES = {'float32': 1e-3, 'float16': 1e-2}
"""The margin, in standard deviations of the logits, below which two classes are a tie of rounding."""


@without_locals
def split_model(
    cfg: Config,
    checkpoint: str,
    folder: str | Path,
    recipients: Sequence[Recipient],
    key_id: str = '',
    signer: Signer | None = None,
    size: tuple[int, int] | None = None,
    dtype: str = 'float16',
    images: Sequence[np.ndarray] = (),
) -> list[Comparison]:
    """Write ``public/backbone.onnx``, plain, and ``private.sealed``, the side network and the head, as ONNX.

    The folder appears once both parts together give the masks of the whole model in torch. The private part is never
    plain on disk.

    Args:
        cfg: A configuration with a PrivateSideSegmentor.
        checkpoint: Its checkpoint, plain or sealed.
        folder: The folder to make.
        recipients: Who can open the private part; at least one.
        key_id: The key id that the sealed file names, or empty text.
        signer: Who signs the private part, if anybody.
        size: (H, W) of the images, in pixels. By default the parts take images of any size.
        dtype: ``'float16'`` or ``'float32'``, of the feature maps between the parts.
        images: Images to compare with torch, uint8 (H, W, 3), RGB. By default noise, which has the largest number of
            close decisions.

    Returns:
        What the comparison found, for each image.

    Raises:
        SealedFileError: There is no recipient.
        ConfigError: The model has no private side, or cannot be split.
        MissingDependencyError: onnx, onnxscript or onnxruntime is missing.
        OutputError: The folder exists, or cannot be written.
    """
    if not recipients:
        raise SealedFileError('Expected a recipient who can open the private part, but got none. Name a key.')
    with new_folder(folder) as temporary:
        model, meta = _load(cfg, checkpoint)
        # images of MMSegmentation's pipelines are BGR
        graph = SegmentationGraph(model, rgb=swaps_channels(model.data_preprocessor)).eval()
        public, private = _parts(graph, size, getattr(torch, dtype), class_names(meta))
        found = compare(graph, _BothParts(public, private), samples_of(images, size, 3, None), TIES[dtype])
        (temporary / PUBLIC_FILE).parent.mkdir()
        (temporary / PUBLIC_FILE).write_bytes(public)
        with sealed_output(temporary / PRIVATE_FILE, recipients, key_id, signer) as writer:
            writer.write(private)
    return found


class _BothParts:
    """Both parts in one process, with the message between them."""

    cuts = False

    def __init__(self, public: bytes, private: bytes) -> None:
        self.public, self.private = PublicPart(public), PrivatePart(private)

    def predict(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the class of each pixel, (H, W)."""
        return self.private.predict(FeatureMessage.from_bytes(self.public.features(image).to_bytes()))


def _load(cfg: Config, checkpoint: str) -> tuple[PrivateSideSegmentor, dict[str, Any]]:
    """Return the model, and the meta of its checkpoint."""
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    settings = find_model(cfg)
    if not is_private_side(cfg):
        raise ConfigError(
            f'Expected a configuration of a PrivateSideSegmentor, but got {kind_of(settings)}: its backbone is '
            'trained, so that no part of it is public. Train one of configs/private_side, or run it whole: keyprotect '
            'export.'
        )
    refuse_windows(settings)
    model = revert_sync_batchnorm(build_model(cfg))
    state, meta = read_checkpoint(checkpoint)
    load_strictly(model, state)
    if model.out_channels == 1:
        raise ConfigError(
            'Expected a head with one logit for each class, but got a single one with a threshold. Set '
            'model.decode_head.out_channels to 2.'
        )
    return model, meta


@torch.no_grad()
def _parts(
    graph: SegmentationGraph, size: tuple[int, int] | None, dtype: torch.dtype, names: dict[str, Any]
) -> tuple[bytes, bytes]:
    """Return the ONNX files of the public and of the private part."""
    model = graph.model
    public, private = PublicGraph(graph, dtype).eval(), PrivateGraph(model).eval()
    image = torch.zeros(1, *(size or (4 * SMALLEST + 4, 3 * SMALLEST)), 3, dtype=torch.uint8)
    features = {f'feature_{number}': one for number, one in enumerate(public(image))}
    logits = private(*features.values())
    if not isinstance(logits, Tensor):
        raise ConfigError(
            f'Expected a decode head that returns logits, but {type(model.decode_head).__name__} returns '
            f'{type(logits).__name__}. Use another head.'
        )
    about = _about(public, size, dtype)
    free = {} if size else {axis: torch.export.Dim.AUTO for axis in (1, 2)}
    first = onnx_model(public, dict(image=image), list(features), [free], _metadata('public', about), bool(size))
    free = {} if size else {axis: torch.export.Dim.AUTO for axis in (2, 3)}
    shapes, told = [free] * len(features), _metadata('private', {**about, **names})
    second = onnx_model(private, features, ['logits'], shapes, told, bool(size))
    _add_mask(second, model)
    return first.SerializeToString(), second.SerializeToString()


def _about(public: PublicGraph, size: tuple[int, int] | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return what both parts say of themselves.

    Raises:
        ConfigError: The sizes of feature maps do not follow from that of the image in the usual way.
    """
    test = public.whole.model.data_preprocessor.test_cfg or {}
    about = dict(least=test.get('size'), size_divisor=test.get('size_divisor'), size=size)

    def shapes(side: int) -> list[tuple[int, ...]]:
        return [tuple(one.shape[1:]) for one in public(torch.zeros(1, side, side, 3, dtype=torch.uint8))]

    whole = WHOLE_STRIDES * -(-max(test.get('size') or (1,)) // WHOLE_STRIDES)
    height, _ = padded_size((whole, whole), about)
    strides = [(count, round(height / rows)) for count, rows, _ in shapes(whole)]
    odd = whole + 1
    height, _ = padded_size((odd, odd), about)
    if [-(-height // stride) for _, stride in strides] != [rows for _, rows, _ in shapes(odd)]:
        raise ConfigError(
            'Expected feature maps with a row for every stride begun, but this backbone leaves out what is less than a '
            'stride. Set model.data_preprocessor.test_cfg to dict(size_divisor=32).'
        )
    return dict(
        about,
        spec_version=SPEC_VERSION,
        features=strides,
        dtype=str(dtype).removeprefix('torch.'),
        most_pixels=max(MOST_PIXELS, size[0] * size[1] if size else 0),
    )


def _metadata(part: str, about: dict[str, Any]) -> dict[str, str]:
    return {METADATA: json.dumps(dict(about, part=part))}


def _add_mask(proto: Any, model: PrivateSideSegmentor) -> None:
    """Replace the output ``logits`` of a graph by ``mask``, in place, in the size that a new input says."""
    from onnx import TensorProto, helper

    graph, head = proto.graph, model.decode_head
    how = 'align_corners' if head.align_corners else 'half_pixel'
    kind = TensorProto.UINT8 if model.num_classes <= 256 else TensorProto.INT32
    graph.input.append(helper.make_tensor_value_info(SIZE, TensorProto.INT64, [2]))
    graph.node.extend(
        [
            helper.make_node('Shape', ['logits'], ['logits_batch'], end=2),
            helper.make_node('Concat', ['logits_batch', SIZE], ['logits_sizes'], axis=0),
            helper.make_node(
                'Resize',
                ['logits', '', '', 'logits_sizes'],
                ['logits_whole'],
                mode='linear',
                coordinate_transformation_mode=how,
            ),
            helper.make_node('ArgMax', ['logits_whole'], ['classes'], axis=1, keepdims=0),
            helper.make_node('Cast', ['classes'], ['mask'], to=kind),
        ]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info('mask', kind, [1, 'height', 'width']))
