"""Data sets that are encrypted block by block: the same pixels as on the fly, and runs that go on where they were."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import CIPHERS
from helpers.data_sets import contents, encrypt, kill_twenty_times, write_data_set
from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError, DamagedFileError, ImageFormatError, OutputError, WrongKeyError
from mmseg_keyprotect.images import Encryptor, read_encrypted
from mmseg_keyprotect.shards.encrypted_check import verify_encrypted
from mmseg_keyprotect.shards.pair_encryptor import PairEncryptor
from mmseg_keyprotect.shards.storage import Storage


@pytest.mark.parametrize('resize', [None, (10, 21)])
def test_the_images_of_the_client_and_extended_labels(resize, plain, key, tmp_path):
    summary = encrypt(plain, key, resize=resize)
    assert (summary.files, summary.made, summary.skipped) == (6, 6, {})
    encryptor = Encryptor(key, resize=resize)
    for number in range(6):
        image, note = read_encrypted(tmp_path / 'encrypted' / f'images/train/{number:03}.png')
        source = np.asarray(Image.open(plain / f'images/train/{number:03}.png'))
        expected, facts = encryptor.encrypt(source)
        np.testing.assert_array_equal(image, expected)
        assert note == dict(facts, size=list((resize or (18, 13))[::-1]))  # of the label map, for evaluation
        label = np.asarray(Image.open(tmp_path / 'encrypted' / f'annotations/train/{number:03}.png'))
        height, width = (resize or (18, 13))[::-1]
        assert label.shape == image.shape[:2]
        assert (label[height:] == 255).all()
        assert (label[:, width:] == 255).all()
        before = Image.open(plain / f'annotations/train/{number:03}.png')
        resized = before if resize is None else before.resize(resize, Image.Resampling.NEAREST)
        np.testing.assert_array_equal(label[:height, :width], np.asarray(resized))
    assert (tmp_path / 'encrypted' / 'train.txt').read_text() == (plain / 'train.txt').read_text()


def test_a_palette_stays(plain, key, tmp_path):
    label = Image.open(plain / 'annotations/train/000.png').convert('L')
    label.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    label.save(plain / 'annotations/train/000.png')
    encrypt(plain, key)
    after = Image.open(tmp_path / 'encrypted' / 'annotations/train/000.png')
    assert after.mode == 'P'
    assert after.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert np.asarray(after).max() == 255


def test_again_makes_what_is_missing(plain, key, tmp_path):
    encrypt(plain, key)
    (tmp_path / 'encrypted/images/train/003.png').unlink()
    assert encrypt(plain, key).made == 1
    assert encrypt(plain, key).made == 0


def test_other_options_than_before(plain, key, other_key, tmp_path):
    encrypt(plain, key)
    with pytest.raises(WrongKeyError, match='key_id'):
        encrypt(plain, other_key)
    with pytest.raises(WrongKeyError, match='resize'):
        encrypt(plain, key, resize=(8, 8))
    with pytest.raises(WrongKeyError, match='cipher'):
        encrypt(plain, key, cipher=CIPHERS['shuffle'])
    (plain / 'train.txt').write_text('000')
    with pytest.raises(ConfigError, match='train.txt \\(changed\\)'):
        encrypt(plain, key)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'a.txt').touch()
    with pytest.raises(OutputError, match='a.txt'):
        encrypt(plain, key, 'mine')
    (tmp_path / 'encrypted/encrypted.json').write_text('{}')
    with pytest.raises(OutputError, match='note'):
        encrypt(plain, key)


@pytest.mark.parametrize('form', ['folder', 'webdataset'])
@pytest.mark.parametrize('mode', ['I;16', 'CMYK', 'RGBA'])
def test_images_that_cannot_be_encrypted(mode, form, plain, key, tmp_path):
    name = 'images/train/003.tif'
    (plain / 'images/train/003.png').unlink()
    Image.new(mode, (18, 13)).save(plain / name)
    with pytest.raises(ImageFormatError, match=name):
        encrypt(plain, key, form=form)
    summary = encrypt(plain, key, form=form, skip_bad=True)
    assert (list(summary.skipped), summary.files) == ([name], 5)


@pytest.mark.parametrize(('mode', 'fits'), [('RGB', False), ('1', False), ('LA', False), ('I;16', True)])
def test_label_maps_of_other_modes(mode, fits, plain, key, tmp_path):
    Image.new(mode, (18, 13)).save(plain / 'annotations/train/000.png')
    if not fits:
        with pytest.raises(ImageFormatError, match='one channel of class numbers'):
            encrypt(plain, key)
        return
    encrypt(plain, key)
    label = np.asarray(Image.open(tmp_path / 'encrypted/annotations/train/000.png'))
    assert label[-1, -1] == 255
    assert label[0, 0] == 0


def test_archives_lose_nothing_silently(plain, key, tmp_path):
    """One with a problem is not made; what an earlier run left out is told again; other options are refused."""
    (plain / 'images/train/003.png').write_bytes(b'none')
    options = dict(form='webdataset', shard_bytes=2000)
    with pytest.raises(ImageFormatError):
        encrypt(plain, key, **options)
    with pytest.raises(WrongKeyError, match='shard_bytes'):
        encrypt(plain, key, form='webdataset', shard_bytes=3000)
    for _ in range(2):
        summary = encrypt(plain, key, skip_bad=True, **options)
        assert (summary.files, list(summary.skipped)) == (5, ['images/train/003.png'])


@pytest.mark.parametrize('form', ['folder', 'webdataset'])
def test_verify(form, plain, key, tmp_path):
    encrypt(plain, key, form=form)
    tar = form == 'webdataset'
    work = PairEncryptor(Storage(plain), Storage(tmp_path / 'encrypted'), key, DEFAULT_CIPHER, None, tar, False)
    assert verify_encrypted(work) == 6
    if tar:
        file = tmp_path / 'encrypted/shard-000000.tar'
        content = bytearray(file.read_bytes())
        content[content.index(b'IDAT') + 100] ^= 255
        file.write_bytes(content)
    else:
        Image.new('RGB', (20, 16)).save(tmp_path / 'encrypted/images/train/003.png')
    with pytest.raises(DamagedFileError, match='differs'):
        verify_encrypted(work)


def test_webdataset_streams_the_archives(plain, key, tmp_path):
    webdataset = pytest.importorskip('webdataset')
    encrypt(plain, key, form='webdataset', shard_bytes=2000)
    archives = sorted(map(str, (tmp_path / 'encrypted').glob('*.tar')))
    assert len(archives) > 1
    samples = list(webdataset.WebDataset(archives, shardshuffle=False))
    assert [sample['__key__'] for sample in samples] == [f'train/{number:03}' for number in range(6)]
    image, _ = Encryptor(key).encrypt(np.asarray(Image.open(plain / 'images/train/002.png')))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(samples[2]['image.png']))), image)
    assert Image.open(io.BytesIO(samples[2]['label.png'])).size == (20, 16)
    (plain / 'images/train/003.png').rename(plain / 'images/train/00.3.png')
    (plain / 'annotations/train/003.png').rename(plain / 'annotations/train/00.3.png')
    with pytest.raises(ImageFormatError, match='a dot in its name'):
        encrypt(plain, key, 'other', form='webdataset')


def test_after_ffx_images_are_tiff(plain, key, tmp_path):
    encrypt(plain, key, cipher=CIPHERS['ffx'])
    assert read_encrypted(tmp_path / 'encrypted/images/train/000.tiff')[0].dtype == np.uint16
    assert (tmp_path / 'encrypted/annotations/train/000.png').exists()


@pytest.mark.parametrize('form', ['folder', 'webdataset'])
def test_a_full_disk_leaves_no_part(form, key, tmp_path):
    """Files may have 1,800 bytes: the note fits, an image does not."""
    plain = write_data_set(tmp_path / 'plain', size=(60, 40))
    key.save(tmp_path / 'my.key')
    words = ['dataset', 'encrypt', str(plain), '-o', 'encrypted', '--key-file', 'my.key', '--format', form]
    script = f"""
import resource, signal, sys
from mmseg_keyprotect.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1800, 1800))
sys.exit(main({words!r}))
"""
    run = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert 'free some space' in run.stderr
    whole = encrypt(plain, key, 'whole', form=form, shard_bytes=256_000_000)
    assert (whole.files, whole.made) == (6, 6)
    left = contents(tmp_path / 'encrypted')
    assert 'encrypted.json' in left
    assert left.items() <= contents(tmp_path / 'whole').items()
    encrypt(plain, key, form=form, shard_bytes=256_000_000)
    assert contents(tmp_path / 'encrypted') == contents(tmp_path / 'whole')


@pytest.mark.slow
@pytest.mark.parametrize('form', ['folder', 'webdataset'])
def test_killed_twenty_times(form, key, tmp_path):
    key.save(tmp_path / 'my.key')
    words = ['encrypt', 'plain', '-o', 'encrypted', '--format', form]
    made = 'encrypted/images/train/*.png' if form == 'folder' else 'encrypted/*.tar'
    kill_twenty_times(tmp_path, words, 'pair_encryptor', made)
    encrypt(tmp_path / 'plain', key, 'at_once', form=form, shard_bytes=1_000_000)
    encrypted, at_once = (contents(tmp_path / name) for name in ('encrypted', 'at_once'))
    assert encrypted == at_once


def test_the_command(plain, key, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key.save('my.key')
    words = ['--key-file', 'my.key', '--verify', '--jobs', '2']
    assert main(['dataset', 'encrypt', 'plain', '-o', 'encrypted', '--resize', '16', '12', *words]) == 0
    printed = capsys.readouterr()
    assert '6 images encrypted, 6 of them now' in printed.out
    assert 'verified: 6 images' in printed.out
    assert main(['dataset', 'seal', 'plain', '-o', 'sealed', *words]) == 0
    assert 'verified: 13 files in 1 shards' in capsys.readouterr().out
    assert main(['dataset', 'verify', 'sealed', '--key-file', 'my.key']) == 0
    assert main(['dataset', 'unseal', 'sealed', '-o', 'again', '--key-file', 'my.key']) == 0
    assert contents(tmp_path / 'again') == contents(plain)
    (plain / 'images/train/003.png').write_bytes(b'none')
    own = ['--images', 'images', '--labels', 'annotations', '--img-suffix', '.png']
    assert main(['dataset', 'seal', 'plain', '-o', 'other', *words, *own]) == 1
    assert 'images/train/003.png' in capsys.readouterr().err
    assert main(['dataset', 'seal', 'plain', '-o', 'other', *words, *own, '--skip-bad']) == 0
    printed = capsys.readouterr()
    assert 'left out: images/train/003.png' in printed.err
    assert '11 files sealed' in printed.out
    file = tmp_path / 'other/shard-000000.tar.sealed'
    file.write_bytes(file.read_bytes()[:-20])
    assert main(['dataset', 'verify', 'other', '--key-file', 'my.key']) == 1
    assert 'damaged' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(['dataset', 'seal', 'plain', '-o', 'third', *words, '--images', 'images'])
    note = json.loads((tmp_path / 'encrypted/encrypted.json').read_text())
    assert (note['key_id'], note['resize']) == (key.key_id, [16, 12])
