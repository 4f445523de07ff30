"""Files appear whole or not at all."""

import errno
import os

import pytest

from mmseg_keyprotect.errors import OutputError
from mmseg_keyprotect.files import new_file, new_folder, replace_file, write_new


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


@pytest.mark.parametrize(('make', 'function'), [(new_file, 'mkstemp'), (new_folder, 'mkdtemp')])
def test_no_permission(tmp_path, make, function, monkeypatch):
    def refuse(**arguments):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(f'tempfile.{function}', refuse)
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
