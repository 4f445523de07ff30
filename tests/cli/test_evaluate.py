"""`keyprotect evaluate` as a process: interrupted, in two processes, with a key where none belongs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.runner import Runner

from helpers.reports import report_of
from mmseg_keyprotect.cli.main import main

COMMAND = ['-m', 'mmseg_keyprotect', 'evaluate']

# A shell without job control starts background processes with SIGINT ignored, and their children inherit that.
INTERRUPTIBLE = (
    'import runpy, signal\n'
    'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
    "runpy.run_module('mmseg_keyprotect', run_name='__main__', alter_sys=True)"
)


@pytest.fixture
def arguments(tiny, tmp_path):
    """The arguments for a trained model."""
    cfg = tiny()
    Runner.from_cfg(cfg).train()
    config = tmp_path / 'protected.py'
    cfg.dump(config)
    return [str(config), str(tmp_path / 'work' / 'iter_2.pth'), '--pictures', '0', '-o', str(tmp_path / 'report')]


def run(*words, launcher=()):
    command = [sys.executable, *launcher, *COMMAND, *words]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.run(command, text=True, capture_output=True, env=environment)


@pytest.mark.slow
def test_ctrl_c_leaves_a_state_that_the_next_run_continues(arguments, tmp_path):
    words = [*arguments, '--wrong-keys', '30', '--draws', '2']
    with open(tmp_path / 'out.txt', 'w+') as out:
        process = subprocess.Popen([sys.executable, '-c', INTERRUPTIBLE, 'evaluate', *words], stdout=out, stderr=out)
        while process.poll() is None and '1/3' not in (tmp_path / 'out.txt').read_text():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert 'run the same command again to continue' in (tmp_path / 'out.txt').read_text()
    state = json.loads((tmp_path / 'report' / 'state_0.json').read_text())
    assert 1 <= state['done'] < 3
    assert sorted(path.name for path in (tmp_path / 'report').iterdir()) == ['state_0.json']
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert f'continuing after {state["done"]} of 3 images' in done.stdout
    report = json.loads((tmp_path / 'report' / 'access.json').read_text())
    assert len(report['rows']) == 2 + 30 + 4 * 2
    assert [key['draws'] for key in report['random_keys']] == [30, 2, 2, 2, 2]


@pytest.mark.slow
def test_two_processes_count_what_one_counts(arguments, tmp_path):
    words = [*arguments, '--wrong-keys', '0', '--known']
    alone = run(*words)
    assert alone.returncode == 0, alone.stderr
    os.rename(tmp_path / 'report', tmp_path / 'alone')
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    both = run(*words, '--launcher', 'pytorch', launcher=launcher)
    assert both.returncode == 0, both.stderr
    reports = [json.loads((tmp_path / name / 'access.json').read_text()) for name in ('alone', 'report')]
    assert reports[0]['rows'] == reports[1]['rows']
    assert both.stdout.count('floor: majority-class baseline') == 1


def test_a_key_on_the_command_line_is_refused(arguments, tmp_path, key_file):
    line = key_file.read_text().splitlines()[-1]
    done = run(*arguments, '--cfg-options', f'note={line}')
    assert done.returncode == 1
    assert [line.partition(' ')[0] for line in done.stderr.splitlines()] == ['error:', 'hint:']
    assert done.stderr.startswith('error: Expected no key')
    assert line not in done.stdout + done.stderr
    assert not (tmp_path / 'report').exists()


@pytest.mark.parametrize(
    ('words', 'lines'),
    [
        (('--draws', '7', '--seed', '3'), ['report: out/report.html', 'gallery: out/gallery.png']),
        (('--pictures', '0'), ['report: out/access.md']),
    ],
)
def test_the_last_lines_name_the_page_and_the_pictures(words, lines, monkeypatch, capsys, tmp_path):
    given = []
    monkeypatch.chdir(tmp_path)
    for name in ('a.py', 'a.pth'):
        Path(name).touch()
    monkeypatch.setattr('mmseg_keyprotect.cli.evaluate.model_config', lambda *_: None)
    monkeypatch.setattr(
        'mmseg_keyprotect.evaluation.evaluate.evaluate_access', lambda *args: given.extend(args) or report_of(53.0, 4.0)
    )
    main(['evaluate', 'a.py', 'a.pth', '-o', 'out', *words])
    assert capsys.readouterr().out.splitlines()[-len(lines) :] == lines
    assert given[-2:] == ([7, 3] if '--seed' in words else [5, None])


def test_the_demo_ends_likewise(monkeypatch, capsys):
    monkeypatch.setattr('mmseg_keyprotect.demo.run.run_demo', lambda *_: (report_of(53.0, 4.0), Path('out/access')))
    main(['demo'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ['report: out/access/report.html', 'gallery: out/access/gallery.png']
