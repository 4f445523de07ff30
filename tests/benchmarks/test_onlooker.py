"""Cells on pictures and on dense keys: what they compute, and the tables and the figure of their results."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from benchmarks.paper import cells, mixing_cells, onlooker_cells
from benchmarks.paper.audit_tables import mixing_table
from benchmarks.paper.mixing_cells import READERS, Mixing, linear_mixing, orthogonal_mixing
from benchmarks.paper.onlooker_cells import Onlooker, decrypt
from benchmarks.paper.onlooker_tables import draw_onlooker, onlooker_table, onlookers
from benchmarks.paper.tables import Row
from helpers.planted import cipher_of, pictures
from mmseg_keyprotect.audit.cipher_info import CipherInfo

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Folders for the results and work files of this test alone."""
    for name in ('CELLS', 'WORK'):
        monkeypatch.setattr(cells, name, tmp_path / name.lower())
    return tmp_path


def drawn(split, count):
    """Draw scenes in the place of photographs, in the size of the figure."""
    first = 0 if split == 'train' else 40
    return [np.asarray(Image.fromarray(one).resize(onlooker_cells.SIZE)) for one in pictures()[first : first + count]]


def test_pictures_of_a_cipher(own_folders, monkeypatch):
    monkeypatch.setattr(onlooker_cells, 'images', drawn)
    for name, value in dict(SEEN=12, PLAIN=16, STEPS=2).items():
        monkeypatch.setattr(onlooker_cells, name, value)
    rows = [one for one in onlookers('x') if one.label in ('negative-positive, M = 8', 'ffx, M = 4', 'ffx, M = 16')]
    cell = rows[0].cells[0]
    cell.run()
    result = cell.read()
    found = {one['of']: one['ssim'] for one in result['pictures']}
    assert found['pictures-alone'] == 1
    assert found['encrypted'] < found['block means'] < 1
    assert result['shares'] == [{'part': 'signs', 'right': 1.0, 'chance': 0.5, 'count': 192}]
    lines = [' '.join(line.split()) for line in onlooker_table(rows).splitlines()[2:]]
    assert lines[0].startswith(f'| negative-positive, M = 8 | {found["encrypted"]:.2f}, ')
    assert lines[0].endswith(f'| 1.00, 99.0 dB | {result["encrypted"]}: signs 100% |')
    assert lines[1].count('missing') == 6

    picture = np.asarray(Image.open(cell.picture))
    width, height = onlooker_cells.SIZE
    assert picture.shape == (2 * height, 4 * width, 3)
    assert (picture[:, :width] == picture[:, 3 * width :]).all()
    draw_onlooker(rows, own_folders / 'figure.png')
    assert not (own_folders / 'figure.png').exists()  # one of its two cells was not run
    draw_onlooker([rows[0]] * 3, own_folders / 'figure.png')
    assert Image.open(own_folders / 'figure.png').size == (4 * width, 4 * height)


def test_every_cipher_and_block_size_has_a_row():
    rows = onlookers('x')
    assert len({row.cells[0].name for row in rows}) == len(rows) == 12
    assert rows[-1].cells[0] == Onlooker('x', cipher=('shuffle', 'negative-positive'), block_size=16)


@pytest.mark.parametrize('word', ['shuffle+negative-positive', 'shuffle+ffx'])
def test_the_correct_key_decrypts(word):
    cipher, image = cipher_of(word), pictures()[0]
    encrypted = cipher.encrypt(image)
    assert (decrypt(encrypted, cipher.transform, CipherInfo.of(cipher)) == image).all()


def fine_tuned(rng, rows=96, channels=24, moved=0.05):
    """Return weights, and the same after a training that moved them by a share of their size."""
    public = rng.normal(size=(rows, channels))
    return public, public + moved * rng.normal(size=public.shape)


def test_a_dense_key_falls_to_least_squares():
    """A planted mixing, although a training moved the weights by a twentieth."""
    rng = np.random.default_rng(0)
    public, own = fine_tuned(rng)
    rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    assert np.linalg.norm(orthogonal_mixing(own @ rotation.T, public) - rotation) < 0.05 * np.linalg.norm(rotation)
    mixing = rotation * rng.uniform(0.5, 2, 24)
    stored = own @ np.linalg.inv(mixing)
    assert np.linalg.norm(linear_mixing(stored, public) - mixing) < 0.05 * np.linalg.norm(mixing)
    exact = linear_mixing(public @ np.linalg.inv(mixing), public)
    np.testing.assert_allclose(exact, mixing, atol=1e-9)


@pytest.mark.parametrize('solve', [orthogonal_mixing, linear_mixing])
def test_a_signed_permutation_is_a_mixing(solve):
    """The keys of the product: the nearest signed permutation is the key."""
    rng = np.random.default_rng(0)
    public, own = fine_tuned(rng)
    key = np.eye(24)[rng.permutation(24)] * rng.choice([1, -1], 24)
    found = solve(own @ key.T, public)
    places = linear_sum_assignment(abs(found), maximize=True)
    rounded = np.zeros_like(key)
    rounded[places] = np.sign(found[places])
    assert (rounded == key).all()


def test_other_weights_show_nothing():
    """A control: a random rotation misses the key by the square root of 2."""
    rng = np.random.default_rng(0)
    key = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    stored = fine_tuned(rng)[1] @ key.T
    error = np.linalg.norm(orthogonal_mixing(stored, rng.normal(size=stored.shape)) - key) / np.linalg.norm(key)
    assert error == pytest.approx(np.sqrt(2), abs=0.15)


def test_the_cell_of_dense_keys(own_folders, monkeypatch):
    """Each restored reader is nearly the model's own one, each stored reader is not."""
    rng = np.random.default_rng(0)
    public, state = {}, {}
    for stage, names in READERS.items():
        known, own = fine_tuned(rng, 48, 8)
        public[names[0].removeprefix('backbone.')] = torch.from_numpy(known)[..., None, None]
        state |= dict.fromkeys(names, torch.from_numpy(own)[..., None, None])
        assert stage + 1 == int(names[0][len('backbone.layer')]) - 1
    for name, weights in dict(own=state, public=public).items():
        torch.save(dict(state_dict=weights), own_folders / f'{name}.pth')
    monkeypatch.setattr(mixing_cells.Training, 'checkpoint', lambda self: own_folders / 'own.pth')
    cell = Mixing('x', weights=str(own_folders / 'public.pth'))
    cell.work.mkdir(parents=True)
    found = cell.recover()
    assert all(one['orthogonal'] < one['linear'] < 0.1 < 1 < one['control'] for one in found), found
    read = {word: torch.load(cell.work / f'{word}.pth')['state_dict'] for word in ('mixed', 'recovered')}
    for name, own in state.items():
        assert torch.norm(read['recovered'][name] - own) < 0.1 * torch.norm(own) < torch.norm(read['mixed'][name] - own)

    cell.file.parent.mkdir()
    cell.file.write_text(json.dumps(dict(stages=found, plain=37.0, mixed=3.0, recovered=36.0)))
    table = ' '.join(mixing_table([Row('small', [cell]), Row('later', [Mixing('y')])]).split())
    assert f'| small, stage 0 | 8 | {100 * found[0]["moved"]:.1f}% |' in table
    assert '| small: mIoU 37.0 without a key, 3.0 as stored, 36.0 restored |' in table
    assert 'later' not in table
