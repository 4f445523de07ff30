"""Files appear whole or not at all."""

import pytest

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import new_file, new_folder, write_new


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
    with pytest.raises(ConfigError, match='never overwritten'), make(tmp_path / 'x'):
        (tmp_path / 'x').write_text('mine')
    assert [path.read_text() for path in tmp_path.iterdir()] == ['mine']


@pytest.mark.parametrize('make', [new_file, new_folder])
def test_a_link_that_points_nowhere_is_kept(tmp_path, make):
    (tmp_path / 'x').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match='never overwritten'), make(tmp_path / 'x'):
        pass


def test_the_folder_is_whole(tmp_path):
    with new_folder(tmp_path / 'x') as temporary:
        (temporary / 'y').write_text('whole')
        assert not (tmp_path / 'x').exists()
    assert (tmp_path / 'x' / 'y').read_text() == 'whole'
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o755


def test_text(tmp_path):
    assert write_new(tmp_path / 'x', 'text').read_text() == 'text'
    with pytest.raises(ConfigError, match='Make it first'):
        write_new(tmp_path / 'none' / 'x', 'text')
