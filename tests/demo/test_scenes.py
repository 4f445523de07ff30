import json

import numpy as np
import pytest
from PIL import Image

from mmseg_keyprotect.demo import scenes as demo_scenes
from mmseg_keyprotect.demo.drawing import CLASSES, PALETTE, draw_scene
from mmseg_keyprotect.demo.scenes import write_demo_scenes
from mmseg_keyprotect.errors import ConfigError, OutputError

SMALL = {'num_train': 2, 'num_val': 1, 'size': (96, 112), 'seed': 5}


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene(np.random.default_rng([0, 0, index])) for index in range(30)]


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    return write_demo_scenes(tmp_path_factory.mktemp('data') / 'scenes', **SMALL)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_every_class_has_a_name_and_a_colour_of_its_own():
    assert len(set(CLASSES)) == len(CLASSES) >= 6
    assert len({tuple(colour) for colour in PALETTE}) == len(CLASSES)
    assert all(len(colour) == 3 and min(colour) >= 0 and max(colour) <= 255 for colour in PALETTE)


@pytest.mark.parametrize('size', [(160, 160), (96, 200), (131, 97)])
def test_a_scene_is_rgb_and_labels(size):
    image, label = draw_scene(np.random.default_rng(3), size)
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert (label.shape, label.dtype) == (size, np.uint8)
    assert image.flags.c_contiguous
    assert label.flags.c_contiguous
    assert label.max() < len(CLASSES)


def test_the_same_generator_draws_the_same_scene():
    first, again, other = (draw_scene(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_every_class_has_its_share(scenes):
    shares = np.stack([np.bincount(label.ravel(), minlength=len(CLASSES)) / label.size for _, label in scenes])
    assert (shares.mean(axis=0) > 0.02).all()
    assert ((shares > 0.005).mean(axis=0) > 0.9).all()
    assert shares.mean(axis=0).max() < 0.5


def test_colour_alone_is_weak(scenes):
    pixels = np.concatenate([image.reshape(-1, 3) for image, _ in scenes[:20]]).astype(np.float32)
    labels = np.concatenate([label.ravel() for _, label in scenes[:20]])
    means = np.stack([pixels[labels == index].mean(axis=0) for index in range(len(CLASSES))])

    right = []
    for image, label in scenes[20:]:
        distances = np.square(image[:, :, None].astype(np.float32) - means).sum(axis=-1)
        right.append((distances.argmin(axis=-1) == label).mean())
    assert np.mean(right) < 0.6


def test_the_classes_differ_by_texture(scenes):
    rough = {'sky': [], 'ground': [], 'tree': []}
    for image, label in scenes:
        step = np.abs(np.diff(image.astype(np.float32).mean(axis=-1), axis=1))
        for name, values in rough.items():
            inside = label == CLASSES.index(name)
            values.append(np.median(step[inside[:, 1:] & inside[:, :-1]]))
    sky, ground, tree = (np.mean(rough[name]) for name in ('sky', 'ground', 'tree'))
    assert 2 * sky < ground
    assert 2 * sky < tree


def test_the_folder_is_what_mmseg_reads(small):
    names = {
        f'{kind}/{name}' for kind in ('images', 'annotations') for name in ('train/0000', 'train/0001', 'val/0000')
    }
    assert set(contents(small)) == {f'{name}.png' for name in names} | {'classes.txt', 'scenes.json'}
    assert (small / 'classes.txt').read_text(encoding='utf-8').split() == list(CLASSES)
    assert json.loads((small / 'scenes.json').read_text(encoding='utf-8'))['seed'] == 5

    for split, name in enumerate(('train', 'val')):
        image, label = demo_scenes._framed_scene(np.random.default_rng([5, split, 0]), (96, 112))
        with Image.open(small / 'images' / name / '0000.png') as file:
            assert file.mode == 'RGB'
            assert np.array_equal(np.asarray(file), image)
        with Image.open(small / 'annotations' / name / '0000.png') as file:
            assert file.mode == 'P'
            assert file.getpalette()[: 3 * len(CLASSES)] == [value for colour in PALETTE for value in colour]
            assert np.array_equal(np.asarray(file), label)
    bit_depth = (small / 'annotations/train/0000.png').read_bytes()[24]
    assert bit_depth == 8


def test_the_same_parameters_give_the_same_bytes(small, tmp_path):
    again = contents(write_demo_scenes(str(tmp_path / 'deep' / 'again'), **SMALL))
    assert again == contents(small)
    other = contents(write_demo_scenes(tmp_path / 'other', **{**SMALL, 'seed': 6}))
    assert other['images/train/0000.png'] != again['images/train/0000.png']


def test_a_complete_set_is_left_as_it_is(small, monkeypatch):
    monkeypatch.setattr(demo_scenes, 'draw_scene', None)
    before = {path: path.stat().st_mtime_ns for path in small.rglob('*')}
    assert write_demo_scenes(small, **SMALL) == small
    assert {path: path.stat().st_mtime_ns for path in small.rglob('*')} == before


@pytest.mark.parametrize('change', [{'num_train': 3}, {'num_val': 2}, {'size': (96, 96)}, {'seed': 6}])
def test_a_set_of_other_parameters_is_refused(small, change):
    before = contents(small)
    with pytest.raises(OutputError, match=r'Expected .* but got .*Name another folder, or remove this one'):
        write_demo_scenes(small, **{**SMALL, **change})
    assert contents(small) == before


def test_an_incomplete_set_is_refused(tmp_path):
    root = write_demo_scenes(tmp_path / 'scenes', **SMALL)
    (root / 'annotations/val/0000.png').unlink()
    with pytest.raises(OutputError, match='1 of its 7 files missing'):
        write_demo_scenes(root, **SMALL)


@pytest.mark.parametrize('made', ['folder', 'file', 'damaged'])
def test_what_is_no_set_is_refused(tmp_path, made):
    root = tmp_path / 'mine'
    if made == 'file':
        root.write_text('mine')
    else:
        root.mkdir()
        (root / ('scenes.json' if made == 'damaged' else 'notes.txt')).write_text('{mine')
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')}
    with pytest.raises(OutputError, match=r'but got no readable scenes\.json'):
        write_demo_scenes(root, **SMALL)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')} == before


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    drawn = []

    def draw_two(rng, size):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(size)
        return draw_scene(rng, size)

    monkeypatch.setattr(demo_scenes, 'draw_scene', draw_two)
    with pytest.raises(KeyboardInterrupt):
        write_demo_scenes(tmp_path / 'scenes', **SMALL)
    assert len(drawn) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'num_train': 0}, 'num_train'),
        ({'num_val': 1.5}, 'num_val'),
        ({'seed': -1}, 'seed'),
        ({'seed': True}, 'seed'),
        ({'size': (96, 95)}, 'size'),
        ({'size': 96}, 'size'),
        ({'size': (96, 96, 3)}, 'size'),
    ],
)
def test_bad_parameters_are_named(tmp_path, change, name):
    with pytest.raises(ConfigError, match=f'Expected `{name}.*but got'):
        write_demo_scenes(tmp_path / 'scenes', **{**SMALL, **change})
    assert list(tmp_path.iterdir()) == []
