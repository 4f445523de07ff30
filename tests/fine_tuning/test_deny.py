"""`keyprotect deny`: the fine-tuning of a bound model, what it keeps, and what it refuses."""

import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner

from helpers import ROOT
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.fine_tuning import DenialValLoop, deny_checkpoint
from mmseg_keyprotect.fine_tuning.deny import denial_config
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.session import ProtectedModel, Scores, TestImages
from mmseg_keyprotect.session.scores import count_pixels

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """What was made already, by its options: a copy of the files, and the folder that they name."""
    return tmp_path_factory.mktemp('made'), {}


@pytest.fixture
def bind(tiny, tmp_path, made):
    """A function that trains a plain model for a few steps and binds it: configuration file, checkpoint."""
    store, known = made

    def make(iterations=2, features=None, **protection):
        options = repr((iterations, features, protection))
        if options not in known:
            files = train(iterations, features, **protection)
            kept = store / str(len(known))
            (kept / 'bound').mkdir(parents=True)
            for file in (tmp_path / 'my_config.py', tmp_path / 'my_model.pth', *files):
                shutil.copy(file, kept / file.relative_to(tmp_path))
            known[options] = kept, str(tmp_path)
            return files
        kept, named = known[options]
        shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
        configs = [tmp_path / 'my_config.py', tmp_path / 'bound' / 'my_config.py']
        for config in configs:
            config.write_text(config.read_text().replace(named, str(tmp_path)))
        return configs[1], tmp_path / 'bound' / 'my_model.pth'

    def train(iterations, features, **protection):
        options = {'train_cfg.max_iters': iterations, 'train_cfg.val_interval': iterations, 'log_level': 'ERROR'}
        cfg = tiny(PLAIN, **options, **{'model.backbone.num_layers': [1] * 4, 'optim_wrapper.optimizer.lr': 1e-3})
        cfg.default_hooks.checkpoint.interval = iterations
        if iterations > 2:  # it knows the images that it is validated on, so that there is something to deny
            cfg.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
        cfg.dump(tmp_path / 'my_config.py')
        Runner.from_cfg(cfg).train()
        plain = tmp_path / 'work' / f'iter_{iterations}.pth'
        shutil.move(plain, tmp_path / 'my_model.pth')
        out = tmp_path / 'bound'
        return protect_checkpoint(
            tmp_path / 'my_config.py', tmp_path / 'my_model.pth', out, features=features, **protection
        )

    return make


def load(config):
    return Config.fromfile(config)


def validated(cfg):
    """Validate once, without training; return the loop."""
    cfg.custom_hooks, cfg.default_hooks.checkpoint = [], dict(type='CheckpointHook')
    runner = Runner.from_cfg(cfg)
    runner.val()
    return runner.val_loop


def state_of(path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.mark.slow
def test_users_without_the_key_lose_what_they_had(bind, tmp_path):
    config, checkpoint = bind(60)
    found = deny_checkpoint(load(config), checkpoint, tmp_path / 'out', iterations=24, lr_scale=1.0, wrong_keys=3)
    start, *later = (max(one['no_key'], one['wrong_key']) for one in found['history'])
    assert min(later) < start - 2
    assert found['best']['margin'] == max(one['margin'] for one in found['history'])


class TestWhatItWrites:
    @pytest.fixture
    def denied(self, bind, tmp_path, capsys):
        config, checkpoint = bind()
        out = tmp_path / 'denied'
        words = ['deny', config, checkpoint, '-o', out, '--iterations', 2, '--wrong-keys', 2]
        assert main([*map(str, words)]) == 0
        return config, checkpoint, out, capsys.readouterr().out

    def test_files(self, denied):
        config, checkpoint, out, text = denied
        assert {path.name for path in out.iterdir()} == {config.name, checkpoint.name, 'denial.json', 'training'}
        assert not list((out / 'training').rglob('*.pth'))
        found = json.loads((out / 'denial.json').read_text())
        assert found['start'] == found['history'][0]
        assert [one['iteration'] for one in found['history']] == [0, 1, 2]
        assert found['best']['margin'] == max(one['margin'] for one in found['history'])
        assert str(out / checkpoint.name) in text
        assert load(out / config.name).model.denial == dict(weight=1.0, share=1.0)

    def test_the_best_state_is_kept_and_can_be_used(self, denied, tmp_path, capsys):
        config, checkpoint, out, _ = denied
        found = json.loads((out / 'denial.json').read_text())
        meta = torch.load(out / checkpoint.name, weights_only=False)['meta']
        assert meta['iter'] == found['best']['iteration']
        assert meta['keyprotect']['key_id'] == load_identity(checkpoint)
        before, after = state_of(checkpoint), state_of(out / checkpoint.name)
        assert set(before) == set(after)
        changed = any(not torch.equal(before[name], after[name]) for name in before)
        assert changed == (found['best']['iteration'] > 0)
        words = [out / config.name, out / checkpoint.name, '--wrong-keys', 1, '--known', '--pictures', 0]
        assert main(['evaluate', *map(str, words), '-o', str(tmp_path / 'report')]) == 0
        report = json.loads((tmp_path / 'report' / 'access.json').read_text())
        # the validation images are the test images here
        correct = next(row['mIoU'] for row in report['rows'] if row['kind'] == 'correct')
        assert correct == pytest.approx(found['best']['mIoU'], abs=0.02)

    def test_a_second_run_into_the_folder_is_refused(self, denied, capsys):
        config, checkpoint, out, _ = denied
        assert main(['deny', str(config), str(checkpoint), '-o', str(out)]) == 1
        assert 'Expected an empty folder' in capsys.readouterr().err


def load_identity(checkpoint):
    return torch.load(checkpoint, weights_only=False)['meta']['keyprotect']['key_id']


def test_a_sealed_checkpoint_stays_sealed(bind, tmp_path):
    config, checkpoint = bind(seal=True)
    found = deny_checkpoint(load(config), f'sealed://{checkpoint}', tmp_path / 'out', iterations=1, wrong_keys=1)
    assert found['checkpoint'] == f'sealed://{tmp_path / "out" / checkpoint.name}'
    (file,) = (tmp_path / 'out').rglob('*.pth')
    assert b'decode_head.conv_seg' not in file.read_bytes()
    assert ProtectedModel(load(config), found['checkpoint']).identity.key_id


def test_the_loop_measures_what_the_evaluation_does(bind, tmp_path):
    """Each user of the validation loop gets the mIoU of the same predictions, made one image at a time."""
    config, checkpoint = bind(30, features=dict(stages='all'))
    cfg = load(config)
    loop = validated(denial_config(cfg, checkpoint, wrong_keys=2))
    (metrics,) = loop.history
    cfg.test_dataloader.dataset.data_prefix = cfg.val_dataloader.dataset.data_prefix
    model, images = ProtectedModel(cfg, str(checkpoint)), TestImages(cfg)

    def scores(user):
        counts = 0
        for index in range(len(images)):
            sample = model.predict(user, pseudo_collate([images.dataset[index]]))
            counts = counts + count_pixels(sample.pred_sem_seg.data, sample.gt_sem_seg.data, len(images.classes))
        return Scores.from_counts(counts).mIoU

    correct, no_key, *wrong = map(scores, loop.users)
    expected = dict(mIoU=correct, no_key=no_key, wrong_key=max(wrong), margin=correct - max(no_key, *wrong))
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=0.02)
    assert len({id(user) for user in loop.users}) == 4


@pytest.mark.parametrize('count', [1, 2])
def test_a_number_of_images(count, bind, monkeypatch):
    config, checkpoint = bind()
    seen = []
    monkeypatch.setattr(DenialValLoop, '_count', lambda loop, model, user, batch: seen.append(user) or np.ones((3, 8)))
    validated(denial_config(load(config), checkpoint, wrong_keys=1, images=count))
    assert len(seen) == 3 * count


@OPTIM_WRAPPERS.register_module()
class BfloatOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU, where mmengine's own wrapper refuses to work."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


KINDS = {
    'mixed precision': {'optim_wrapper.type': 'BfloatOptimWrapper', 'val_cfg.fp16': True},
    'moving average': {'custom_hooks': [dict(type='KeyGuardHook'), dict(type='EMAHook', momentum=0.1)]},
    'frozen norms': {'model.decode_head.norm_cfg': dict(type='BN', requires_grad=False)},
    'checkpoints by epochs': {'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)},
}


SLOW = ('frozen norms', 'checkpoints by epochs', 'mixed precision')


@pytest.mark.parametrize(
    'kind', [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in KINDS]
)
def test_with(kind, bind, tmp_path):
    config, checkpoint = bind()
    cfg = load(config)
    cfg.merge_from_dict(KINDS[kind])
    found = deny_checkpoint(cfg, checkpoint, tmp_path / 'out', iterations=3, lr_scale=1.0, wrong_keys=1)
    assert [one['iteration'] for one in found['history']] == [0, 1, 2, 3]
    assert ProtectedModel(load(tmp_path / 'out' / config.name), found['checkpoint'])


@pytest.mark.slow
def test_two_processes(bind, tmp_path):
    config, checkpoint = bind(features=dict(stages='all'))
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    command += ['-m', 'mmseg_keyprotect', 'deny', config, checkpoint, '-o', tmp_path / 'out', '--iterations', 2]
    command += ['--wrong-keys', 1, '--launcher', 'pytorch']
    variables = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([*map(str, command)], env=variables, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('checkpoint: ') == 1
    found = json.loads((tmp_path / 'out' / 'denial.json').read_text())
    alone = deny_checkpoint(load(config), checkpoint, tmp_path / 'alone', iterations=1, wrong_keys=1)
    assert found['start']['mIoU'] == alone['start']['mIoU']  # all images count once
    assert ProtectedModel(load(config), found['checkpoint'])


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_needs_a_gpu(bind, tmp_path, capsys):
    config, checkpoint = bind()
    with pytest.raises(SystemExit):
        main(['deny', str(config), str(checkpoint), '--amp', '-o', str(tmp_path / 'out')])
    assert '--amp needs a GPU' in capsys.readouterr().err


class TestBadInput:
    def refused(self, cfg, checkpoint, folder, words, **options):
        with pytest.raises(ConfigError, match=words):
            deny_checkpoint(cfg, checkpoint, folder, **options)
        assert not folder.exists()

    def test_a_model_that_is_not_bound(self, bind, tmp_path):
        bind()
        plain = load(tmp_path / 'my_config.py')
        self.refused(plain, tmp_path / 'my_model.pth', tmp_path / 'out', 'block stem or encrypted feature maps')

    @pytest.mark.parametrize(
        ('options', 'words'),
        [
            (dict(iterations=0), 'at least 1 iteration'),
            (dict(lr_scale=0.0), 'learning rate above 0'),
            (dict(lr_scale=float('nan')), 'learning rate above 0'),
            (dict(wrong_keys=0), 'at least 1 wrong key'),
            (dict(images=0), 'at least 1 wrong key'),
            (dict(weight=-1), 'denial.weight'),
        ],
    )
    def test_numbers(self, options, words, bind, tmp_path):
        config, checkpoint = bind()
        self.refused(load(config), checkpoint, tmp_path / 'out', words, **options)

    @pytest.mark.parametrize('name', ['train_dataloader', 'val_dataloader', 'optim_wrapper'])
    def test_no_training(self, name, bind, tmp_path):
        config, checkpoint = bind()
        cfg = load(config)
        cfg[name] = None
        self.refused(cfg, checkpoint, tmp_path / 'out', f'with {name}')

    def test_no_learning_rate(self, bind, tmp_path):
        config, checkpoint = bind()
        cfg = load(config)
        cfg.optim_wrapper.optimizer.pop('lr')
        self.refused(cfg, checkpoint, tmp_path / 'out', 'optim_wrapper.optimizer with a learning rate')

    def test_a_checkpoint_of_another_key_or_of_none(self, bind, tmp_path, other_key_file, capsys):
        config, checkpoint = bind()
        words = ['--iterations', '1', '-o', str(tmp_path / 'out')]
        assert main(['deny', str(config), str(checkpoint), '--key-file', str(other_key_file), *words]) == 1
        assert main(['deny', str(config), str(tmp_path / 'my_model.pth'), *words]) == 1
        assert main(['deny', str(config), str(tmp_path / 'nothing.pth'), *words]) == 1
        text = capsys.readouterr().err
        assert text.count('error: Expected') == 3
        assert not (tmp_path / 'out').exists()


def test_no_key_in_what_it_writes(bind, tmp_path):
    config, checkpoint = bind()
    deny_checkpoint(load(config), checkpoint, tmp_path / 'out', iterations=1, wrong_keys=1)
    secret = bytes(range(32))  # that of the fixture
    files = [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]
    assert len(files) > 4
    for path in files:
        found = path.read_bytes()
        assert secret not in found
        assert base64.urlsafe_b64encode(secret)[:40] not in found
