"""Fixtures that several test files need. Those of keys need the client alone, as does this module."""

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from helpers import DATA, ROOT
from mmseg_keyprotect.keys import SecretKey

if find_spec('torch'):
    import torch

    torch.set_num_threads(1)  # small models are fastest so, by far where other processes want the cores too


@pytest.fixture(autouse=True, scope='session')
def quick_configs():
    """Let mmengine read the index of mmseg's configs once. It does so for each config that inherits one, in 0.2 s."""
    if find_spec('mmengine') is None:
        yield
        return
    from mmengine.config import config, utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, 'load', cache(utils.load))
        patch.setattr(config, 'is_installed', cache(config.is_installed))
        yield


@pytest.fixture(autouse=True)
def mmseg_scope():
    """Registries find mmseg's modules, and ours, by their bare names."""
    if find_spec('mmengine'):
        from mmengine.registry import init_default_scope

        init_default_scope('mmseg')


@pytest.fixture
def key():
    return SecretKey.from_bytes(bytes(range(32)))


@pytest.fixture
def other_key():
    return SecretKey.from_bytes(bytes(range(1, 33)))


@pytest.fixture
def key_file(tmp_path, key, monkeypatch):
    """The file of ``key``, which KEYPROTECT_KEY_FILE names."""
    path = tmp_path / 'test.key'
    key.save(path)
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(path))
    return path


@pytest.fixture
def other_key_file(tmp_path, other_key):
    path = tmp_path / 'other.key'
    other_key.save(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 18, 3), dtype=np.uint8)


@pytest.fixture
def real_data():
    """A function that gives the path of real data, or skips the test."""

    def find(name):
        if not (DATA / name).exists():
            pytest.skip(f'real data not found: {DATA / name} (set KEYPROTECT_TEST_DATA)')
        return DATA / name

    return find


@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    """Six drawn training scenes and three validation scenes."""
    from mmseg_keyprotect.demo.scenes import write_demo_scenes

    return write_demo_scenes(tmp_path_factory.mktemp('data') / 'scenes', num_train=6, num_val=3, size=(98, 110))


@pytest.fixture
def tiny(scenes, tmp_path, key_file):
    """A function that gives the protected demo configuration, cut to two iterations on the tiny scenes."""
    from mmengine.config import Config

    import mmseg_keyprotect  # noqa: F401
    from mmseg_keyprotect.config.edit import set_data_root

    def build(name='segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py', **options):
        cfg = Config.fromfile(ROOT / 'configs' / name)
        set_data_root(cfg, str(scenes))
        cfg.merge_from_dict(
            {
                'train_dataloader.batch_size': 2,
                'train_cfg.max_iters': 2,
                'train_cfg.val_interval': 2,
                'default_hooks.checkpoint.interval': 2,
                'default_hooks.logger.interval': 1,
                'model.data_preprocessor.size': (64, 64),
                'work_dir': str(tmp_path / 'work'),
                'visualizer.name': str(tmp_path),  # mmengine keeps visualizers by name, with the folder they write to
                **{
                    f'{split}_dataloader.{name}': value
                    for split in ('train', 'val', 'test')
                    for name, value in dict(num_workers=0, persistent_workers=False).items()
                },
            }
        )
        cfg.train_dataloader.dataset.pipeline[2].crop_size = (64, 64)
        cfg.tta_pipeline[1].transforms[0] = [dict(type='Resize', scale=(90, 70), keep_ratio=False)]
        cfg.merge_from_dict(options)
        return cfg

    return build
