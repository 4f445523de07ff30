"""Folders of a data set hold more than the images that the client can encrypt; none is left out in silence."""

import numpy as np
import pytest
from PIL import Image

from mmseg_keyprotect.cli.main import main

RGB = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name in ('a.jpg', 'b.bmp', 'c.BMP', 'd.gif'):
        Image.fromarray(RGB).save(folder / name)
    (folder / 'e.npy').touch()
    (folder / 'README').touch()
    return folder


def test_files_of_other_formats_are_counted(folder, tmp_path, key_file, capsys):
    words = ['encrypt', str(folder), '-o', str(tmp_path / 'out'), '--key-file', str(key_file)]
    assert main(words) == 0
    left = '0 failed, 5 left out (2 .bmp, 1 (none), 1 .gif, 1 .npy)'
    assert f'1 encrypted, 0 were there already, {left}' in capsys.readouterr().out
    assert main(words) == 0
    assert f'0 encrypted, 1 were there already, {left}' in capsys.readouterr().out


def test_encrypted_images_among_the_others(folder, tmp_path, key_file, capsys):
    words = ['encrypt', str(folder), '--key-file', str(key_file), '-o']
    assert main([*words, str(folder)]) == 1  # nobody could tell them apart
    assert main([*words, str(tmp_path / 'out')]) == 0
    (encrypted,) = (tmp_path / 'out').glob('*.png')
    encrypted.rename(folder / 'other.png')
    assert main([*words, str(tmp_path / 'again')]) == 0
    out = capsys.readouterr().out
    assert '6 left out' in out
    assert '1 encrypted' in out.partition('6 left out')[2]


def test_what_lies_in_the_output_folder_does_not_count(folder, key_file, capsys):
    words = ['encrypt', str(folder), '-o', str(folder / 'out'), '--key-file', str(key_file)]
    assert main(words) == 0
    assert main(words) == 0
    assert capsys.readouterr().out.count('5 left out') == 2


def test_a_folder_of_other_formats_alone(folder, tmp_path, key_file, capsys):
    (folder / 'a.jpg').unlink()
    assert main(['encrypt', str(folder), '-o', str(tmp_path / 'out'), '--key-file', str(key_file)]) == 1
    assert 'there are none; 5 left out (2 .bmp, 1 (none), 1 .gif, 1 .npy)' in capsys.readouterr().err


def test_nothing_is_left_out(folder, tmp_path, key_file, capsys):
    assert main(['encrypt', str(folder / 'a.jpg'), '-o', str(tmp_path / 'out'), '--key-file', str(key_file)]) == 0
    assert '0 failed, 0 left out; key' in capsys.readouterr().out
