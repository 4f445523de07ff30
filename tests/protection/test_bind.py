"""A trained model is bound to a key and moved to another key, and its predictions stay the same."""

import copy
import json
import pickle
import runpy
import time
import warnings

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

from helpers import NEGATIVE, ROOT, SHUFFLE
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config import protect_config
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    BlockAlignmentError,
    CheckpointError,
    ConfigError,
    KeyFileError,
    MissingFileError,
    OutputError,
    WrongKeyError,
)
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.keys.identity import META_KEY
from mmseg_keyprotect.protection import protect_checkpoint, rekey_checkpoint
from mmseg_keyprotect.protection.checkpoints import read_checkpoint
from mmseg_keyprotect.protection.verify import verify_protection

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def trained(tiny, tmp_path):
    """A plain configuration file and a checkpoint of it, as mmengine saves them."""
    cfg = tiny(PLAIN)
    whole_blocks = dict(type='Resize', scale=(112, 96), keep_ratio=False)
    cfg.test_dataloader.dataset.pipeline.insert(1, whole_blocks)
    cfg.dump(tmp_path / 'plain.py')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 1, 5)
            torch.nn.init.uniform_(module.bias, -1, 1)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=('a', 'b'), palette=[[0, 0, 0], [1, 1, 1]]), iter=2)
    optimizer = dict(state={0: dict(exp_avg=torch.full((3, 3), 7.0))})
    torch.save(dict(meta=meta, state_dict=model.state_dict(), optimizer=optimizer), tmp_path / 'plain.pth')
    return tmp_path / 'plain.py', tmp_path / 'plain.pth'


def logits(config, checkpoint, image):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = init_model(str(config), str(checkpoint), device='cpu')
        return inference_model(model, image).seg_logits.data


@pytest.fixture
def scene():
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize('cipher', [SHUFFLE, [SHUFFLE, NEGATIVE]], ids=['shuffle', 'both'])
def test_same_function_by_mmsegs_own_api(trained, tmp_path, scene, key_file, cipher):
    paths = protect_checkpoint(*trained, tmp_path / 'out', cipher, border='exact')
    assert paths == (tmp_path / 'out' / 'plain.py', tmp_path / 'out' / 'plain.pth')
    plain = logits(*trained, scene)
    assert plain.std() > 0.1
    torch.testing.assert_close(logits(*paths, scene), plain, atol=1e-5 * plain.abs().max().item(), rtol=0)


def test_the_grey_border_differs_a_little_and_says_so(trained, tmp_path, key_file):
    grey = protect_checkpoint(*trained, tmp_path / 'grey')
    exact = protect_checkpoint(*trained, tmp_path / 'exact', border='exact')
    found = {
        name: verify_protection(*trained, *paths, images=2) for name, paths in dict(grey=grey, exact=exact).items()
    }
    share = {name: result.logits / result.logit_range for name, result in found.items()}
    assert share['exact'] < 1e-5 < share['grey'] < 1
    assert found['exact'].plain == found['exact'].protected
    assert found['exact'].images == 2
    assert 'difference +0.00' in str(found['exact'])


def test_verify_sees_a_difference(trained, tmp_path, key_file):
    config, checkpoint = protect_checkpoint(*trained, tmp_path / 'out', border='exact')
    state = load_weights_only(checkpoint, 'checkpoint')
    state['state_dict']['backbone.layers.0.0.projection.weight'].neg_()
    torch.save(state, tmp_path / 'bad.pth')
    assert verify_protection(*trained, config, tmp_path / 'bad.pth', images=1).logits > 0.1


def test_what_the_checkpoint_holds(trained, tmp_path, key_file, key):
    _, path = protect_checkpoint(*trained, tmp_path / 'out')
    checkpoint = load_weights_only(path, 'checkpoint')
    assert sorted(checkpoint) == ['meta', 'state_dict']
    assert checkpoint['meta'][META_KEY] == dict(
        key_id=key.key_id, cipher='shuffle+negative-positive/M=4', spec_version=1
    )
    assert checkpoint['meta']['dataset_meta']['classes'] == ('a', 'b')
    assert checkpoint['meta']['cfg'] == (tmp_path / 'out' / 'plain.py').read_text()
    plain = load_weights_only(trained[1], 'checkpoint')['state_dict']
    state = checkpoint['state_dict']
    changed = {name for name in state if name not in plain or not torch.equal(state[name], plain[name])}
    stem = 'backbone.layers.0.0.projection.'
    assert changed == {f'{stem}{name}' for name in ('weight', 'bias', 'mean', 'std')} | {'data_preprocessor.protection'}
    everything = path.read_bytes() + (tmp_path / 'out' / 'plain.py').read_bytes()
    secret = bytes(range(32))
    assert secret not in everything
    assert secret.hex().encode() not in everything


def test_the_folder_can_be_moved(trained, tmp_path, key_file, scene):
    protect_checkpoint(*trained, tmp_path / 'out')
    (tmp_path / 'out').rename(tmp_path / 'moved')
    trained[0].unlink()
    logits(tmp_path / 'moved' / 'plain.py', tmp_path / 'moved' / 'plain.pth', scene)


def test_another_key_does_not_load_it(trained, tmp_path, key_file, other_key_file, scene, monkeypatch):
    paths = protect_checkpoint(*trained, tmp_path / 'out')
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
    with pytest.raises(WrongKeyError, match='names|key'):
        logits(*paths, scene)


def test_rekeyed_gives_the_same_and_back_restores_every_bit(
    trained, tmp_path, key_file, other_key_file, scene, monkeypatch, other_key
):
    config, checkpoint = protect_checkpoint(*trained, tmp_path / 'out', border='exact')
    new, old = (dict(type='KeyFile', path=str(path)) for path in (other_key_file, key_file))
    moved = rekey_checkpoint(config, checkpoint, tmp_path / 'moved.pth', new)
    before = logits(config, checkpoint, scene)
    back = rekey_checkpoint(config, moved, tmp_path / 'back.pth', old, new)
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
    torch.testing.assert_close(logits(config, moved, scene), before, atol=1e-5 * before.abs().max().item(), rtol=0)
    states = [read_checkpoint(path) for path in (checkpoint, moved, back)]
    assert all(torch.equal(states[0][0][name], states[2][0][name]) for name in states[0][0])
    stem = 'backbone.layers.0.0.projection.weight'
    assert not torch.equal(states[0][0][stem], states[1][0][stem])
    assert states[1][1][META_KEY]['key_id'] == other_key.key_id
    assert states[0][1] == states[2][1]


def test_a_key_that_is_missing_is_refused_before_a_model_is_built(
    trained, tmp_path, key_file, other_key_file, monkeypatch
):
    """Building a large model takes much longer than opening a file."""
    paths = protect_checkpoint(*trained, tmp_path / 'out')
    good, none = (dict(type='KeyFile', path=str(path)) for path in (other_key_file, tmp_path / 'none.key'))

    def build(*args):
        raise AssertionError('a model was built')

    monkeypatch.setattr('mmseg_keyprotect.protection.rekey.build_model', build)
    monkeypatch.setattr('mmseg_keyprotect.protection.bind.build_model', build)
    with pytest.raises(KeyFileError):
        rekey_checkpoint(*paths, tmp_path / 'x.pth', none)
    with pytest.raises(KeyFileError):
        rekey_checkpoint(*paths, tmp_path / 'x.pth', good, old_key=none)
    for cipher in (dict(SHUFFLE), None):
        with pytest.raises(KeyFileError):
            protect_checkpoint(*trained, tmp_path / 'x', cipher, none, features=dict(stages='all'))


def test_rekey_refuses(trained, tmp_path, key_file, other_key_file, tiny):
    config, checkpoint = protect_checkpoint(*trained, tmp_path / 'out')
    new = dict(type='KeyFile', path=str(other_key_file))
    with pytest.raises(WrongKeyError):
        rekey_checkpoint(config, checkpoint, tmp_path / 'x.pth', new, old_key=new)
    with pytest.raises(OutputError, match='exists and is never overwritten'):
        rekey_checkpoint(config, checkpoint, checkpoint, new)
    with pytest.raises(ConfigError, match='Expected a configuration protected by'):
        rekey_checkpoint(*trained, tmp_path / 'x.pth', new)
    tiny().dump(tmp_path / 'own_stem.py')
    with pytest.raises(ConfigError, match='Expected a model with a block stem'):
        rekey_checkpoint(tmp_path / 'own_stem.py', checkpoint, tmp_path / 'x.pth', new)
    assert not list(tmp_path.glob('*x.pth*'))


def test_refused_and_nothing_left(trained, tmp_path, key_file):
    config, checkpoint = trained
    before = sorted(tmp_path.iterdir())

    def refuse(error, match, *args, **kwargs):
        with pytest.raises(error, match=match):
            protect_checkpoint(*args, **kwargs)
        assert sorted(tmp_path.iterdir()) == before

    out = tmp_path / 'out'
    refuse(ConfigError, 'but got one that looks values up', config, checkpoint, out, dict(type='FFX', block_size=4))
    refuse(BlockAlignmentError, 'multiple of the stride 4', config, checkpoint, out, dict(SHUFFLE, block_size=6))
    refuse(ConfigError, 'border', config, checkpoint, out, border='black')
    refuse(MissingFileError, 'does not exist', config, tmp_path / 'none.pth', out)
    refuse(MissingFileError, 'does not exist', tmp_path / 'none.py', checkpoint, out)
    refuse(OutputError, 'to exist, but it does not', config, checkpoint, tmp_path / 'none' / 'out')
    out.mkdir()
    with pytest.raises(OutputError, match='never overwritten'):
        protect_checkpoint(config, checkpoint, out)
    assert not list(out.iterdir())


def test_bad_checkpoints_are_refused(trained, tmp_path, key_file):
    config, checkpoint = trained
    state = load_weights_only(checkpoint, 'checkpoint')
    cases = dict(
        lacks={name: value for name, value in state['state_dict'].items() if 'conv_seg' not in name},
        shape={**state['state_dict'], 'decode_head.conv_seg.weight': torch.zeros(3, 256, 1, 1)},
        empty={},
    )
    for name, case in cases.items():
        torch.save(dict(state_dict=case), tmp_path / f'{name}.pth')
        with pytest.raises(CheckpointError, match='Expected a checkpoint with'):
            protect_checkpoint(config, tmp_path / f'{name}.pth', tmp_path / 'out')
    (tmp_path / 'noise.pth').write_bytes(b'no checkpoint at all')
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:5000])
    for name in ('noise', 'cut'):
        with pytest.raises(CheckpointError, match='cannot be read'):
            protect_checkpoint(config, tmp_path / f'{name}.pth', tmp_path / 'out')
    protect_checkpoint(config, checkpoint, tmp_path / 'out')
    with pytest.raises(AlreadyEncryptedError, match='names a key'):
        protect_checkpoint(config, tmp_path / 'out' / 'plain.pth', tmp_path / 'twice')
    with pytest.raises(AlreadyEncryptedError):
        protect_checkpoint(tmp_path / 'out' / 'plain.py', checkpoint, tmp_path / 'twice')


class Boom:
    def __reduce__(self):
        return pytest.fail, ('a checkpoint has run code',)


def test_a_checkpoint_with_code_is_refused(trained, tmp_path, key_file):
    torch.save(dict(state_dict=dict(a=torch.zeros(1)), boom=Boom()), tmp_path / 'boom.pth')
    with pytest.raises(CheckpointError, match='cannot be read'):
        protect_checkpoint(trained[0], tmp_path / 'boom.pth', tmp_path / 'out')
    (tmp_path / 'pickle.pth').write_bytes(pickle.dumps(Boom()))
    with pytest.raises(CheckpointError, match='cannot be read'):
        protect_checkpoint(trained[0], tmp_path / 'pickle.pth', tmp_path / 'out')


def test_names_of_ddp(trained, tmp_path, key_file):
    state = load_weights_only(trained[1], 'checkpoint')['state_dict']
    torch.save({f'module.{name}': value for name, value in state.items()}, tmp_path / 'ddp.pth')
    _, one = protect_checkpoint(trained[0], tmp_path / 'ddp.pth', tmp_path / 'out')
    _, other = protect_checkpoint(*trained, tmp_path / 'other')
    assert all(torch.equal(*pair) for pair in zip(*(read_checkpoint(p)[0].values() for p in (one, other)), strict=True))


def test_resnet50_takes_seconds(tmp_path, key_file):
    from mmseg_keyprotect.config.view import load_config

    name = 'mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py'
    model = MODELS.build(Config(dict(model=load_config(name)['model'])).model)
    torch.save(dict(meta={}, state_dict=model.state_dict()), tmp_path / 'r50.pth')
    del model
    start = time.process_time()
    protect_checkpoint(name, tmp_path / 'r50.pth', tmp_path / 'out')
    assert time.process_time() - start < 60  # seconds of the processor, a few as a rule, on a loaded machine as well


def test_protect_config_with_a_stem(tmp_path, key_file):
    name = 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512.py'
    path = protect_config(name, tmp_path / 'stem.py', block_stem=dict(border='exact'))
    model = Config.fromfile(path).model
    assert (model.type, model.block_stem) == ('KeyedEncoderDecoder', dict(border='exact'))
    assert model.backbone.type == 'ResNetV1c'
    with pytest.raises(ConfigError, match='but got one that looks values up'):
        protect_config(name, tmp_path / 'ffx.py', dict(type='FFX', block_size=4), block_stem={})
    with pytest.raises(ConfigError, match='that can have a block stem'):
        protect_config('mmseg::vpd/vpd_sd_4xb8-25k_nyu-480x480.py', tmp_path / 'depth.py', block_stem={})


def test_access_of_a_protected_model(trained, tmp_path, key_file):
    config, checkpoint = protect_checkpoint(*trained, tmp_path / 'out')
    cfg = Config.fromfile(config)
    del cfg.test_dataloader.dataset.pipeline[1]  # images of 98 x 110 pixels, which are not whole blocks
    report = evaluate_access(cfg, str(checkpoint), tmp_path / 'access', wrong_keys=1, known=[], pictures=0)
    assert [row.who for row in report.rows] == ['correct key', 'no key', 'wrong key 1']


def command(*words):
    return main([*map(str, words)])


def test_the_commands(trained, tmp_path, key_file, other_key_file, monkeypatch, capsys):
    out = tmp_path / 'out'
    arguments = [*trained, '-o', out, '--key-file', key_file, '--border', 'exact', '--verify', '--images', 1]
    assert command('protect', *arguments) == 0
    assert 'difference +0.00' in capsys.readouterr().out
    assert json.loads((out / 'verification.json').read_text())['images'] == 1
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    rekey = [out / 'plain.py', out / 'plain.pth', '--old-key-file', key_file, '--new-key-file', other_key_file]
    assert command('rekey', *rekey, '-o', tmp_path / 'moved.pth') == 0
    assert (tmp_path / 'moved.pth').exists()
    assert command('protect', *arguments) == 1
    assert capsys.readouterr().err.startswith('error: Expected a new file or folder')
    assert command('rekey', *rekey[:2], *rekey[4:], '--old-key-file', other_key_file, '-o', 'x') == 1
    assert capsys.readouterr().err.startswith('error: Expected a checkpoint of the key')


@pytest.mark.slow
def test_the_benchmark(tmp_path, monkeypatch, capsys):
    config = ROOT / 'configs' / PLAIN
    arguments = [config, '--size', 64, 64, '--block-sizes', 4, 6, '--repeats', 1, '-o', tmp_path / 'cost.json']
    monkeypatch.setattr('sys.argv', ['benchmark_stem.py', *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / 'benchmark_stem.py'), run_name='__main__')
    rows = json.loads((tmp_path / 'cost.json').read_text())['models'][config.stem]
    assert [row['block_size'] for row in rows] == [None, 4]  # 6 is no multiple of the stride
    assert rows[0]['model_ms_ratio'] == 1
    assert 'segformer_mit-b0' in capsys.readouterr().out
