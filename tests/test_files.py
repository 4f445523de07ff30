"""Files appear whole or not at all."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from helpers import ROOT
from mmseg_keyprotect.errors import OutputError
from mmseg_keyprotect.files import new_file, new_folder, replace_file, write_new


@pytest.fixture(params=['unnamed', 'unnamed, no links', 'named', 'no links'], autouse=True)
def way(request, monkeypatch):
    """How a file gets its name: it has none before, it has a hidden one, or there are no hard links."""
    if 'unnamed' not in request.param:
        monkeypatch.delattr(os, 'O_TMPFILE')
    if 'no links' in request.param:

        def refuse(*words, **arguments):
            raise PermissionError(errno.EPERM, 'Operation not permitted')  # as on FAT

        monkeypatch.setattr(os, 'link', refuse)
    return request.param


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_an_error_leaves_nothing(tmp_path, make):
    def fill():
        with make(tmp_path / 'x') as temporary:
            (temporary if make is new_file else temporary / 'y').write_text('half')
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_what_appears_meanwhile_is_kept(tmp_path, make):
    with pytest.raises(OutputError, match='never overwritten'), make(tmp_path / 'x'):
        (tmp_path / 'x').write_text('mine')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['mine']


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_a_link_that_points_nowhere_is_kept(tmp_path, make):
    (tmp_path / 'x').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(OutputError, match='never overwritten'), make(tmp_path / 'x'):
        pass


def test_the_folder_is_whole(tmp_path):
    with new_folder(tmp_path / 'x') as temporary:
        (temporary / 'y').write_text('whole')
        assert not (tmp_path / 'x').exists()
    assert (tmp_path / 'x' / 'y').read_text() == 'whole'
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o755


def test_text(tmp_path):
    assert write_new(tmp_path / 'x', 'text').read_text() == 'text'
    with pytest.raises(OutputError, match='Make it first'):
        write_new(tmp_path / 'none' / 'x', 'text')


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_a_full_disk(tmp_path, make):
    match = f'Expected room for {tmp_path / "x"}, but got: No space left'
    with pytest.raises(OutputError, match=match), make(tmp_path / 'x'):
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_an_error_about_another_file_stays_as_it_is(tmp_path, make):
    with pytest.raises(FileNotFoundError, match='input'), make(tmp_path / 'x'):
        (tmp_path / 'input').read_text()


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_no_permission(tmp_path, make, way, monkeypatch):
    def refuse(*words, **arguments):
        raise PermissionError(errno.EACCES, 'Permission denied')

    for function in ('mkstemp', 'mkdtemp'):
        monkeypatch.setattr(f'tempfile.{function}', refuse)
    if 'unnamed' in way:
        monkeypatch.setattr(os, 'open', refuse)
    match = f'Expected to write {tmp_path / "x"}, but got: Permission denied'
    with pytest.raises(OutputError, match=match), make(tmp_path / 'x'):
        pass


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    replace_file(tmp_path / 'x', 'old')
    replace_file(tmp_path / 'x', 'new')
    assert (tmp_path / 'x').read_text() == 'new'
    monkeypatch.setattr(os, 'fsync', lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left')))
    with pytest.raises(OutputError, match='Expected room'):
        replace_file(tmp_path / 'x', 'newer')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['new']


def test_a_folder_that_is_missing_for_a_file_that_is_replaced(tmp_path):
    with pytest.raises(OutputError, match='Expected to write .*No such file'):
        replace_file(tmp_path / 'none' / 'x', 'text')


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
if sys.argv[2] == 'named':
    del os.O_TMPFILE
from mmseg_keyprotect.files import new_file, new_folder, replacing
make = dict(file=new_file, folder=new_folder, replacing=replacing)[sys.argv[4]]
with make(Path(sys.argv[1]) / 'x') as temporary:
    (temporary / 'y' if temporary.is_dir() else temporary).write_text('plain weights')
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize('make', ['file', 'folder', 'replacing'])
def test_killed(tmp_path, make, way):
    """Nothing stays behind; what has a hidden name stays until the next run makes the same file."""
    words = [sys.executable, '-c', KILLED, str(tmp_path), way, str(ROOT), make]
    if 'no links' in way:
        pytest.skip('it concerns what happens after the file is whole')
    assert subprocess.run(words).returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert len(left) == (make == 'folder' or way == 'named')
    for path in left:
        os.utime(path, (0, 0))  # what is younger than a minute is left alone
    with (new_folder if make == 'folder' else new_file)(tmp_path / 'x') as temporary:
        assert not [path for path in tmp_path.iterdir() if path != temporary]
        (temporary / 'y' if make == 'folder' else temporary).write_text('whole')
    assert [path.read_text() for path in tmp_path.rglob('*') if path.is_file()] == ['whole']


def test_no_locks(tmp_path, monkeypatch):
    """Some network mounts have none: files are made, and nothing is swept."""

    def refuse(*words):
        raise OSError(errno.EBADF, 'Bad file descriptor')

    monkeypatch.setattr('fcntl.flock', refuse)
    (tmp_path / '.x.keyprotect-1').touch()
    os.utime(tmp_path / '.x.keyprotect-1', (0, 0))
    write_new(tmp_path / 'x', 'text')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.x.keyprotect-1', 'x']


def test_a_pipe_in_the_place_of_a_stale_file(tmp_path):
    os.mkfifo(tmp_path / '.x.keyprotect-1')
    os.utime(tmp_path / '.x.keyprotect-1', (0, 0))
    write_new(tmp_path / 'x', 'text')


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_what_is_being_written_is_left_alone(tmp_path, make):
    """Two that make the same file do not remove each other's; the second to end is refused."""
    with make(tmp_path / 'x') as one:
        second = make(tmp_path / 'x')
        other = second.__enter__()
        assert one.exists()
        assert one != other
    with pytest.raises(OutputError, match='never overwritten'):
        second.__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ['x']


def test_a_read_only_folder(tmp_path):
    """A user who is not root cannot write there."""
    if os.geteuid() == 0:
        pytest.skip('root may write everywhere')
    (tmp_path / 'locked').mkdir(mode=0o500)
    with pytest.raises(OutputError, match='Permission denied'):
        write_new(tmp_path / 'locked' / 'x', 'text')


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_a_path_with_nul(make):
    with pytest.raises(OutputError, match='with a null byte'), make('a\0b'):
        pass


def test_permissions(tmp_path):
    assert write_new(tmp_path / 'x', 'text').stat().st_mode & 0o777 == 0o644
