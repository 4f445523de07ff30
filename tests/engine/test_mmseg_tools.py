"""MMSegmentation's own command lines, as ``keyprotect train`` and ``keyprotect test`` run them."""

import sys
from pathlib import Path

import pytest
import torch

from mmseg_keyprotect.engine import mmseg_tools
from mmseg_keyprotect.engine.mmseg_tools import run_mmseg_tool, wrapped_on_the_cpu
from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError, MissingFileError


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text('model = dict()\n')
    return str(path)


@pytest.fixture
def calls(monkeypatch):
    """The command lines that MMSegmentation's scripts would get, and whether the processes were joined."""
    found = []
    monkeypatch.setattr(mmseg_tools.runpy, 'run_path', lambda script, run_name: found.append([script, *sys.argv[1:]]))
    monkeypatch.setattr(mmseg_tools, 'join_processes', lambda: found.append('joined'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    return found


def test_the_script_gets_the_arguments_and_nothing_stays(config, calls):
    before = list(sys.argv)
    run_mmseg_tool('train', config, [config, '--work-dir', 'out'])
    ((script, *words),) = calls
    assert Path(script).is_file()
    assert Path(script).parts[-4:] == ('mmseg', '.mim', 'tools', 'train.py')
    assert words == [config, '--work-dir', 'out']
    assert sys.argv == before


@pytest.mark.parametrize('launcher', [['--launcher', 'pytorch'], ['--launcher=pytorch']])
def test_without_a_gpu_the_processes_join_by_gloo(launcher, config, calls):
    run_mmseg_tool('test', config, [config, 'a.pth', *launcher])
    joined, (_, *words) = calls
    assert joined == 'joined'
    assert words == [config, 'a.pth', *launcher, '--cfg-options', 'model_wrapper_cfg.device_ids=None']


def test_options_that_are_there_stay():
    words = ['c.py', '--cfg-options', 'a=1', '--amp']
    expected = ['c.py', '--cfg-options', 'model_wrapper_cfg.device_ids=None', 'a=1', '--amp']
    assert wrapped_on_the_cpu(words) == expected


@pytest.mark.parametrize('launcher', [[], ['--launcher', 'none'], ['--work-dir', 'pytorch', '--launcher', 'slurm']])
def test_one_process_is_not_joined(launcher, config, calls):
    run_mmseg_tool('train', config, [config, *launcher])
    assert len(calls) == 1


def test_a_missing_config_is_named(calls):
    with pytest.raises(MissingFileError, match=r'but none\.py does not exist'):
        run_mmseg_tool('train', 'none.py', ['none.py'])
    assert calls == []


def test_a_config_of_mmsegmentation_itself(calls):
    name = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    run_mmseg_tool('train', name, [name, '--work-dir', 'out'])
    ((_, path, *rest),) = calls
    assert Path(path).is_file()
    assert rest == ['--work-dir', 'out']


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({}, KeyFileError),
        ({'model.data_preprocessor.key': dict(type='KeyFile', path='none.key')}, KeyFileError),
        ({'model.data_preprocessor.size': (63, 63)}, ConfigError),
        ({'train_dataloader.dataset.pipeline.no_index': 1}, ConfigError),
    ],
)
def test_what_the_hook_would_refuse_is_refused_before_the_model_is_built(
    options, error, tiny, tmp_path, calls, monkeypatch
):
    tiny().dump(tmp_path / 'protected.py')
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    path = str(tmp_path / 'protected.py')
    with pytest.raises(error):
        run_mmseg_tool('train', path, [path], options)
    assert calls == []


def test_a_key_in_the_config_is_refused(config, calls, key_file):
    Path(config).write_text(f'note = {key_file.read_text().splitlines()[-1]!r}\n')
    with pytest.raises(LeakedKeyError):
        run_mmseg_tool('train', config, [config])
    assert calls == []
