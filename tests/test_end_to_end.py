"""MMSegmentation's own interfaces run a protected model."""

import copy
import subprocess
import sys
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import MMSegInferencer, inference_model, init_model

from helpers import ROOT
from mmseg_keyprotect.datasets.transforms import META_KEYS
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import WrongKeyError

MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'


@pytest.fixture
def photo(scenes):
    """A real image file of odd size: neither side is a multiple of 4."""
    path = scenes / 'images' / 'val' / '0000.png'
    assert cv2.imread(str(path)).shape == (98, 110, 3)
    return str(path)


@pytest.fixture
def protected(tiny, tmp_path):
    """A protected configuration file and a checkpoint of it, with random weights."""
    cfg = tiny()
    cfg.dump(tmp_path / 'protected.py')
    cfg.default_hooks.checkpoint = None
    runner = Runner.from_cfg(cfg)
    runner.call_hook('before_run')
    runner.save_checkpoint(str(tmp_path), 'checkpoint.pth', save_optimizer=False, save_param_scheduler=False)
    return tmp_path / 'protected.py', tmp_path / 'checkpoint.pth'


def pipeline_form(cfg):
    """Return the configuration with the same protection in the pipelines instead of the preprocessor."""
    cfg = copy.deepcopy(cfg)
    for preprocessor in (cfg.data_preprocessor, cfg.model.data_preprocessor):
        cipher = preprocessor.pop('cipher')
        preprocessor.type = 'SegDataPreProcessor'
    encrypt = dict(type='KeyedBlockEncrypt', cipher=cipher)
    meta_keys = (
        'img_path',
        'ori_shape',
        'img_shape',
        'pad_shape',
        'scale_factor',
        'flip',
        'flip_direction',
        *META_KEYS,
    )
    pack = dict(type='PackSegInputs', meta_keys=meta_keys)
    test = [*cfg.test_pipeline[:-2], encrypt, dict(type='LoadAnnotations'), pack]
    cfg.test_pipeline = cfg.val_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline = test
    cfg.train_dataloader.dataset.pipeline = [*cfg.train_dataloader.dataset.pipeline[:-1], encrypt, pack]
    branches = cfg.tta_pipeline[1].transforms
    branches[-2:] = [[encrypt], [dict(type='LoadAnnotations')], [pack]]
    return cfg


def test_init_model_and_inference(protected, photo):
    config, checkpoint = map(str, protected)
    model = init_model(config, checkpoint, device='cpu')
    result = inference_model(model, photo)
    assert result.pred_sem_seg.shape == (98, 110)
    from_array = inference_model(init_model(config, checkpoint, device='cpu'), [cv2.imread(photo)] * 2)
    assert torch.equal(from_array[1].pred_sem_seg.data, result.pred_sem_seg.data)


def test_init_model_with_another_key(protected, monkeypatch, other_key_file):
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
    with pytest.raises(WrongKeyError):
        init_model(*map(str, protected), device='cpu')


def test_inferencer(protected, photo):
    config, checkpoint = map(str, protected)
    got = MMSegInferencer(config, checkpoint, device='cpu')(photo, show=False)['predictions']
    expected = inference_model(init_model(config, checkpoint, device='cpu'), photo).pred_sem_seg.data[0]
    np.testing.assert_array_equal(np.squeeze(got), expected.numpy())


@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), dict(mode='slide', crop_size=(64, 80), stride=(60, 60))])
@pytest.mark.parametrize('tta', [False, True])
def test_both_forms_predict_alike(tta, test_cfg, tiny):
    """In whole and slide mode, with and without test-time augmentation, the logits are equal bit for bit."""
    cfg = tiny(**{'model.test_cfg': test_cfg, 'test_dataloader.dataset.indices': 1})
    outputs = []
    torch.manual_seed(0)
    weights = None
    for form in (cfg, pipeline_form(cfg)):
        form = copy.deepcopy(form)
        if tta:
            form.test_dataloader.dataset.pipeline = form.tta_pipeline
            form.model = dict(type='SegTTAModel', module=form.model)
        runner = Runner.from_cfg(form)
        runner.call_hook('before_run')
        model = runner.model.module if tta else runner.model
        weights = model.state_dict() if weights is None else weights
        model.load_state_dict(weights, strict=False)  # the second form has no `protection`
        runner.model.eval()
        with torch.no_grad():
            outputs.append(
                [runner.model.test_step(batch)[0] for batch in runner.build_dataloader(form.test_dataloader)]
            )
    assert len(outputs[0]) == 1
    for a, b in zip(*outputs, strict=True):
        assert a.seg_logits.shape == (98, 110)
        assert torch.equal(a.seg_logits.data, b.seg_logits.data)


def test_pipeline_form_trains_and_tests(tiny, tmp_path, key):
    cfg = pipeline_form(tiny())
    Runner.from_cfg(cfg).train()
    saved = load_weights_only(tmp_path / 'work' / 'iter_2.pth', 'checkpoint')
    assert saved['meta']['keyprotect']['key_id'] == key.key_id
    cfg.load_from = str(tmp_path / 'work' / 'iter_2.pth')
    assert 'mIoU' in Runner.from_cfg(cfg).test()


def run(*command):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    'tools', [ROOT / 'tools', pytest.param(MMSEG_TOOLS, marks=pytest.mark.slow)], ids=['ours', "mmseg's"]
)
def test_command_lines(tools, tiny, tmp_path, key):
    """``custom_imports`` in the configuration is all that MMSegmentation's own tools need."""
    tiny().dump(tmp_path / 'protected.py')
    output = run(tools / 'train.py', tmp_path / 'protected.py', '--work-dir', tmp_path / 'out')
    assert f'Protected with the key {key.key_id}' in output
    output = run(tools / 'test.py', tmp_path / 'protected.py', tmp_path / 'out' / 'iter_2.pth', '--tta')
    assert 'mIoU' in output


def test_our_command_line_refuses_a_key_before_anything_is_written(tiny, tmp_path, key_file, monkeypatch):
    line = key_file.read_text().splitlines()[-1]
    monkeypatch.setenv('MY_SECRET', line)
    text = tiny().pretty_text + "\nnote = '{{$MY_SECRET:none}}'\n"
    (tmp_path / 'leaky.py').write_text(text)
    command = [sys.executable, ROOT / 'tools' / 'train.py', tmp_path / 'leaky.py', '--work-dir', tmp_path / 'out']
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith('error: Expected no key in the configuration')
    assert line[23:] not in done.stdout + done.stderr
    assert not (tmp_path / 'out').exists()


def test_our_command_line_refuses_a_key_among_its_options(tiny, tmp_path, key_file):
    line = key_file.read_text().splitlines()[-1]
    tiny().dump(tmp_path / 'protected.py')
    command = [sys.executable, ROOT / 'tools' / 'train.py', tmp_path / 'protected.py', '--work-dir', tmp_path / 'out']
    command += ['--cfg-options', f'note={line}']
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith('error: Expected no key in the configuration, but the command line.')
    assert line[23:] not in done.stdout + done.stderr
    assert not (tmp_path / 'out').exists()


def test_config_needs_nothing_but_custom_imports(tiny, tmp_path):
    """The dumped configuration loads in a new process that imports nothing else."""
    tiny().dump(tmp_path / 'protected.py')
    code = (
        'from mmengine.config import Config; from mmengine.registry import init_default_scope\n'
        f"cfg = Config.fromfile({str(tmp_path / 'protected.py')!r}); init_default_scope('mmseg')\n"
        'from mmseg.registry import MODELS, HOOKS, TRANSFORMS\n'
        "print(MODELS.build(cfg.model).data_preprocessor.keyed_cipher.name, 'KeyGuardHook' in HOOKS)"
    )
    assert 'shuffle+negative-positive/M=4 True' in run('-c', code)
    assert Config.fromfile(tmp_path / 'protected.py').custom_imports.imports == ['mmseg_keyprotect']
