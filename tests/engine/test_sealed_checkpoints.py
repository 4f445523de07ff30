"""Checkpoints that are sealed as they are saved, in real runs of MMSegmentation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.apis import MMSegInferencer, inference_model, init_model

from helpers import ROOT
from mmseg_keyprotect.engine.sealed_checkpoints import SealedBackend, is_sealed, load_from_sealed
from mmseg_keyprotect.errors import ConfigError, KeyFileError, SealedFileError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.protection import protect_checkpoint, rekey_checkpoint
from mmseg_keyprotect.protection.checkpoints import read_checkpoint
from mmseg_keyprotect.sealing import KeyRecipient, file_info, seal_file, unseal_file


def sealed_run(tiny, **options):
    """Train two iterations with sealed checkpoints."""
    cfg = tiny(**options)
    cfg.custom_hooks = [dict(type='KeyGuardHook', seal=True)]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return cfg, runner


def sealed_path(folder, iteration):
    """Return the path of a checkpoint that a run in ``folder`` has saved."""
    return f'sealed://{folder / "work"}/iter_{iteration}.pth'


def weights_in(folder, state):
    """Return the names of the files that hold bytes of plain weights."""
    needles = [tensor.numpy().tobytes()[:48] for tensor in state.values() if tensor.numel() * 4 > 400][:40]
    found = []
    for file in Path(folder).rglob('*'):
        if file.is_file() and any(needle in file.read_bytes() for needle in needles):
            found.append(file.name)
    return found


def test_train_seal_and_load_everywhere(tiny, tmp_path, key, scenes):
    cfg, runner = sealed_run(tiny)
    path = tmp_path / 'work' / 'iter_2.pth'
    state = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
    assert file_info(path)['key_id'] == key.key_id
    assert weights_in(tmp_path, state) == []
    assert (tmp_path / 'work' / 'last_checkpoint').read_text() == f'sealed://{path}'
    with pytest.raises(Exception, match='.'):
        torch.load(path, weights_only=True)

    image = str(next((scenes / 'images' / 'val').iterdir()))
    model = init_model(cfg, f'sealed://{path}', device='cpu')
    expected = inference_model(model, image).pred_sem_seg.data
    config = tmp_path / 'tiny.py'
    cfg.dump(config)
    inferencer = MMSegInferencer(str(config), f'sealed://{path}', device='cpu')
    assert (torch.from_numpy(inferencer(image, return_datasamples=False)['predictions']) == expected[0]).all()

    resumed = tiny(resume=True)
    resumed.custom_hooks = [dict(type='KeyGuardHook', seal=True)]
    resumed.train_cfg.max_iters = 4
    again = Runner.from_cfg(resumed)
    again.train()
    assert again.iter == 4
    checkpoint = load_from_sealed(sealed_path(tmp_path, 4))
    assert checkpoint['optimizer']['state']  # the optimizer's state is sealed with them
    assert weights_in(tmp_path, again.model.state_dict()) == []
    assert not path.exists()  # max_keep_ckpts=1 works through the scheme
    assert read_checkpoint(sealed_path(tmp_path, 4))[1]['keyprotect']['key_id'] == key.key_id


@pytest.mark.slow
def test_the_best_checkpoint_is_sealed(tiny, tmp_path):
    """``save_best`` follows the scheme: the better checkpoint replaces the first, and is sealed."""
    options = dict(save_best='mIoU', max_keep_ckpts=2)
    options = {f'default_hooks.checkpoint.{name}': value for name, value in options.items()}
    _, runner = sealed_run(tiny, **{'train_cfg.max_iters': 4, **options})
    (best,) = (tmp_path / 'work').glob('best_mIoU_iter_*.pth')
    assert runner.message_hub.get_info('best_ckpt') == f'sealed://{best}'
    state = load_from_sealed(f'sealed://{best}')['state_dict']
    assert weights_in(tmp_path, state) == []
    same = load_from_sealed(sealed_path(tmp_path, best.stem.split('_')[-1]))['state_dict']
    assert all(torch.equal(value, same[name]) for name, value in state.items())


def test_the_search_finds_plain_weights(tiny, tmp_path):
    """The search above finds weights that are plain."""
    cfg = tiny()
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert weights_in(tmp_path, runner.model.state_dict()) == ['iter_2.pth']


def test_no_file_but_the_sealed_one_is_written(tiny, tmp_path):
    """Record every file that the process opens for writing while it trains, saves and loads."""
    cfg = tiny()
    cfg.custom_hooks = [dict(type='KeyGuardHook', seal=True)]
    config = tmp_path / 'tiny.py'
    cfg.dump(config)
    code = f"""
import os, sys
written, removed = set(), [0]
def watch(event, arguments):
    if event == 'open' and isinstance(arguments[0], (str, bytes, os.PathLike)):
        mode, flags = arguments[1], arguments[2]
        if (mode and set(mode) & set('wax+')) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.add(os.fsdecode(arguments[0]))
    if event == 'os.remove' and os.path.isfile(arguments[0]):
        removed.append(os.path.getsize(arguments[0]))
sys.addaudithook(watch)
import mmseg_keyprotect
from mmengine.config import Config
from mmengine.runner import Runner
Runner.from_cfg(Config.fromfile({str(config)!r})).train()
cfg = Config.fromfile({str(config)!r})
cfg.load_from = {sealed_path(tmp_path, 2)!r}
cfg.visualizer.name = 'again'
Runner.from_cfg(cfg).test()
print('WRITTEN', *sorted(written))
print('REMOVED', max(removed))
"""
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = {
        line.split()[0]: line.split()[1:]
        for line in done.stdout.splitlines()
        if line.startswith(('WRITTEN', 'REMOVED'))
    }
    here = [Path(path).relative_to(tmp_path) for path in lines['WRITTEN'] if Path(path).is_relative_to(tmp_path)]
    large = [path for path in map(Path, lines['WRITTEN']) if path.is_file() and path.stat().st_size > 10**6]
    others = [path.name for path in here if path.suffix not in ('.log', '.py', '.json')]
    # the sealed file has no name while it is written: the folder is opened in its place, which gives a file without one
    assert others == ['work', 'last_checkpoint']
    assert large == []
    assert int(lines['REMOVED'][0]) < 10**5  # no file that was removed again can have held the weights
    assert (tmp_path / 'work' / 'iter_2.pth').stat().st_size > 10**6


def test_a_run_that_ends_as_it_saves_leaves_a_checkpoint(tiny, tmp_path, monkeypatch):
    """mmengine deletes the last checkpoint before it saves the next; the backend deletes it afterwards."""
    options = {'train_cfg.max_iters': 4, 'default_hooks.checkpoint.max_keep_ckpts': 1}
    put, calls = SealedBackend.put, []

    def killed(self, obj, filepath):
        calls.append(filepath)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put(self, obj, filepath)

    monkeypatch.setattr(SealedBackend, 'put', killed)
    with pytest.raises(KeyboardInterrupt):
        sealed_run(tiny, **options)
    named = (tmp_path / 'work' / 'last_checkpoint').read_text()
    assert load_from_sealed(named)['meta']['iter'] == 2
    monkeypatch.setattr(SealedBackend, 'put', put)
    _, runner = sealed_run(tiny, resume=True, **options)
    assert runner.iter == 4
    assert sorted(path.name for path in (tmp_path / 'work').glob('*.pth')) == ['iter_4.pth']


def test_pretrained_backbones(tiny, tmp_path, key):
    cfg = tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py')
    runner = Runner.from_cfg(cfg)
    backbone = {name: tensor for name, tensor in runner.model.backbone.state_dict().items()}
    torch.save(backbone, tmp_path / 'plain.pth')
    seal_file(tmp_path / 'plain.pth', tmp_path / 'backbone.pth', [KeyRecipient(key)])
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=f'sealed://{tmp_path}/backbone.pth')
    cfg.work_dir = str(tmp_path / 'second')
    cfg.visualizer.name = 'second'
    second = Runner.from_cfg(cfg)
    second.model.init_weights()
    for name, tensor in second.model.backbone.state_dict().items():
        assert torch.equal(tensor, backbone[name]), name


@pytest.mark.slow
def test_mmsegs_own_tool(tiny, tmp_path):
    cfg, _ = sealed_run(tiny)
    config = tmp_path / 'tiny.py'
    cfg.dump(config)
    words = [
        ROOT / 'tools' / 'test.py',
        config,
        sealed_path(tmp_path, 2),
        '--work-dir',
        tmp_path / 'test',
    ]
    done = subprocess.run([sys.executable, *map(str, words)], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert 'mIoU' in done.stdout + done.stderr


def test_wrong_and_missing_keys(tiny, tmp_path, other_key_file, monkeypatch):
    sealed_run(tiny)
    path = sealed_path(tmp_path, 2)
    monkeypatch.setenv('KEYPROTECT_SEAL_KEY_FILE', str(other_key_file))
    with pytest.raises(WrongKeyError, match='one of the recipients'):
        CheckpointLoader.load_checkpoint(path)
    monkeypatch.setenv('KEYPROTECT_SEAL_KEY_FILE', str(tmp_path / 'none.key'))
    with pytest.raises(KeyFileError, match=r'none\.key'):
        CheckpointLoader.load_checkpoint(path)
    monkeypatch.delenv('KEYPROTECT_SEAL_KEY_FILE')
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    with pytest.raises(WrongKeyError, match='but got'):
        CheckpointLoader.load_checkpoint(path)


def test_a_missing_key_is_found_before_the_training(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_SEAL_KEY_FILE', str(tmp_path / 'none.key'))
    with pytest.raises(KeyFileError, match=r'none\.key'):
        sealed_run(tiny)
    assert not (tmp_path / 'work' / 'iter_2.pth').exists()


@pytest.mark.parametrize(
    'elsewhere',
    [dict(backend_args=dict(backend='local')), dict(file_client_args=dict(backend='disk')), dict(out_dir='s3://b/x')],
)
def test_checkpoints_that_would_be_plain_are_refused(elsewhere, tiny, tmp_path):
    cfg = tiny()
    cfg.default_hooks.checkpoint.update(elsewhere)
    cfg.custom_hooks = [dict(type='KeyGuardHook', seal=True)]
    with pytest.raises(ConfigError, match='on the local disk'):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize('place', [0, 40, 2000, -1, 0.5])
def test_damage_is_found_while_loading(tiny, tmp_path, place):
    sealed_run(tiny)
    path = tmp_path / 'work' / 'iter_2.pth'
    data = bytearray(path.read_bytes())
    data[int(len(data) * place) if isinstance(place, float) else place] ^= 1
    path.write_bytes(data)
    with pytest.raises(SealedFileError):
        CheckpointLoader.load_checkpoint(f'sealed://{path}')


def test_a_sealed_file_is_recognised_without_its_scheme(tmp_path, key, key_file, other_key, monkeypatch):
    """Every loader opens it with the key at hand. torch's error advised to turn weights_only off."""
    torch.save(dict(state_dict=dict(w=torch.ones(2))), tmp_path / 'plain.pth')
    path = str(tmp_path / 'sealed.pth')
    seal_file(tmp_path / 'plain.pth', path, [KeyRecipient(key)])
    assert CheckpointLoader.load_checkpoint(path)['state_dict']['w'].tolist() == [1, 1]
    assert read_checkpoint(path)[0]['w'].tolist() == [1, 1]
    assert (is_sealed(path), is_sealed(tmp_path / 'plain.pth'), is_sealed(tmp_path / 'none.pth')) == (
        True,
        False,
        False,
    )
    other_key.save(tmp_path / 'their.key')
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(tmp_path / 'their.key'))
    for read in (CheckpointLoader.load_checkpoint, read_checkpoint):
        with pytest.raises(WrongKeyError, match='Expected one of the recipients'):
            read(path)


def test_code_in_a_sealed_checkpoint_is_refused(tmp_path, key, key_file):
    torch.save(dict(state_dict={}, code=os.system), tmp_path / 'evil.pth')
    seal_file(tmp_path / 'evil.pth', tmp_path / 'sealed.pth', [KeyRecipient(key)])
    with pytest.raises(Exception, match='unsupported GLOBAL'):
        CheckpointLoader.load_checkpoint(f'sealed://{tmp_path}/sealed.pth')


def test_the_backend_reads_what_it_writes(tmp_path, key_file):
    backend, path = SealedBackend(), f'sealed://{tmp_path}/folder/x'
    backend.put(b'one', path)
    backend.put(b'two', path)
    assert backend.get(path) == b'two'
    assert (backend.exists(path), backend.isfile(path), backend.isdir(path)) == (True, True, False)
    assert b'two' not in (tmp_path / 'folder' / 'x').read_bytes()
    assert [file.name for file in (tmp_path / 'folder').iterdir()] == ['x']
    mmengine.dump(dict(a='secret'), f'{path}.json')
    assert mmengine.load(f'{path}.json') == dict(a='secret')
    assert b'secret' not in (tmp_path / 'folder' / 'x.json').read_bytes()
    for copy in (backend.copyfile, backend.copyfile_to_local, backend.get_local_path):
        with pytest.raises(NotImplementedError, match='Copy sealed files as they are'):
            copy(path, str(tmp_path / 'plain'))
    backend.remove(f'{path}.json')
    backend.remove(path)
    backend.rmtree(f'sealed://{tmp_path}/folder')
    assert not (tmp_path / 'folder').exists()


@pytest.mark.slow
def test_protected_and_sealed_in_one_go(tiny, tmp_path, key, key_file, other_key, other_key_file):
    cfg = tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py')
    Runner.from_cfg(cfg).train()
    config, checkpoint = tmp_path / 'plain.py', tmp_path / 'work' / 'iter_2.pth'
    cfg.dump(config)
    words = [ROOT / 'tools' / 'protect_checkpoint.py', config, checkpoint, '--key-file', key_file, '--seal', '--verify']
    environment = {name: value for name, value in os.environ.items() if name != 'KEYPROTECT_KEY_FILE'}
    done = subprocess.run(
        [sys.executable, *map(str, words), '-o', str(tmp_path / 'out')],
        text=True, capture_output=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f'sealed://{tmp_path}/out/iter_2.pth' in done.stdout
    assert json.loads((tmp_path / 'out' / 'verification.json').read_text())['images'] == 3
    unseal_file(tmp_path / 'out' / 'iter_2.pth', tmp_path / 'open.pth', key)
    state, meta = read_checkpoint(tmp_path / 'open.pth')
    assert meta['keyprotect']['key_id'] == key.key_id
    assert weights_in(tmp_path / 'out', state) == []
    seal_file(checkpoint, tmp_path / 'sealed.pth', [KeyRecipient(key)])
    protect_checkpoint(config, tmp_path / 'sealed.pth', tmp_path / 'again')
    assert file_info(tmp_path / 'again' / 'sealed.pth')['key_id'] == key.key_id  # a sealed source gives a sealed result
    new_key = dict(type='KeyFile', path=str(other_key_file))
    old = tmp_path / 'out' / 'iter_2.pth'
    rekey_checkpoint(tmp_path / 'out' / 'plain.py', old, tmp_path / 'other.pth', new_key)
    assert file_info(tmp_path / 'other.pth')['key_id'] == other_key.key_id
    plain_folder = protect_checkpoint(config, checkpoint, tmp_path / 'unsealed')[1]
    assert weights_in(tmp_path / 'unsealed', read_checkpoint(plain_folder)[0]) == ['iter_2.pth']
    assert isinstance(Config.fromfile(tmp_path / 'out' / 'plain.py'), Config)
    assert SecretKey.load(key_file) == key
