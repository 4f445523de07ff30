"""MMSegmentation's own command lines, as ``keyprotect train`` and ``keyprotect test`` run them."""

import sys
from pathlib import Path

import pytest
import torch

from mmseg_keyprotect.engine import mmseg_tools
from mmseg_keyprotect.engine.mmseg_tools import run_mmseg_tool, wrapped_on_the_cpu
from mmseg_keyprotect.errors import LeakedKeyError, MissingFileError


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
    run_mmseg_tool('train', [config, '--work-dir', 'out'])
    ((script, *words),) = calls
    assert Path(script).is_file()
    assert Path(script).parts[-4:] == ('mmseg', '.mim', 'tools', 'train.py')
    assert words == [config, '--work-dir', 'out']
    assert sys.argv == before


@pytest.mark.parametrize('launcher', [['--launcher', 'pytorch'], ['--launcher=pytorch']])
def test_without_a_gpu_the_processes_join_by_gloo(launcher, config, calls):
    run_mmseg_tool('test', [config, 'a.pth', *launcher])
    joined, (_, *words) = calls
    assert joined == 'joined'
    assert words == [config, 'a.pth', *launcher, '--cfg-options', 'model_wrapper_cfg.device_ids=None']


def test_options_that_are_there_stay():
    words = ['c.py', '--cfg-options', 'a=1', '--amp']
    expected = ['c.py', '--cfg-options', 'model_wrapper_cfg.device_ids=None', 'a=1', '--amp']
    assert wrapped_on_the_cpu(words) == expected


@pytest.mark.parametrize('launcher', [[], ['--launcher', 'none'], ['--work-dir', 'pytorch', '--launcher', 'slurm']])
def test_one_process_is_not_joined(launcher, config, calls):
    run_mmseg_tool('train', [config, *launcher])
    assert len(calls) == 1


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['none.py'], r'but none\.py does not exist'),
        (['none.py', '--resume'], r'but none\.py does not exist'),
        (['folder'], 'but the command line names none'),
    ],
)
def test_a_missing_config_is_named(words, message, calls):
    with pytest.raises(MissingFileError, match=message):
        run_mmseg_tool('train', words)
    assert calls == []


def test_a_key_in_the_config_is_refused(config, calls, key_file):
    Path(config).write_text(f'note = {key_file.read_text().splitlines()[-1]!r}\n')
    with pytest.raises(LeakedKeyError):
        run_mmseg_tool('train', [config])
    assert calls == []
