"""Training with ``compile`` in the config."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmseg_keyprotect.engine.weights_only import load_weights_only

PROTECTIONS = {
    'images': {},
    'block stem': {'model.type': 'KeyedEncoderDecoder', 'model.block_stem': dict(border='grey')},
    'features': {'model.type': 'KeyedEncoderDecoder', 'model.feature_encryption': dict(stages='all')},
}


def train(tiny, folder, compiled, **options):
    """Train two iterations, and return the runner."""
    without = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    runner = Runner.from_cfg(
        tiny(**without, randomness=dict(seed=0), compile=compiled, work_dir=str(folder), **options)
    )
    runner.train()
    return runner


@pytest.mark.slow  # half a minute for each; test_compile.py compiles without training
@pytest.mark.parametrize('protection', PROTECTIONS)
def test_trains_as_without_compiling(protection, tiny, tmp_path):
    torch.compiler.reset()
    states = []
    for name, compiled in dict(plain=False, compiled=dict(backend='eager')).items():
        train(tiny, tmp_path / name, compiled, **PROTECTIONS[protection])
        states.append(load_weights_only(tmp_path / name / 'iter_2.pth', 'checkpoint')['state_dict'])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value)


@pytest.mark.slow  # the compiler takes about a minute for each
@pytest.mark.parametrize('protection', PROTECTIONS)
def test_trains_with_inductor(protection, tiny, tmp_path):
    """With torch's own compiler the losses stay the same. It draws other random numbers, so nothing is dropped out."""
    torch.compiler.reset()
    kept = {'model.backbone.drop_path_rate': 0.0, 'model.decode_head.dropout_ratio': 0.0}
    losses = []
    for name, compiled in dict(plain=False, compiled=True).items():
        runner = train(tiny, tmp_path / name, compiled, **kept, **PROTECTIONS[protection])
        losses.append(runner.message_hub.get_scalar('train/loss').data[0])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
