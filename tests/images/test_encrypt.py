"""The client: files of every kind, interruptions, and a model that runs without the key."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from helpers import CIPHERS, ROOT
from mmseg_keyprotect.ciphers import build_cipher, pad_image, padding_to_blocks
from mmseg_keyprotect.cli.main import COMMANDS, main
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    ConfigError,
    ImageFormatError,
    MissingFileError,
    OutputError,
    UnsupportedSpecError,
    WrongKeyError,
)
from mmseg_keyprotect.images import (
    Encryptor,
    is_encrypted,
    read_encrypted,
    read_for_display,
    read_image,
    write_encrypted,
)

RGB = np.random.default_rng(0).integers(0, 256, (13, 18, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    Image.fromarray(RGB).save(path)
    return path


def encrypt(*words):
    return main(['encrypt', *map(str, words)])


@pytest.mark.parametrize('name', ['shuffle+negative-positive', 'ffx'])
def test_a_file_holds_what_the_cipher_gives(name, photo, tmp_path, key):
    encryptor = Encryptor(key, CIPHERS[name])
    target = tmp_path / f'out{encryptor.suffix}'
    assert encryptor.encrypt_file(photo, target)
    image, note = read_encrypted(target)
    cipher = build_cipher(CIPHERS[name], key)
    padding = padding_to_blocks(*RGB.shape[:2], 4)
    np.testing.assert_array_equal(image, cipher.encrypt(pad_image(RGB, padding)))
    np.testing.assert_array_equal(cipher.decrypt(image)[:13, :18], RGB)
    assert note == dict(spec_version=1, key_id=key.key_id, cipher=cipher.name, padding_size=[0, 2, 0, 3], size=[13, 18])


@pytest.mark.parametrize('suffix', ['png', 'tiff', 'webp', 'bmp.tif'])
def test_lossless_kinds_are_read_exactly(suffix, tmp_path):
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(RGB).save(path, **(dict(lossless=True) if suffix == 'webp' else {}))
    np.testing.assert_array_equal(read_image(path), RGB)


def test_jpeg_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(RGB).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    assert read_image(tmp_path / 'a.jpg').shape == (18, 13, 3)


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'RGBA', 'LA'])
def test_what_can_be_rgb_becomes_rgb(mode, tmp_path):
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), np.asarray(image.convert('RGB')))


def bad_files(folder):
    transparent = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    transparent.save(folder / 'transparent.png')
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 100).save(folder / 'deep.png')
    Image.fromarray(RGB).convert('CMYK').save(folder / 'cmyk.jpg')
    for name in ('deep_rgb.png', 'deep_pages.tiff'):
        cv2.imwrite(str(folder / name), RGB.astype(np.uint16) * 100)
    Image.fromarray(RGB).save(folder / 'pages.tiff', save_all=True, append_images=[Image.fromarray(RGB)])
    Image.fromarray(RGB).save(folder / 'moving.webp', save_all=True, append_images=[Image.fromarray(255 - RGB)])
    whole = folder / 'whole.png'
    Image.fromarray(RGB).save(whole)
    (folder / 'cut.png').write_bytes(whole.read_bytes()[:300])
    whole.unlink()
    (folder / 'text.jpg').write_text('no image')
    (folder / 'empty.png').touch()
    palette = Image.fromarray(RGB).convert('P')
    palette.save(folder / 'palette.png', transparency=palette.getpixel((0, 0)))
    return {
        'transparent.png': 'transparent',
        'palette.png': 'transparent',
        'deep.png': '16 bits a sample',
        'deep_rgb.png': '16 bits a sample',
        'deep_pages.tiff': '16 bits a sample',
        'cmyk.jpg': 'the mode CMYK',
        'pages.tiff': '2 frames',
        'moving.webp': '2 frames',
        'cut.png': 'cannot be read',
        'text.jpg': 'cannot be read',
        'empty.png': 'cannot be read',
    }


def test_a_bad_image_is_named_and_the_others_are_encrypted(tmp_path, key_file, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    problems = bad_files(folder)
    Image.fromarray(RGB).save(folder / 'good.png')
    assert encrypt(folder, '-o', tmp_path / 'out', '--key-file', key_file) == 1
    said = capsys.readouterr()
    for name, problem in problems.items():
        assert any(name in line and problem in line for line in said.err.splitlines()), (name, said.err)
        with pytest.raises(ImageFormatError):
            read_image(folder / name)
    assert f'1 encrypted, 0 were there already, {len(problems)} failed' in said.out
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['good.png']


def test_one_bad_file_does_not_end_the_batch(tmp_path, key_file, capsys):
    """A newer version, other formats behind a promised suffix, and a damaged TIFF belong to their files alone."""
    folder = tmp_path / 'in'
    folder.mkdir()
    info = PngImagePlugin.PngInfo()
    info.add_text('mmseg-keyprotect', json.dumps(dict(NOTE, spec_version=2)))
    Image.fromarray(RGB).save(folder / 'newer.png', pnginfo=info)
    Image.fromarray(RGB).save(folder / 'postscript.jpg', 'EPS')
    Image.fromarray(RGB).save(folder / 'bitmap.png', 'BMP')
    (folder / 'damaged.tif').write_bytes(damaged_tiff(tmp_path))
    Image.fromarray(RGB).save(folder / 'good.png')
    assert encrypt(folder, '-o', tmp_path / 'out', '--key-file', key_file) == 1
    said = capsys.readouterr()
    assert '1 encrypted, 0 were there already, 4 failed' in said.out
    for name in ('newer.png', 'postscript.jpg', 'bitmap.png', 'damaged.tif'):
        assert name in said.err or (name == 'newer.png' and 'Install a newer' in said.err)


def damaged_tiff(folder):
    """Return a TIFF that makes Pillow raise an error of no kind of its own."""
    Image.fromarray(RGB).save(folder / 'sound.tif')
    data = (folder / 'sound.tif').read_bytes()
    for place, flip in product(range(8, 200), (1, 2, 255)):
        changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        try:
            image = Image.open(io.BytesIO(changed))
            assert image.n_frames == 1
            image.load()
        except (TypeError, KeyError, AttributeError):
            return changed
        except Exception:
            continue
    raise AssertionError('no byte has this effect')


@pytest.mark.parametrize('suffix', ['tif', 'png', 'jpg', 'webp'])
def test_changed_bytes(suffix, tmp_path):
    """Every byte of an image, changed: it is read, or refused by an error of this package."""
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(RGB[:6, :6]).save(path)
    data, refused = path.read_bytes(), 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        for read in (read_image, read_encrypted):
            try:
                read(path)
            except ImageFormatError:
                refused += 1
    assert refused > len(data)


def test_formats_that_are_not_promised(tmp_path):
    """An EPS would start Ghostscript."""
    for kind in ('EPS', 'BMP', 'GIF', 'PDF', 'ICO', 'PPM'):
        Image.fromarray(RGB).save(tmp_path / 'a.jpg', kind)
        with pytest.raises(ImageFormatError, match='image file \\(JPEG, PNG, TIFF, WEBP\\)'):
            read_image(tmp_path / 'a.jpg')
        assert not is_encrypted(tmp_path / 'a.jpg')


def test_a_note_that_claims_a_huge_original(tmp_path):
    """It is encrypted all the same, and never encrypted again; it is not drawn."""
    for size in ([1, 2**27], [10_000, 14_000]):
        info = PngImagePlugin.PngInfo()
        info.add_text('mmseg-keyprotect', json.dumps(dict(NOTE, size=size)))
        Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(tmp_path / 'x.png', pnginfo=info)
        assert is_encrypted(tmp_path / 'x.png')
        with pytest.raises(ImageFormatError, match='an original of at most'):
            read_for_display(tmp_path / 'x.png')


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_too_many_pixels(tmp_path):
    """Refused before anything is decoded."""
    info = PngImagePlugin.PngInfo()
    Image.new('1', (20_000, 7_000)).save(tmp_path / 'a.png', pnginfo=info)
    with pytest.raises(ImageFormatError, match='20000 x 7000 pixels. Cut or resize it'):
        read_image(tmp_path / 'a.png')


def test_a_folder_that_cannot_be_read(tmp_path, key_file, capsys, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, 'Permission denied', str(tmp_path / 'in' / 'locked')))
        yield str(folder), [], ['a.png']

    (tmp_path / 'in').mkdir()
    Image.fromarray(RGB).save(tmp_path / 'in' / 'a.png')
    monkeypatch.setattr(os, 'walk', walk)
    assert encrypt(tmp_path / 'in', '-o', tmp_path / 'out', '--key-file', key_file) == 1
    said = capsys.readouterr()
    assert '1 encrypted, 0 were there already' in said.out
    assert 'locked: Permission denied' in said.err


def test_another_process_makes_the_same_file(photo, tmp_path, key, monkeypatch):
    encryptor = Encryptor(key)

    def write(target, *words):
        write_encrypted(target, *words)
        write_encrypted(target, *words)

    monkeypatch.setattr('mmseg_keyprotect.images.encryptor.write_encrypted', write)
    assert not encryptor.encrypt_file(photo, tmp_path / 'x.png')
    assert is_encrypted(tmp_path / 'x.png')


def test_folders_patterns_and_single_files(tmp_path, key_file, capsys):
    for name in ('in/a.png', 'in/deep/b.jpg', 'in/deep/c.PNG'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / 'in' / 'notes.txt').touch()
    assert encrypt(tmp_path / 'in', '-o', tmp_path / 'out', '--key-file', key_file) == 0
    found = sorted(str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.*'))
    assert found == ['a.png', 'deep/b.png', 'deep/c.png']
    assert encrypt(tmp_path / 'in' / 'deep' / '*', '-o', tmp_path / 'flat', '--key-file', key_file) == 0
    assert sorted(path.name for path in (tmp_path / 'flat').iterdir()) == ['b.png', 'c.png']
    assert encrypt(tmp_path / 'in' / 'a.png', '-o', tmp_path / 'one.png', '--key-file', key_file) == 0
    assert read_encrypted(tmp_path / 'one.png')[1]['size'] == [13, 18]
    capsys.readouterr()
    assert encrypt(tmp_path / 'in', '-o', tmp_path / 'out', '--key-file', key_file) == 0
    assert '0 encrypted, 3 were there already' in capsys.readouterr().out


def test_again_with_the_output_among_the_images(tmp_path, key_file, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    Image.fromarray(RGB).save(folder / 'a.jpg')
    out = folder / 'enc'
    assert encrypt(folder, '-o', out, '--key-file', key_file) == 0
    assert '1 encrypted' in capsys.readouterr().out
    assert encrypt(folder, '-o', out, '--key-file', key_file) == 0
    assert '0 encrypted, 1 were there already, 0 failed' in capsys.readouterr().out
    assert encrypt(folder / 'a.jpg', '-o', out, '--key-file', key_file, '--resize', '8', '8') == 1
    assert 'of the same size' in capsys.readouterr().err
    (tmp_path / 'file').touch()
    assert encrypt(folder / 'a.jpg', '-o', tmp_path / 'file', '--key-file', key_file) == 1
    assert 'Expected to write' in capsys.readouterr().err


def test_an_output_folder_that_would_mix_plain_and_encrypted_images(tmp_path, key_file, capsys):
    folder = tmp_path / 'data' / 'photos'
    folder.mkdir(parents=True)
    Image.fromarray(RGB).save(folder / 'a.jpg')
    for word in (folder, folder / '*.jpg', f'{folder}/../photos'):
        assert encrypt(word, '-o', folder, '--key-file', key_file) == 1
        assert 'Expected another folder for encrypted images' in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ['a.jpg']
    assert encrypt(folder, '-o', folder.parent, '--key-file', key_file) == 0  # the folder above holds no image itself
    assert is_encrypted(folder.parent / 'a.png')


def test_a_folder_that_is_encrypted_already(tmp_path, key_file, capsys):
    (tmp_path / 'in').mkdir()
    for name in ('a.png', 'b.png'):
        Image.fromarray(RGB).save(tmp_path / 'in' / name)
    assert encrypt(tmp_path / 'in', '-o', tmp_path / 'once', '--key-file', key_file) == 0
    capsys.readouterr()
    assert encrypt(tmp_path / 'once', '-o', tmp_path / 'twice', '--key-file', key_file) == 1
    assert 'its 2 images are encrypted already' in capsys.readouterr().err
    assert not (tmp_path / 'twice').exists()


def test_a_tiff_with_a_description_of_its_own(tmp_path, key_file):
    Image.fromarray(RGB).save(tmp_path / 'scan.tiff', tiffinfo={270: 'scanned by hand'})
    assert encrypt(tmp_path / 'scan.tiff', '-o', tmp_path / 'out', '--key-file', key_file) == 0


NOTE = dict(spec_version=1, key_id='0' * 16, cipher='shuffle/M=4', padding_size=[0, 2, 0, 3], size=[13, 18])


@pytest.mark.parametrize(
    'note',
    [
        'no json',
        '[' * 100_000,
        '1',
        '[1]',
        json.dumps(dict(NOTE, padding_size=1)),
        json.dumps(dict(NOTE, padding_size=[0, 99, 0, 0])),
        json.dumps(dict(NOTE, padding_size=[2, 0, 0, 0])),
        json.dumps(dict(NOTE, size=[10**6, 10**6])),
        json.dumps(dict(NOTE, size=[0, 5])),
        json.dumps(dict(NOTE, size=[True, 5])),
        json.dumps(dict(NOTE, key_id=5)),
        json.dumps({name: NOTE[name] for name in NOTE if name != 'cipher'}),
    ],
)
def test_hostile_notes(note, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text('mmseg-keyprotect', note)
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(tmp_path / 'x.png', pnginfo=info)
    with pytest.raises(ImageFormatError, match='has no note'):
        read_encrypted(tmp_path / 'x.png')
    assert not is_encrypted(tmp_path / 'x.png')


def test_a_newer_note_and_another_cipher(photo, tmp_path, key):
    from mmseg_keyprotect.datasets.transforms import LoadEncryptedImage

    info = PngImagePlugin.PngInfo()
    info.add_text('mmseg-keyprotect', json.dumps(dict(NOTE, spec_version=2)))
    Image.fromarray(np.zeros((16, 20, 3), np.uint8)).save(tmp_path / 'new.png', pnginfo=info)
    with pytest.raises(UnsupportedSpecError):
        read_encrypted(tmp_path / 'new.png')
    Encryptor(key).encrypt_file(photo, tmp_path / 'x.png')
    results = dict(img_path=str(tmp_path / 'x.png'))
    LoadEncryptedImage(cipher='shuffle+negative-positive/M=4', key_id=key.key_id).transform(dict(results))
    for wanted in (dict(cipher='shuffle/M=4'), dict(key_id='0' * 16)):
        with pytest.raises(WrongKeyError, match='of this model'):
            LoadEncryptedImage(**wanted).transform(dict(results))


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['missing.png'], 'nothing is found'),
        (['empty'], 'there are none'),
        (['a.png', 'a.jpg'], 'both would be that'),
        (['a.png', '--cipher', 'shuffle', '--block-size', '2'], 'key bits'),
        (['a.png', '--resize', '0', '5'], 'width, height'),
    ],
)
def test_bad_commands(words, message, tmp_path, key_file, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name in ('a.png', 'a.jpg'):
        Image.fromarray(RGB).save(name)
    assert encrypt(*words, '-o', 'out', '--key-file', key_file) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('jobs', [0, -1, 'two', '\uff12'])
def test_a_bad_number_of_jobs(jobs, capsys):
    with pytest.raises(SystemExit):
        encrypt('a.png', '-o', 'out', '--jobs', jobs)
    assert 'a whole number above 0' in capsys.readouterr().err


def test_several_at_once(tmp_path, key_file, capsys):
    """The same files and the same report, whatever their number."""
    folder = tmp_path / 'in'
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(12):
        sides = 40 + number, 80 - number  # tables of many widths
        Image.fromarray(noise.integers(0, 256, (*sides, 3), dtype=np.uint8)).save(folder / f'{number:02}.png')
    (folder / '05.png').write_bytes(b'no image')
    found = {}
    for jobs in (1, 7):
        out = tmp_path / f'out{jobs}'
        assert encrypt(folder, '-o', out, '--key-file', key_file, '--jobs', jobs) == 1
        shown = capsys.readouterr()
        assert '11 encrypted, 0 were there already, 1 failed' in shown.out
        assert '05.png' in shown.err
        found[jobs] = {path.name: path.read_bytes() for path in out.iterdir()}
    assert found[1] == found[7]
    assert len(found[1]) == 11


def test_never_twice_never_over_something_else(photo, tmp_path, key, other_key):
    encryptor = Encryptor(key)
    encryptor.encrypt_file(photo, tmp_path / 'x.png')
    before = (tmp_path / 'x.png').read_bytes()
    assert not encryptor.encrypt_file(photo, tmp_path / 'x.png')
    with pytest.raises(AlreadyEncryptedError, match='something else'):
        Encryptor(other_key).encrypt_file(photo, tmp_path / 'x.png')
    with pytest.raises(AlreadyEncryptedError, match='something else'):
        encryptor.encrypt_file(photo, photo)
    with pytest.raises(AlreadyEncryptedError, match='already encrypted'):
        encryptor.encrypt_file(tmp_path / 'x.png', tmp_path / 'y.png')
    with pytest.raises(ConfigError, match=r'ends in \.png'):
        encryptor.encrypt_file(photo, tmp_path / 'x.jpg')
    with pytest.raises(OutputError, match='to exist'):
        encryptor.encrypt_file(photo, tmp_path / 'no' / 'x.png')
    assert (tmp_path / 'x.png').read_bytes() == before
    with pytest.raises(ImageFormatError, match='has no note'):
        read_encrypted(photo)


def test_a_source_that_is_missing_or_is_no_file(tmp_path, key):
    for name in ('missing.png', '.'):
        with pytest.raises(MissingFileError, match='Expected an image file to read, but'):
            Encryptor(key).encrypt_file(tmp_path / name, tmp_path / 'x.png')
        with pytest.raises(MissingFileError, match='Expected an image file to read, but'):
            read_encrypted(tmp_path / name)
        assert not is_encrypted(tmp_path / name)
    (tmp_path / 'folder.png').mkdir()
    with pytest.raises(AlreadyEncryptedError, match='something else'):
        Encryptor(key).encrypt_file(tmp_path / 'a.png', tmp_path / 'folder.png')


def test_kill_in_the_middle_of_a_folder(tmp_path, key_file):
    """After kill -9 every file is whole, and the next run continues."""
    folder, out = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    for number in range(30):
        Image.fromarray(image).save(folder / f'{number:02}.png', compress_level=0)
    words = [sys.executable, '-m', 'mmseg_keyprotect', 'encrypt', folder, '-o', out, '--key-file', key_file]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob('*.png'))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = list(out.glob('[0-9]*.png'))
    assert 3 <= len(there) < 30
    for path in there:
        assert read_encrypted(path)[0].shape == (600, 800, 3)
    done = subprocess.run(list(map(str, words)), text=True, capture_output=True)
    assert f'{30 - len(there)} encrypted, {len(there)} were there already, 0 failed' in done.stdout
    assert sorted(path.name for path in out.glob('[0-9]*')) == [f'{number:02}.png' for number in range(30)]


def test_the_command_line_never_shows_the_key(photo, tmp_path, key_file):
    line = key_file.read_text().splitlines()[-1]
    words = ['-m', 'mmseg_keyprotect', 'encrypt', photo, '-o', tmp_path / 'x.png', '--key-file', key_file]
    done = subprocess.run([sys.executable, *map(str, words)], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert line not in done.stdout + done.stderr
    assert line.encode() not in (tmp_path / 'x.png').read_bytes()


@pytest.mark.parametrize('where', ['camvid', 'scenes'])
@pytest.mark.parametrize('cipher', ['default', 'ffx'])
def test_a_model_without_the_key(where, cipher, tiny, real_data, tmp_path, key, key_file, scenes, monkeypatch):
    """A machine without the key predicts the same masks as one with the key in the pipeline."""
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.apis import inference_model, init_model

    from mmseg_keyprotect.datasets.transforms import META_KEYS

    size = (98, 70)  # not whole blocks
    cfg = tiny()
    if cipher == 'ffx':
        cfg.model.data_preprocessor.cipher = cfg.data_preprocessor.cipher = CIPHERS['ffx']
    resize = dict(type='Resize', scale=size, keep_ratio=False, backend='pillow')
    cfg.test_pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackSegInputs')]
    Runner.from_cfg(cfg).train()
    checkpoint = str(tmp_path / 'work' / 'iter_2.pth')
    folder = real_data('camvid') / 'images' / 'val' if where == 'camvid' else scenes / 'images' / 'val'
    images = []
    for path in sorted(folder.iterdir())[:3]:
        images.append(tmp_path / f'{path.stem}.png')
        Image.open(path).convert('RGB').save(images[-1])
    model = init_model(cfg, checkpoint, device='cpu')
    expected = [inference_model(model, str(path)).pred_sem_seg.data for path in images]

    encryptor = Encryptor(key, CIPHERS['ffx'] if cipher == 'ffx' else cfg.model.data_preprocessor.cipher, size)
    targets = [tmp_path / 'encrypted' / f'{path.stem}{encryptor.suffix}' for path in images]
    targets[0].parent.mkdir()
    for path, target in zip(images, targets, strict=True):
        encryptor.encrypt_file(path, target)
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    key_file.unlink()
    server = Config(cfg.to_dict())
    plain = {
        name: cfg.model.data_preprocessor[name] for name in ('mean', 'std', 'bgr_to_rgb', 'pad_val', 'seg_pad_val')
    }
    server.model.data_preprocessor = server.data_preprocessor = dict(type='SegDataPreProcessor', size=(64, 64), **plain)
    server.test_pipeline = [
        dict(type='LoadEncryptedImage', key_id=key.key_id),
        dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', *META_KEYS)),
    ]
    model = init_model(server, checkpoint, device='cpu')
    for target, mask in zip(targets, expected, strict=True):
        got = inference_model(model, str(target)).pred_sem_seg.data
        assert got.shape == mask.shape
        assert (got == mask).all()


@pytest.mark.slow
def test_the_client_alone_in_a_fresh_environment(tmp_path, key_file, photo):
    """`pip install .` installs the client, and neither torch nor OpenMMLab."""
    tree = tmp_path / 'tree'  # pip builds in the tree
    for name in ('mmseg_keyprotect', 'configs', 'tools'):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml'):
        shutil.copy(ROOT / name, tree)
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    python = tmp_path / 'venv' / 'bin' / 'python'
    subprocess.run([python, '-m', 'pip', 'install', '-q', tree], check=True)
    listed = json.loads(
        subprocess.run([python, '-m', 'pip', 'list', '--format=json'], capture_output=True, check=True).stdout
    )
    names = {package['name'] for package in listed}
    assert {'mmseg-keyprotect', 'numpy', 'pillow', 'cryptography'} <= names
    assert not {'torch', 'mmengine', 'mmcv-lite', 'mmsegmentation', 'opencv-python'} & names
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}

    def keyprotect(*words):
        command = [tmp_path / 'venv' / 'bin' / 'keyprotect', *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    done = keyprotect('encrypt', photo, '-o', tmp_path / 'x.png', '--key-file', key_file)
    assert '1 encrypted' in done.stdout, done.stderr
    assert read_encrypted(tmp_path / 'x.png')[1]['size'] == [13, 18]
    assert keyprotect('keygen', 'new.key').returncode == 0
    assert keyprotect('seal', photo, '-o', 'sealed', '--key-file', 'new.key').returncode == 0
    assert keyprotect('verify', 'sealed', '--key-file', 'new.key').returncode == 0
    for command in COMMANDS:
        assert keyprotect(command, '--help').returncode == 0, command
    refused = keyprotect('protect', 'my_config.py', '-o', 'protected.py')
    assert (refused.returncode, refused.stdout) == (1, '')
    assert "Install them: pip install 'mmseg-keyprotect[mmseg,mmcv-lite]'" in refused.stderr


MEMORY = """
import sys
from pathlib import Path
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.keys import SecretKey

def kilobytes(word):
    return int(Path('/proc/self/status').read_text().split(word + ':')[1].split()[0])

encryptor = Encryptor(SecretKey.generate())
encryptor.encrypt_file(sys.argv[1], 'small.png')
before = kilobytes('VmRSS')
Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
encryptor.encrypt_file(sys.argv[2], 'large.png')
print(kilobytes('VmHWM') - before)
"""


@pytest.mark.skipif(not os.access('/proc/self/clear_refs', os.W_OK), reason='needs Linux, to measure the peak')
def test_an_image_takes_little_more_memory_than_pillow_needs(tmp_path):
    """Pillow holds 4 bytes a pixel and makes an array by way of a copy, which is 3.3 times the image."""
    noise = np.random.default_rng(0).integers(256, size=(3000, 3000, 3), dtype=np.uint8)
    for name, image in dict(small=noise[:8, :8], large=noise).items():
        Image.fromarray(image).save(tmp_path / f'{name}_plain.png', compress_level=1)
    command = [sys.executable, '-c', MEMORY, 'small_plain.png', 'large_plain.png']
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert int(found) * 1024 < 4.2 * noise.nbytes
