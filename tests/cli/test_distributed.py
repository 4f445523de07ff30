"""Two processes train one model: with one key they agree, with two keys they refuse.

The processes run this file as a script, which gives each rank its key file and hands over to tools/train.py.
"""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_keyprotect.engine.sealed_checkpoints import load_from_sealed
from mmseg_keyprotect.sealing import file_info

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'segformer' / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'


def train_as_one_rank():
    """Train with the key file of this rank, and write down what the rank had."""
    from mmengine.hooks import Hook
    from mmseg.registry import HOOKS

    @HOOKS.register_module()
    class RankReportHook(Hook):
        def after_train(self, runner):
            model = runner.model.module
            report = dict(encrypted=encrypted(model.data_preprocessor), weights=digest(model.parameters()))
            Path(os.environ['REPORTS'], f'{runner.rank} of {runner.world_size}.json').write_text(json.dumps(report))

    os.environ['KEYPROTECT_KEY_FILE'] = os.environ['KEY_FILES'].split(os.pathsep)[int(os.environ['LOCAL_RANK'])]
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')


def encrypted(preprocessor):
    """Say in short what the network gets for a fixed image."""
    import torch

    image = torch.arange(3 * 16 * 16).reshape(3, 16, 16).mul(37).remainder(256).byte()
    return digest([preprocessor(dict(inputs=[image]), False)['inputs']])


def digest(tensors):
    parts = b''.join(tensor.detach().cpu().numpy().tobytes() for tensor in tensors)
    return hashlib.sha256(parts).hexdigest()


def train_on_two(folder, *key_files):
    """Train for two iterations in two processes."""
    from mmseg_keyprotect.demo.scenes import write_demo_scenes

    data = write_demo_scenes(folder / 'scenes', 4, 1, size=(128, 128))
    options = [f'{name}_dataloader.dataset.data_root={data}' for name in ('train', 'val', 'test')]
    for name in ('train', 'val'):
        options += [f'{name}_dataloader.num_workers=0', f'{name}_dataloader.persistent_workers=False']
    options += ['train_dataloader.batch_size=2', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    options += ['default_hooks.checkpoint.interval=2', 'default_hooks.report.type=RankReportHook']
    options += ['custom_hooks.0.seal=True']
    options += ['model.type=KeyedEncoderDecoder', 'model.feature_encryption.stages=all']
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', __file__]
    command += [str(CONFIG), '--launcher', 'pytorch', '--work-dir', str(folder / 'work'), '--cfg-options', *options]
    variables = dict(KEY_FILES=os.pathsep.join(map(str, key_files)), REPORTS=str(folder), OMP_NUM_THREADS='1')
    return subprocess.run(command, env={**os.environ, **variables}, text=True, capture_output=True)


def test_one_key_for_all(tmp_path, key, key_file):
    done = train_on_two(tmp_path, key_file, key_file)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (json.loads((tmp_path / f'{rank} of 2.json').read_text()) for rank in (0, 1))
    assert first == second
    assert first['encrypted'] == encrypted(MODELS.build(Config.fromfile(CONFIG).model.data_preprocessor))
    ciphers = 'shuffle+negative-positive/M=4,feature-shuffle+feature-sign/stages=all/C=32-64-160-256'
    assert f'Protected with the key {key.key_id} by {ciphers}.' in done.stdout + done.stderr
    assert file_info(tmp_path / 'work' / 'iter_2.pth')['key_id'] == key.key_id  # sealed, and written by one of them
    assert load_from_sealed('sealed://' + str(tmp_path / 'work' / 'iter_2.pth'))['optimizer']['state']


@pytest.mark.slow
def test_a_key_for_each_is_refused(tmp_path, key_file, other_key_file):
    done = train_on_two(tmp_path, key_file, other_key_file)
    assert done.returncode != 0, done.stdout + done.stderr
    assert 'error: Expected the same key in every process' in done.stderr
    assert not list(tmp_path.glob('**/*.pth'))


if __name__ == '__main__':
    train_as_one_rank()
