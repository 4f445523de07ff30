"""What a user sees of `train`, `test` and `demo`: errors in two lines, and no dump of the configuration."""

import json
import re
from pathlib import Path

import pytest
import torch

from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.engine.weights_only import load_weights_only


@pytest.fixture
def config(tiny, tmp_path):
    tiny().dump(tmp_path / 'protected.py')
    return str(tmp_path / 'protected.py')


@pytest.fixture
def plain(tiny, tmp_path):
    tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py').dump(tmp_path / 'plain.py')
    return str(tmp_path / 'plain.py')


@pytest.fixture
def work(tmp_path):
    return str(tmp_path / 'work')


def run(*words, capfd, code=0):
    """Run a command; return what it wrote to stdout and stderr."""
    capfd.readouterr()
    assert main(list(map(str, words))) == code
    return capfd.readouterr()


def test_train_shows_iterations_and_tables_and_its_log_has_the_rest(config, work, tmp_path, capfd):
    shown = run('train', config, '--work-dir', work, capfd=capfd).out
    assert re.search(r'Iter\(train\) \[2/2\].* loss: \d', shown)
    assert 'Saving checkpoint at 2 iterations' in shown
    assert re.search(r'building .*\|', shown)
    assert re.search(r'mIoU: \d', shown)
    assert len(shown.splitlines()) < 40
    (log,) = (tmp_path / 'work').glob('*/*.log')
    text = log.read_text()
    for dump in ('System environment', 'Config:\n', 'Hooks will be executed'):
        assert dump in text
        assert dump not in shown
    assert 'Iter(train)' in text
    whole = run('train', config, '--work-dir', work, '--verbose', capfd=capfd)
    assert 'System environment' in whole.out


class TestErrors:
    """Each is an error and a hint, and nothing else but what the run had printed before."""

    @pytest.fixture
    def checkpoint(self, config, work, capfd):
        run('train', config, '--work-dir', work, capfd=capfd)
        return f'{work}/iter_2.pth'

    def refused(self, *words, capfd):
        out, err = run(*words, capfd=capfd, code=1)
        assert [line.partition(' ')[0] for line in err.splitlines()] == ['error:', 'hint:']
        assert len(out.splitlines()) < 5
        assert 'Traceback' not in out
        return err

    def test_no_key(self, config, work, monkeypatch, capfd):
        monkeypatch.delenv('KEYPROTECT_KEY_FILE')
        err = self.refused('train', config, '--work-dir', work, capfd=capfd)
        assert 'keyprotect keygen' in err

    def test_another_key(self, config, work, checkpoint, other_key_file, monkeypatch, capfd):
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        words = ['test', config, checkpoint, '--work-dir', work]
        assert 'but got one of the key' in self.refused(*words, capfd=capfd)
        assert 'Traceback' in run(*words, '--debug', capfd=capfd, code=1).err

    def test_an_unprotected_checkpoint(self, config, work, checkpoint, tmp_path, capfd):
        state = load_weights_only(checkpoint, 'checkpoint')['state_dict']
        state.pop('data_preprocessor.protection')
        torch.save(dict(state_dict=state), tmp_path / 'plain.pth')
        err = self.refused('test', config, tmp_path / 'plain.pth', '--work-dir', work, capfd=capfd)
        assert 'names no key' in err

    @pytest.mark.parametrize('command', ['train', 'test', 'evaluate', 'audit', 'demo'])
    def test_missing_data(self, command, config, plain, work, checkpoint, tmp_path, capfd):
        none = str(tmp_path / 'none')
        split = 'train' if command in ('train', 'demo') else 'test'
        words = {
            'train': [config, '--work-dir', work],
            'test': [config, checkpoint, '--work-dir', work],
            'demo': ['--config', plain, '--data', tmp_path, '-o', tmp_path / 'demo'],
        }.get(command, [config, checkpoint, '-o', tmp_path / 'out'])
        if command == 'demo':  # a folder that is there, and holds other things
            none = str(tmp_path)
        else:
            words += ['--cfg-options', f'{split}_dataloader.dataset.data_root={none}']
        err = self.refused(command, *words, capfd=capfd)
        assert f'({split}_dataloader.dataset.data_root = {none!r})' in err
        assert 'dataset_prepare' in err


@pytest.mark.slow
def test_an_attack_that_initialises_a_model_does_not_flood_the_audit(config, work, tmp_path, capfd):
    """mmengine logs how each parameter was initialised, where there is no log file."""
    run('train', config, '--work-dir', work, capfd=capfd)
    words = [
        'audit',
        config,
        f'{work}/iter_2.pth',
        '--attacks',
        'from-scratch',
        '--minutes',
        '0.01',
        '-o',
        tmp_path / 'a',
    ]
    out, err = run(*words, '--images', '2', '--held-out', '1', capfd=capfd)
    assert '1/1 from-scratch' in out
    assert 'from-scratch, seconds: ' in err
    assert 'Initialized by' not in out + err
    assert len((out + err).splitlines()) < 25


@pytest.mark.slow
def test_the_demo_is_short_and_shows_how_far_it_is(plain, scenes, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr('mmseg_keyprotect.demo.run.DENIAL_ITERATIONS', 2)
    for number in (1, 2):
        words = ['demo', '--config', plain, '--data', scenes, '--wrong-keys', '1', '-o', tmp_path / 'demo']
        out, err = run(*words, capfd=capfd)
        folder = tmp_path / 'demo' / f'run_{number}'
        assert len((out + err).splitlines()) < 60
        assert re.search(r'training: 2/2, loss \d', err)
        assert re.search(r'testing: 3/3', err)
        assert f'report: {folder}/access/report.html\ngallery: {folder}/access/gallery.png\n' in out
        assert 'unprotected' in out
        (log,) = re.findall(r'log: (.+)', out)
        assert 'System environment' in Path(log).read_text()
        assert json.loads((folder / 'access' / 'access.json').read_text())['images'] == 3
        assert (folder / 'access' / 'gallery.png').is_file()


def test_the_demo_binds_an_unprotected_config(config, scenes, tmp_path, capfd):
    words = ['demo', '--config', config, '--data', scenes, '-o', tmp_path / 'demo']
    assert 'Expected an unprotected configuration' in run(*words, capfd=capfd, code=1).err
    assert not (tmp_path / 'demo').exists()
