"""Sealed data sets: every file comes back, runs go on where they were, and what does not fit is refused."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.data_sets import SMALL, contents, kill_twenty_times, seal
from mmseg_keyprotect.errors import (
    ConfigError,
    DamagedFileError,
    ImageFormatError,
    MissingFileError,
    OutputError,
    SealedFileError,
    WrongKeyError,
)
from mmseg_keyprotect.sealing import KeyRecipient, PassphraseRecipient
from mmseg_keyprotect.shards import SealedDataSet, is_sealed_data_set, seal_data_set
from mmseg_keyprotect.shards.pairs import LAYOUTS, Layout, detect_layout, find_pairs
from mmseg_keyprotect.shards.sealing import ShardSealer
from mmseg_keyprotect.shards.storage import Storage


def test_every_file_comes_back(plain, key, tmp_path):
    (plain / 'notes').mkdir()
    (plain / 'notes' / 'author.json').write_text('{}')
    (plain / '.cache').write_bytes(b'hidden')
    summary = seal(plain, key)
    assert summary.files == 14
    assert summary.made > 2
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    list(data.unseal(tmp_path / 'again'))
    assert '.cache' not in data.places
    assert contents(tmp_path / 'again') == contents(plain)
    assert {problem for _, problem in data.verify(jobs=2)} == {''}
    list(data.unseal(tmp_path / 'again'))  # once more changes nothing
    (tmp_path / 'again' / 'train.txt').write_text('mine')
    with pytest.raises(DamagedFileError, match='no other file'):
        list(data.unseal(tmp_path / 'again'))


def test_nothing_plain(plain, key, tmp_path):
    seal(plain, key)
    files = contents(tmp_path / 'sealed')
    assert {name for name in files if not name.endswith('.sealed')} == {'train.txt'}
    assert files['train.txt'] == b'The contents of this file are sealed.\n'
    sealed = b''.join(content for name, content in files.items() if name.endswith('.sealed'))
    assert b'annotations' not in sealed
    assert not any(content[40:] in sealed for content in contents(plain / 'images').values())
    assert SealedDataSet(tmp_path / 'sealed', key=key).read('train.txt') == (plain / 'train.txt').read_bytes()


def test_one_key_file_for_all_recipients(plain, key, other_key, tmp_path):
    seal_data_set(plain, tmp_path / 'sealed', [KeyRecipient(key), PassphraseRecipient('correct horse')], key.key_id)
    assert SealedDataSet(tmp_path / 'sealed', passphrase='correct horse').places
    with pytest.raises(WrongKeyError):
        SealedDataSet(tmp_path / 'sealed', key=other_key)
    with pytest.raises(WrongKeyError):
        seal(plain, other_key)


def test_again_changes_nothing(plain, key, tmp_path):
    seal(plain, key)
    before = contents(tmp_path / 'sealed')
    summary = seal(plain, key)
    assert (summary.made, summary.files) == (0, 13)
    assert contents(tmp_path / 'sealed') == before


@pytest.mark.parametrize('change', ['new', 'gone', 'changed'])
def test_a_source_that_changed(change, plain, key):
    seal(plain, key)
    if change == 'new':
        shutil.copy(plain / 'train.txt', plain / 'val.txt')
    elif change == 'gone':
        (plain / 'train.txt').unlink()
    else:
        (plain / 'train.txt').write_text('007')
    with pytest.raises(ConfigError, match=rf'1 files differ: \w+.txt \({change}\)'):
        seal(plain, key)


def test_a_source_that_changes_under_way(plain, key, tmp_path):
    def meanwhile(done, total):
        (plain / 'train.txt').write_text('007')

    with pytest.raises(ConfigError, match='changed'):
        seal(plain, key, progress=meanwhile)
    with pytest.raises(MissingFileError, match='finished'):
        SealedDataSet(tmp_path / 'sealed', key=key)


def test_a_folder_with_something_else(plain, key, tmp_path):
    (tmp_path / 'sealed').mkdir()
    (tmp_path / 'sealed' / 'mine.txt').write_text('mine')
    with pytest.raises(OutputError, match='mine.txt'):
        seal(plain, key)
    with pytest.raises(ConfigError, match='lie in one another'):
        seal(plain, key, plain / 'sealed')
    with pytest.raises(MissingFileError, match='folder'):
        seal(tmp_path / 'nowhere', key)


def bad_image(plain):
    (plain / 'images/train/003.png').write_bytes(b'no image')
    return 'images/train/003.png', 'the file is none'


def cut_image(plain):
    path = plain / 'images/train/003.png'
    path.write_bytes(path.read_bytes()[:-300])
    return 'images/train/003.png', 'damaged'


def cut_label(plain):
    path = plain / 'annotations/train/003.png'
    path.write_bytes(path.read_bytes()[:-40])
    return 'images/train/003.png', 'damaged'


def cut_jpeg(plain):
    (plain / 'images/train/003.png').unlink()
    path = plain / 'images/train/003.jpg'
    Image.effect_noise((18, 13), 90).convert('RGB').save(path)
    path.write_bytes(path.read_bytes()[:-100])
    return 'images/train/003.jpg', 'damaged'


def other_size(plain):
    Image.new('L', (13, 18)).save(plain / 'annotations/train/003.png')
    return 'images/train/003.png', '18 x 13, but got 13 x 18'


def turned_label(plain):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('L', (18, 13)).save(plain / 'annotations/train/003.png', exif=exif)
    return 'images/train/003.png', 'orientation'


def no_label(plain):
    (plain / 'annotations/train/003.png').unlink()
    return 'images/train/003.png', 'no label map annotations/train/003.png'


def no_image(plain):
    (plain / 'images/train/003.png').unlink()
    return 'annotations/train/003.png', 'no image images/train/003'


def same_name(plain):
    Image.new('RGB', (18, 13)).save(plain / 'images/train/003.jpg')
    return 'images/train/003.png', 'same name'


PROBLEMS = [bad_image, cut_image, cut_label, cut_jpeg, other_size, turned_label, no_label, no_image, same_name]


@pytest.mark.parametrize('spoil', PROBLEMS, ids=lambda spoil: spoil.__name__)
def test_files_that_do_not_fit(spoil, plain, key, tmp_path):
    path, reason = spoil(plain)
    with pytest.raises(ImageFormatError, match=f'1 do not: {path}.*({reason})'):
        seal(plain, key)
    summary = seal(plain, key, skip_bad=True)  # goes on with the shards that are there
    left_out = {path, 'images/train/003.png', 'annotations/train/003.png'} & contents(plain).keys()
    assert path in summary.skipped.keys() <= left_out
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    assert data.skipped == summary.skipped
    assert data.places.keys() == contents(plain).keys() - summary.skipped.keys()
    assert 'images/train/004.png' in data.places


def test_an_image_that_is_turned_by_its_exif_data(plain, key):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (13, 18)).save(plain / 'images/train/003.png', exif=exif)  # 18 x 13 upright, as its label map
    assert seal(plain, key).skipped == {}


@pytest.mark.parametrize(
    ('channels', 'dtype'), [(1, 'uint8'), (1, 'uint16'), (3, 'uint16'), (7, 'uint8'), (4, 'float32')]
)
def test_tiff_of_any_depth(channels, dtype, plain, key, tmp_path):
    tifffile = pytest.importorskip('tifffile')
    image = np.ones((13, 18, channels), dtype=dtype)
    (plain / 'images/train/003.png').unlink()
    tifffile.imwrite(plain / 'images/train/003.tif', image.squeeze(), photometric='minisblack', planarconfig='contig')
    assert seal(plain, key).skipped == {}
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    assert data.read('images/train/003.tif') == (plain / 'images/train/003.tif').read_bytes()
    tifffile.imwrite(
        plain / 'images/train/003.tif', image[:4].squeeze(), photometric='minisblack', planarconfig='contig'
    )
    with pytest.raises(ImageFormatError, match='18 x 4'):
        seal(plain, key, tmp_path / 'other')


@pytest.mark.parametrize('name', ['key.sealed', 'manifest.sealed', 'shard-000001.tar.sealed'])
@pytest.mark.parametrize('damage', ['flip', 'cut', 'gone', 'other'])
def test_damage_is_found(name, damage, plain, key, tmp_path):
    seal(plain, key)
    seal(plain, key, tmp_path / 'other')
    file = tmp_path / 'sealed' / name
    content = bytearray(file.read_bytes())
    if damage == 'flip':
        content[-5] ^= 1
        file.write_bytes(content)
    elif damage == 'cut':
        file.write_bytes(content[:-20])
    elif damage == 'gone':
        file.unlink()
    else:  # of another data set of the same recipient
        shutil.copy(tmp_path / 'other' / name, file)
    with pytest.raises((SealedFileError, MissingFileError, WrongKeyError)):  # noqa: PT012
        problems = [problem for _, problem in SealedDataSet(tmp_path / 'sealed', key=key).verify() if problem]
        assert len(problems) == 1
        raise SealedFileError(problems[0])


def test_shards_that_changed_places(plain, key, tmp_path):
    seal(plain, key)
    one, other = (tmp_path / 'sealed' / f'shard-00000{number}.tar.sealed' for number in (0, 1))
    one.rename(tmp_path / 'spare')
    other.rename(one)
    (tmp_path / 'spare').rename(other)
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    with pytest.raises(SealedFileError, match='another run'):
        data.read('images/train/000.png')


def test_a_full_disk_leaves_no_part(plain, key, tmp_path):
    """Files may have 1,500 bytes: the key fits, a shard does not."""
    script = f"""
import resource, signal, sys
from mmseg_keyprotect.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
sys.exit(main(['dataset', 'seal', {str(plain)!r}, '-o', {str(tmp_path / 'sealed')!r}, '--key-file', 'my.key']))
"""
    key.save(tmp_path / 'my.key')
    run = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert 'free some space' in run.stderr
    assert set(contents(tmp_path / 'sealed')) <= {'key.sealed', 'unfinished.sealed'}
    assert seal(plain, key, shard_bytes=256_000_000).files == 13


@pytest.mark.slow
def test_killed_twenty_times(key, tmp_path):
    """No shard is lost or made twice, whenever the process ends."""
    key.save(tmp_path / 'my.key')
    kill_twenty_times(tmp_path, ['seal', 'plain', '-o', 'sealed'], 'sealing', 'sealed/shard-*')
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    assert {path: data.read(path) for path in data.places} == contents(tmp_path / 'plain')


def test_options_of_the_run_that_began(plain, key, tmp_path):
    bad_image(plain)
    with pytest.raises(ImageFormatError):
        seal(plain, key)
    with pytest.raises(ConfigError, match='options of the run that began'):
        seal(plain, key, skip_bad=True, shard_bytes=10 * SMALL)


def test_no_key_in_what_ray_pickles(plain, key, tmp_path, monkeypatch):
    key.save(tmp_path / 'my.key')
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(tmp_path / 'my.key'))
    seal(plain, key)
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    work = ShardSealer(Storage(plain), Storage(tmp_path / 'sealed'), data._key, False)
    copy = pickle.loads(pickle.dumps(work))
    assert vars(copy)['_key'] is None
    assert copy.key == data._key


def test_a_fork_reads_for_itself(plain, key, tmp_path):
    seal(plain, key)
    data = SealedDataSet(tmp_path / 'sealed', key=key)
    data.read('images/train/000.png')
    child = os.fork()
    if child == 0:
        os._exit(0 if data.read('images/train/001.png') == (plain / 'images/train/001.png').read_bytes() else 1)
    assert data.read('images/train/005.png') == (plain / 'images/train/005.png').read_bytes()
    assert os.waitpid(child, 0)[1] == 0


def test_layouts():
    paths = [
        'leftImg8bit/train/a/a_leftImg8bit.png',
        'gtFine/train/a/a_gtFine_labelTrainIds.png',
        'gtFine/train/a/a_gtFine_color.png',
    ]
    found = find_pairs(paths, detect_layout(paths))
    assert (found.pairs[0][:2], found.others, found.problems) == ((paths[0], paths[1]), [paths[2]], {})
    voc = ['JPEGImages/a.jpg', 'JPEGImages/b.jpg', 'SegmentationClass/a.png', 'ImageSets/Segmentation/train.txt']
    found = find_pairs(voc, detect_layout(voc))
    assert [pair.label for pair in found.pairs] == ['SegmentationClass/a.png', None]
    assert (found.others, found.problems) == ([voc[3]], {})
    ade = ['images/training/a.jpg', 'annotations/training/a.png']
    assert find_pairs(ade, detect_layout(ade)) == find_pairs(ade, LAYOUTS['ade20k'])
    with pytest.raises(ConfigError, match='--images'):
        detect_layout(['img/a.png', 'ann/a.png'])
    own = Layout('img', 'ann', ('_rgb.png',), '_mask.png')
    assert find_pairs(['img/a_rgb.png', 'ann/a_mask.png'], own).pairs[0].key == 'a'


def test_what_a_data_set_is(plain, tmp_path):
    assert not is_sealed_data_set(plain)
    assert not is_sealed_data_set(tmp_path / 'nowhere')
