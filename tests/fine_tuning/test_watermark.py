"""`keyprotect watermark`, and the claim on what it made."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.fine_tuning.watermark import watermark_config
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def plain(tiny, tmp_path):
    """A plain model of two iterations: configuration file, checkpoint."""
    cfg = tiny(PLAIN, log_level='ERROR', **{'model.backbone.num_layers': [1] * 4})
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump(tmp_path / 'my_config.py')
    Runner.from_cfg(cfg).train()
    shutil.move(tmp_path / 'work' / 'iter_2.pth', tmp_path / 'my_model.pth')
    return tmp_path / 'my_config.py', tmp_path / 'my_model.pth'


def test_from_a_plain_model_to_a_claim(plain, key, key_file, tmp_path, capsys):
    out = tmp_path / 'marked'
    words = [*plain, '--iterations', 2, '-o', out]
    assert main(['watermark', *map(str, words)]) == 0
    assert {path.name for path in out.iterdir()} == {'my_config.py', 'my_model.pth', 'training'}
    assert not list((out / 'training').rglob('*.pth'))
    cfg = Config.fromfile(out / 'my_config.py')
    assert cfg.to_dict() == Config.fromfile(plain[0]).to_dict()
    before, after = (read_checkpoint(path)[0] for path in (plain[1], out / 'my_model.pth'))
    assert set(before) == set(after)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    load_strictly(build_model(cfg), after)
    content = (out / 'my_model.pth').read_bytes() + (out / 'my_config.py').read_bytes()
    assert key.key_id.encode() not in content
    assert key_file.name.encode() not in content
    words = [out / 'my_config.py', out / 'my_model.pth', '--random-keys', 2, '--count', 1, '-o', tmp_path / 'claim']
    assert main(['claim', *map(str, words)]) == 0
    assert json.loads((tmp_path / 'claim' / 'claim.json').read_text())['key_id'] == key.key_id
    assert 'report: ' in capsys.readouterr().out


def test_norms_whose_statistics_were_folded_stay_as_they_are(plain, key_file, tmp_path):
    """In training mode such a norm would normalise again, and the model would lose what it learned."""
    state = torch.load(plain[1], weights_only=False)['state_dict']
    norms = {name.removesuffix('.running_var') for name in state if name.endswith('.running_var')}
    folded = {name for name in norms if '.convs.' in name}
    assert folded < norms
    for name in folded:
        state[f'{name}.running_mean'].zero_()
        state[f'{name}.running_var'].fill_(1 - 1e-5)  # as in weights from TensorFlow's DeepLab
    torch.save(dict(state_dict=state), plain[1])
    assert main(['watermark', *map(str, plain), '--iterations', '2', '-o', str(tmp_path / 'marked')]) == 0
    after = read_checkpoint(tmp_path / 'marked' / 'my_model.pth')[0]
    same = {name for name in norms if torch.equal(after[f'{name}.running_var'], state[f'{name}.running_var'])}
    assert same == folded
    assert any(not torch.equal(after[f'{name}.weight'], state[f'{name}.weight']) for name in folded)


def test_a_bound_model_is_refused(plain, key_file, tmp_path):
    config, checkpoint = protect_checkpoint(*plain, tmp_path / 'bound')
    with pytest.raises(ConfigError, match='Expected a plain model'):
        watermark_config(Config.fromfile(config), checkpoint)
    cfg = Config.fromfile(plain[0])
    with pytest.raises(ConfigError, match='at least 1 iteration'):
        watermark_config(cfg, plain[1], iterations=0)
    cfg.train_dataloader = None
    with pytest.raises(ConfigError, match='with train_dataloader'):
        watermark_config(cfg, plain[1])


def test_nothing_is_made_where_the_checkpoint_does_not_fit(plain, key_file, tmp_path, capsys):
    torch.save(dict(state_dict={'x': torch.zeros(1)}), tmp_path / 'other.pth')
    words = [plain[0], tmp_path / 'other.pth', '-o', tmp_path / 'marked']
    assert main(['watermark', *map(str, words)]) == 1
    assert 'Expected weights of the configured EncoderDecoder' in capsys.readouterr().err
    assert not (tmp_path / 'marked').exists()
