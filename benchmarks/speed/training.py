"""Cost of encryption inside MMSegmentation: training pipeline, training step and inference."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from torch import nn

import mmseg_keyprotect  # noqa: F401  registers
from benchmarks.speed.timing import begin_peak, memory, take_turns
from mmseg_keyprotect.datasets.transforms import META_KEYS

PLAIN = 'configs/segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py'
PROTECTED = 'configs/segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160.py'
STEM = 'configs/segformer/segformer_mit-b0_shfnp-b4-stem_1xb8-0.4k_camvid-160x160.py'
CONFIGS = {'unprotected': PLAIN, 'preprocessor': PROTECTED, 'block stem': STEM}
IMAGES = 64


def pipelines() -> dict[str, dict]:
    """Return data loader configs of CamVid: plain, and encrypted in the pipeline."""
    plain = Config.fromfile(PLAIN).train_dataloader
    encrypted = Config.fromfile(PLAIN).train_dataloader
    encrypted.dataset.pipeline[-1:] = [
        dict(type='KeyedBlockEncrypt'),
        dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'pad_shape', *META_KEYS)),
    ]
    return dict(plain=plain, encrypted=encrypted)


def measure_pipeline(repeats: int) -> dict[str, dict[str, float]]:
    """Time the loading of 64 training images in this process, in milliseconds an image."""
    init_default_scope('mmseg')
    datasets = {name: DATASETS.build(loader.dataset) for name, loader in pipelines().items()}

    def load(dataset: Any) -> Callable[[], None]:
        return lambda: [dataset[index] for index in range(IMAGES)]

    times = take_turns({name: load(dataset) for name, dataset in datasets.items()}, repeats)
    return {name: {key: value / IMAGES for key, value in row.items()} for name, row in times.items()}


def measure_workers(counts: list[int], repeats: int) -> list[dict[str, Any]]:
    """Time the loading of an epoch by worker processes, in images a second."""
    rows = []
    for workers in counts:
        loaders = {}
        for name, cfg in pipelines().items():
            cfg.update(num_workers=workers, persistent_workers=workers > 0, batch_size=8)
            cfg.sampler = dict(type='DefaultSampler', shuffle=False)
            loaders[name] = Runner.build_dataloader(cfg, seed=0)

        def epoch(loader: Any) -> Callable[[], None]:
            return lambda: [None for _ in loader]

        times = take_turns({name: epoch(loader) for name, loader in loaders.items()}, repeats)
        images = len(next(iter(loaders.values())).dataset)
        rows.append(dict(workers=workers, **{name: round(1000 * images / row['ms'], 1) for name, row in times.items()}))
    return rows


def model_of(config: str) -> nn.Module:
    """Build an untrained model."""
    init_default_scope('mmseg')
    return MODELS.build(Config.fromfile(config).model)


def measure_step(repeats: int) -> dict[str, dict[str, float]]:
    """Time a training step with a batch of 8, for the unprotected model and both protected forms."""
    cfg = Config.fromfile(PLAIN)
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(8)])

    def step(config: str) -> Callable[[], None]:
        model = model_of(config).train()
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        return lambda: model.train_step(batch, optimizer)

    return take_turns({name: step(config) for name, config in CONFIGS.items()}, repeats)


def measure_inference(repeats: int) -> dict[str, dict[str, float]]:
    """Time the prediction of one validation image of 240 x 180 pixels, and measure its peak memory in MiB."""
    batch = _one_image()
    with torch.no_grad():
        models = {name: model_of(config).eval() for name, config in CONFIGS.items()}
        times = take_turns({name: lambda m=model: m.test_step(batch) for name, model in models.items()}, repeats)
    for name, config in CONFIGS.items():
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            times[name]['mb'] = round(pool.apply(_peak, (config,)), 1)
    return times


def _one_image() -> dict[str, Any]:
    init_default_scope('mmseg')
    return pseudo_collate([DATASETS.build(Config.fromfile(PLAIN).val_dataloader.dataset)[0]])


def _peak(config: str) -> float:
    """Return the MiB that a model and one prediction need; call it in a process of its own."""
    torch.set_num_threads(1)
    batch = _one_image()
    before = memory('VmRSS')
    begin_peak()
    with torch.no_grad():
        model_of(config).eval().test_step(batch)
    return memory('VmHWM') - before
