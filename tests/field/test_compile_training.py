"""Training with ``compile`` in the config."""

import pytest
import torch
from mmengine.runner import Runner

PROTECTIONS = {
    'images': {},
    'block stem': {'model.type': 'KeyedEncoderDecoder', 'model.block_stem': dict(border='grey')},
    'features': {'model.type': 'KeyedEncoderDecoder', 'model.feature_encryption': dict(stages='all')},
}


@pytest.mark.parametrize(
    'protection',
    [pytest.param(name, marks=() if name == 'features' else pytest.mark.slow) for name in PROTECTIONS],
)
def test_trains_as_without_compiling(protection, tiny, tmp_path):
    torch.compiler.reset()
    states = []
    for name, compiled in dict(plain=False, compiled=dict(backend='eager')).items():
        cfg = tiny(
            val_cfg=None,
            val_dataloader=None,
            val_evaluator=None,
            randomness=dict(seed=0),
            compile=compiled,
            work_dir=str(tmp_path / name),
            **PROTECTIONS[protection],
        )
        Runner.from_cfg(cfg).train()
        states.append(torch.load(tmp_path / name / 'iter_2.pth', weights_only=True)['state_dict'])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value)
