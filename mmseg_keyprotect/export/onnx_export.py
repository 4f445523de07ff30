"""Write a model as ONNX, and check it by onnxruntime before anybody gets it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.models.segmentors import BaseSegmentor

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.channels import RGB, image_channels
from mmseg_keyprotect.config.edit import to_preprocessor_form
from mmseg_keyprotect.config.view import find_model, find_protections
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.export.comparison import Comparison, compare
from mmseg_keyprotect.export.exported_model import ExportedModel
from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.export.tracing import SMALLEST, onnx_bytes
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.identity import identities_of, joined
from mmseg_keyprotect.models.preprocessor import swaps_channels
from mmseg_keyprotect.models.segmentors import KeyedMixin
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.sealing import KeyRecipient, sealing_into
from mmseg_keyprotect.version import SPEC_VERSION


def export_onnx(
    cfg: Config,
    checkpoint: str,
    path: str | Path,
    size: tuple[int, int] | None = None,
    logits: bool = False,
    seal: SecretKey | None = None,
    images: Sequence[np.ndarray] = (),
    true_size: bool = False,
) -> list[Comparison]:
    """Write a model as one ONNX file, from the pixels of an image to its classes.

    Input ``image``: uint8 (N, H, W, C), RGB; uint16 for a model of images that ffx encrypts. Output ``mask``: the class
    of each pixel, (N, H, W). Normalisation, padding and the cut to the size of the image are part of the graph; images
    are not resized. A model of encrypted images takes them as :class:`~mmseg_keyprotect.images.Encryptor` makes them,
    in whole blocks; the file holds no key. A model with encrypted feature maps holds the key of them, so that it is
    written sealed only, and is never plain on disk.

    The file appears once onnxruntime gives the same classes as torch.

    Args:
        cfg: The configuration, plain or protected.
        checkpoint: Its checkpoint, plain or sealed.
        path: The file to make.
        size: (H, W) of the images, in pixels. By default the graph takes any size, in whole blocks if images are
            encrypted.
        logits: Whether the file has a second output, ``logits``, float32 (N, K, H, W).
        seal: The key that seals the file. By default the file is plain.
        images: Images to compare with torch, uint8 (H, W, C), RGB; plain ones, which are encrypted here if need be. By
            default noise, which has the largest number of close decisions.
        true_size: Whether the graph has a second input ``size``, int64 (2,): height and width of the image before it
            was extended to whole blocks. The graph cuts its outputs to it.

    Returns:
        What the comparison found, for each image.

    Raises:
        ConfigError: The model cannot be exported, or with encrypted feature maps not plain.
        MissingDependencyError: onnx, onnxscript or onnxruntime is missing.
        OutputError: The file exists, or cannot be written.
    """
    with new_file(path) as temporary:
        model, cipher, meta = _load(cfg, checkpoint)
        if getattr(model, 'feature_encryption', None) is not None and seal is None:
            raise ConfigError(
                'Expected to seal a model with encrypted feature maps, since its graph holds their key, but got no key '
                'to seal it with. Add --seal, or export a model whose images alone are encrypted.'
            )
        block_size, channels = cipher.block_size if cipher else 1, image_channels(cfg)
        if size is not None and any(side % block_size for side in size):
            raise ConfigError(
                f'Expected the size of images of whole blocks, multiples of {block_size}, but got {size[0]} x '
                f'{size[1]}. Round it up: clients extend images to whole blocks.'
            )
        order, max_value = (cipher.channel_order, cipher.cipher_for(channels).max_value) if cipher else ('bgr', 255)
        rgb = (order == 'rgb') != swaps_channels(model.data_preprocessor)
        graph = SegmentationGraph(model, rgb, max_value, logits).eval()
        about = _about(model, meta, block_size)
        if keyed := isinstance(model, KeyedMixin):
            with suppress(ConfigError):  # the graph then holds the transforms
                model.fold()
        content = onnx_bytes(graph, size, channels, block_size, about, true_size)
        if keyed:
            model.unfold()  # what is written is compared with the model as it was
        found = compare(graph, ExportedModel(content), samples_of(images, size, channels, cipher))
        with open(temporary, 'wb') as file:
            if seal is None:
                file.write(content)
            else:
                with sealing_into(file, [KeyRecipient(seal)], seal.key_id) as writer:
                    writer.write(content)
    return found


def _load(cfg: Config, checkpoint: str) -> tuple[BaseSegmentor, KeyedCipher | None, dict[str, Any]]:
    """Return the model, the cipher of its images (None if they are plain), and the meta of its checkpoint."""
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    if find_protections(cfg):
        to_preprocessor_form(cfg)
    settings = find_model(cfg)
    settings.pop('denial', None)
    refuse_windows(settings)
    model = revert_sync_batchnorm(build_model(cfg))
    state, meta = read_checkpoint(checkpoint)
    load_strictly(model, state)
    if isinstance(model, KeyedMixin):
        model.untie()
    return model, getattr(model.data_preprocessor, 'keyed_cipher', None), meta


def refuse_windows(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError where the configuration of a model lets it see an image window by window."""
    mode = (settings.get('test_cfg') or {}).get('mode', 'whole')
    if mode != 'whole':
        raise ConfigError(
            f'Expected a model that sees an image whole, but got test_cfg.mode {mode!r}. Use --cfg-options '
            'model.test_cfg.mode=whole, and give it images as large as its windows.'
        )


def _about(model: BaseSegmentor, meta: Mapping[str, Any], block_size: int) -> dict[str, Any]:
    """Return the metadata of the file."""
    identities = identities_of(model)
    identity = joined(identities.values()).to_meta() if identities else dict(key_id=None, cipher=None)
    return dict(identity, spec_version=SPEC_VERSION, block_size=block_size, channel_order='rgb', **class_names(meta))


def class_names(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``classes`` and ``palette`` out of the meta of a checkpoint, each a list, or None where it has none."""
    data = meta.get('dataset_meta') or {}
    return {name: list(data[name]) if data.get(name) is not None else None for name in ('classes', 'palette')}


def samples_of(
    images: Sequence[np.ndarray], size: tuple[int, int] | None, channels: int, cipher: KeyedCipher | None
) -> list[np.ndarray]:
    """Return images to compare with, encrypted if the model takes such: those given, else noise."""
    if not images:
        rng = np.random.default_rng(0)
        sizes = [size] if size else [(SMALLEST, 2 * SMALLEST), (3 * SMALLEST - 1, SMALLEST + 1)]
        images = [rng.integers(256, size=(*one, channels), dtype=np.uint8) for one in sizes]
    if cipher is None:
        return list(images)
    order = slice(None, None, -1 if cipher.channel_order == 'bgr' and channels == RGB else None)
    return [np.ascontiguousarray(cipher.encrypt_raw(image[..., order])[0][..., order]) for image in images]
