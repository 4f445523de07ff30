"""Threads and processes: the same outcomes in order, few items at once, and nothing that outlives the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import ROOT
from helpers.data_sets import contents, write_data_set
from mmseg_keyprotect.errors import ImageFormatError, OutputError
from mmseg_keyprotect.shards import encrypt_data_set
from mmseg_keyprotect.shards.engines import engine_of, in_processes, in_threads


@pytest.mark.parametrize('engine', [in_threads, in_processes])
def test_outcomes_in_order(engine):
    assert list(engine(str, range(100), jobs=2)) == [str(number) for number in range(100)]
    assert list(engine(str, [], jobs=2)) == []


def test_few_items_are_under_way():
    begun = []
    results = in_threads(begun.append, iter(range(1000)), jobs=2)
    next(results)
    assert len(begun) < 20


def test_processes_are_others():
    assert os.getpid() not in set(in_processes(lambda _: os.getpid(), range(10), jobs=2))
    assert set(in_processes(lambda _: os.getpid(), range(10), jobs=1)) == {os.getpid()}
    assert engine_of('processes', local=False) is in_threads


def test_an_error_of_a_process():
    def refuse(item):
        raise ImageFormatError(f'Expected an image, but got {item}.')

    with pytest.raises(ImageFormatError, match='but got 0'):
        list(in_processes(refuse, range(10), jobs=2))


def test_a_process_that_the_system_ends():
    with pytest.raises(OutputError, match='fewer --jobs'):
        list(in_processes(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(10), jobs=2))


ORPHANS = """
import os, pathlib, sys, time
from mmseg_keyprotect.shards.engines import in_processes
def work(number):
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)
list(in_processes(work, range(9), jobs=2))
"""


def test_no_process_outlives_the_command(tmp_path):
    command = subprocess.Popen(
        [sys.executable, '-c', ORPHANS, str(tmp_path)], env=dict(os.environ, PYTHONPATH=str(ROOT))
    )
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
    command.kill()
    command.wait()
    left = [int(path.name) for path in tmp_path.iterdir()]
    until = time.monotonic() + 20
    while any(map(_works, left)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_works, left))


def _works(process):
    """Tell whether a process is there and is no zombie."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_one_data_set_by_each(key, tmp_path):
    plain = write_data_set(tmp_path / 'plain', count=12)
    for engine in ('processes', 'threads'):
        assert encrypt_data_set(plain, tmp_path / engine, key, engine=engine, jobs=2).made == 12
    assert contents(tmp_path / 'processes') == contents(tmp_path / 'threads')
