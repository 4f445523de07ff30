"""Models with encrypted feature maps are configured, bound, trained, loaded, evaluated and attacked."""

import copy
import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

from helpers import ROOT
from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config import protect_config
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError, WrongKeyError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.protection import protect_checkpoint, rekey_checkpoint
from mmseg_keyprotect.protection.checkpoints import read_checkpoint

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
DEEPLAB = 'deeplabv3plus/deeplabv3plus_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py'
ALL = dict(stages='all')
NAME = 'feature-shuffle+feature-sign/stages=all/C=32-64-160-256'


@pytest.fixture
def plain(tiny, tmp_path):
    """A plain configuration file and a checkpoint of random weights."""
    cfg = tiny(PLAIN)
    cfg.dump(tmp_path / 'plain.py')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save(dict(meta={}, state_dict=model.state_dict()), tmp_path / 'plain.pth')
    return tmp_path / 'plain.py', tmp_path / 'plain.pth'


def make_folder(path):
    path.mkdir()
    return path


def logits(config, checkpoint):
    scene = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return inference_model(init_model(str(config), str(checkpoint), device='cpu'), scene).seg_logits.data


def test_a_bound_model_is_the_same_by_mmsegs_own_api(plain, tmp_path, key_file, other_key_file, monkeypatch):
    paths = protect_checkpoint(*plain, tmp_path / 'out', cipher=None, features=ALL)
    expected = logits(*plain)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(*paths), expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
    state, meta = read_checkpoint(paths[1])
    assert meta['keyprotect']['cipher'] == NAME
    changed = {name for name, value in read_checkpoint(plain[1])[0].items() if not torch.equal(value, state[name])}
    assert changed
    assert all(name.startswith('backbone.') for name in changed)  # the heads stay
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
    with pytest.raises(WrongKeyError, match='Expected a checkpoint of the key'):
        logits(*paths)


def test_images_and_features_together(plain, tmp_path, key_file):
    paths = protect_checkpoint(*plain, tmp_path / 'out', border='exact', features=dict(stages=(1, 3)))
    expected = logits(*plain)
    torch.testing.assert_close(logits(*paths), expected, atol=1e-4 * expected.abs().max().item(), rtol=0)
    meta = read_checkpoint(paths[1])[1]
    assert meta['keyprotect']['cipher'] == (
        'shuffle+negative-positive/M=4,feature-shuffle+feature-sign/stages=1-3/C=64-256'
    )
    with pytest.raises(ConfigError, match='encrypts images alone'):
        rekey_checkpoint(*paths, tmp_path / 'new.pth', dict(type='KeyFile', path=str(key_file)))
    for features in (ALL, None):
        with pytest.raises(AlreadyEncryptedError):
            protect_checkpoint(*paths, tmp_path / 'again', features=features)


@pytest.fixture
def trained(plain, tmp_path):
    """A model that was trained for two iterations with encrypted feature maps: its configuration and checkpoint."""
    config = protect_config(plain[0], tmp_path / 'protected.py', cipher=None, features=ALL)
    cfg = Config.fromfile(config)
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    return cfg, tmp_path / 'work' / 'iter_2.pth'


@pytest.mark.filterwarnings('default')  # pytest.warns repeats those of OpenMMLab without their module
def test_trained_saved_resumed_and_the_key_nowhere(trained, tmp_path, key, other_key_file):
    cfg, checkpoint = trained
    checkpoint = shutil.copy(checkpoint, tmp_path / 'kept.pth')  # mmengine deletes the old ones
    saved = load_weights_only(checkpoint, 'checkpoint')
    assert saved['meta']['keyprotect'] == dict(key_id=key.key_id, cipher=NAME, spec_version=1)
    secret = bytes(range(32))
    for path in tmp_path.rglob('*'):
        if path.is_file() and not path.name.endswith('.key'):
            data = path.read_bytes()
            assert secret not in data
            assert secret.hex().encode() not in data
    again = cfg.copy()
    again.resume, again.load_from, again.train_cfg.max_iters = True, str(checkpoint), 3
    Runner.from_cfg(again).train()
    other = cfg.copy()
    other.load_from = str(checkpoint)
    other.model.feature_encryption.key = dict(type='KeyFile', path=str(other_key_file))
    with pytest.raises(WrongKeyError):
        Runner.from_cfg(other).test()
    unprotected = cfg.copy()
    unprotected.load_from = str(tmp_path / 'plain.pth')
    with pytest.raises(WrongKeyError, match='names no key'):
        Runner.from_cfg(unprotected).test()
    meant = unprotected.copy()
    meant.custom_hooks = [dict(type='KeyGuardHook', on_mismatch='warn')]
    with pytest.warns(UserWarning, match='on purpose'):
        Runner.from_cfg(meant).test()


def test_access_report(trained, tmp_path, key):
    report = evaluate_access(trained[0], str(trained[1]), tmp_path / 'report', 2, known=[50, 100], pictures=1, draws=1)
    assert [row.kind for row in report.rows] == ['correct', 'none', 'wrong', 'wrong', 'partly', 'partly']
    assert (report.key_id, report.cipher, report.key_space_bits) == (key.key_id, NAME, 256)
    scores = [row.scores for row in report.rows]
    assert scores[-1] == scores[0]  # a user who knows 100% of the key has the key
    assert len({(one.mIoU, one.aAcc, one.mAcc) for one in scores[:5]}) > 1
    assert (tmp_path / 'report' / 'report.html').exists()


def prediction(evaluation, user):
    return next(evaluation.predictions([user], 0)).seg_logits.data


def test_every_user_gets_another_prediction(plain, tmp_path, key_file):
    """No key, a wrong key and a partly right key each change the prediction, and the correct key restores it."""
    config, checkpoint = protect_checkpoint(*plain, tmp_path / 'out', features=ALL)
    evaluation = AccessEvaluation(Config.fromfile(config), str(checkpoint))
    users = evaluation.users(1, [50], draws=1)
    said = {who: prediction(evaluation, user) for who, user in users.items()}
    for one, first in said.items():
        for other, second in said.items():
            assert one == other or not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(prediction(evaluation, evaluation.correct), said['correct key'])


def test_fine_tuning_from_pretrained_weights_starts_as_the_plain_model_does(tmp_path, key_file, real_data):
    weights = real_data('weights') / 'mobilenet_v2_imagenet.pth'
    cfg = Config.fromfile(ROOT / 'configs' / DEEPLAB)
    cfg.model.backbone.init_cfg.checkpoint = str(weights)
    features = Config(protected(cfg.to_dict(), DEFAULT_CIPHER, block_stem=dict(border='exact'), features=ALL))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    out = {}
    for name, one in dict(plain=cfg, protected=features, unbound=features.copy()).items():
        if name == 'unbound':
            one.model.feature_encryption.bind = False
        model = MODELS.build(one.model)
        model.init_weights()
        model.eval()
        with torch.no_grad():
            inputs = model.data_preprocessor(dict(inputs=[images[0]]), False)['inputs']
            out[name] = torch.cat([x.flatten() for x in model.backbone(inputs)])
    scale = out['plain'].abs().max()
    assert (out['protected'] - out['plain']).abs().max() < 1e-4 * scale
    assert (out['unbound'] - out['plain']).abs().max() > 0.1 * scale


class TestTools:
    def run(self, tool, *words):
        return main([tool, *map(str, words)])

    def test_config(self, plain, tmp_path):
        out = tmp_path / 'new.py'
        assert self.run('protect', plain[0], '--cipher', 'none', '--features', '0', '3', 'blocks', '-o', out) == 0
        model = Config.fromfile(out).model
        assert model.type == 'KeyedEncoderDecoder'
        assert model.data_preprocessor.type == 'SegDataPreProcessor'
        cipher = [dict(type='FeatureShuffle'), dict(type='FeatureSign')]
        assert model.feature_encryption == dict(cipher=cipher, stages=[0, 3], blocks='all')

    @pytest.mark.slow
    def test_checkpoint_and_attack(self, plain, tmp_path, key_file, capsys):
        out = tmp_path / 'out'
        words = (
            '--cipher',
            'none',
            '--features',
            'all',
            '--feature-cipher',
            'shuffle',
            '-o',
            out,
            '--verify',
            '--images',
            2,
        )
        assert self.run('protect', *plain, *words) == 0
        assert 'difference +0.0' in capsys.readouterr().out
        words = (
            '--attacks',
            'un-key,known-pairs',
            '--images',
            2,
            '--steps',
            2,
            '--held-out',
            2,
            '-o',
            tmp_path / 'audit',
        )
        assert self.run('audit', out / 'plain.py', out / 'plain.pth', *words, '-o', tmp_path / 'audit') == 0
        pairs, trained = json.loads((tmp_path / 'audit' / 'audit.json').read_text())['findings']
        assert trained['sentence'].startswith('2 steps on 2 images')
        assert 0 <= trained['mIoU'] <= 100
        assert (pairs['verdict'], pairs['sentence']) == ('not applicable', 'Not applicable: images are not encrypted.')

    @pytest.mark.parametrize(
        ('words', 'message'),
        [
            (('--cipher', 'none'), 'something to encrypt'),
            (('--cipher', 'none', 'shuffle'), '--cipher none alone'),
            (('--features', 'every'), 'numbers of stages, or all, or blocks'),
            (('--features', 'all', '1'), 'numbers of stages, or all, or blocks'),
            (('--cipher', 'none', '--stem', '--features', 'all'), 'without a block stem'),
        ],
    )
    def test_bad_words(self, plain, tmp_path, words, message, capsys):
        assert self.run('protect', plain[0], *words, '-o', tmp_path / 'new.py') == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / 'new.py').exists()
