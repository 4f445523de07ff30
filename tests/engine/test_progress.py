"""A bar on a terminal, a few lines elsewhere."""

import pytest

from mmseg_keyprotect.engine import progress as module
from mmseg_keyprotect.engine.progress import LINE_EVERY, LINES, TaskProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, 'monotonic', lambda: now[0])
    return now


def test_few_lines_where_there_is_no_terminal(clock, capsys):
    with TaskProgress('training', 400) as progress:
        for _ in range(400):
            clock[0] += 1
            progress.advance('loss 0.5')
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 400 // LINE_EVERY + 1
    assert lines[0] == 'training: 1/400, loss 0.5'
    assert lines[-2].startswith('training: 391/400, 9 s left')
    assert lines[-1] == 'training: 400/400, loss 0.5'


def test_a_long_task_has_few_lines_too(clock, capsys):
    with TaskProgress('training', 1000) as progress:
        for _ in range(1000):
            clock[0] += 60
            progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + LINES
    assert lines[1] == 'training: 51/1000, 949 min left'


def test_the_time_left_counts_this_run_alone(clock, capsys):
    """And neither what came before it nor its preparation, up to the first step."""
    with TaskProgress('testing', 28, done=8) as progress:
        clock[0] += 1000
        progress.advance()
        for _ in range(10):
            clock[0] += 5
            progress.advance()
    assert capsys.readouterr().err == 'testing: 9/28\ntesting: 15/28, 65 s left\n'


def test_one_of_several_processes_shows_it(capsys):
    with TaskProgress('testing', 2, shown=False) as progress:
        progress.advance()
    assert capsys.readouterr() == ('', '')


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv('FORCE_COLOR', '1')  # rich then takes any stream for a terminal
    monkeypatch.setenv('COLUMNS', '120')
    with TaskProgress('training', 2) as progress:
        progress.reach(2, 'loss 0.5')
    err = capsys.readouterr().err
    assert '━' in err
    assert '100%' in err
    assert 'loss 0.5' in err
    assert 'training: ' not in err
