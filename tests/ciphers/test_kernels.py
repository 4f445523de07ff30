"""All implementations give the same bytes: numpy, OpenCV, torch on the CPU, and torch operators."""

import sys
import tracemalloc

import cv2  # noqa: F401  so that it is loaded
import numpy as np
import pytest
import torch

from helpers import CIPHERS, NEGATIVE, SHUFFLE
from helpers.sizes import sized
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.ciphers.compiled import library
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import WrongKeyError

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
ALL = CIPHERS | {
    'shuffle+negative-positive+ffx': [SHUFFLE, NEGATIVE, CIPHERS['ffx']],
    'negative-positive+shuffle': [NEGATIVE, SHUFFLE],
}


@pytest.fixture
def no_opencv(monkeypatch):
    monkeypatch.delitem(sys.modules, 'cv2')


@pytest.fixture
def not_compiled(monkeypatch):
    monkeypatch.setattr('mmseg_keyprotect.ciphers.kernels.library', lambda: None)


def built(name, key, block_size, channels):
    return build_cipher(sized(ALL[name], block_size), key, channels)


CASES = [(name, channels) for name in ALL for channels in (1, 3, 4) if channels == 3 or 'reference' not in name]


@pytest.mark.parametrize('block_size', [1, 2, 4, 7, 16])
@pytest.mark.parametrize(('name', 'channels'), CASES)
def test_all_means_give_the_same_bytes(name, block_size, channels, key, request):
    cipher = built(name, key, block_size, channels)
    shape = (3 * block_size, 5 * block_size, channels)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    encrypted = cipher.encrypt(image)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    on_cpu = cipher.encrypt(batch)
    by_operators = cipher._torch_kernel.encrypt_blocks(batch)
    assert torch.equal(on_cpu, by_operators)
    assert torch.equal(cipher._torch_kernel.decrypt_blocks(by_operators), batch)
    assert torch.equal(cipher.decrypt(on_cpu), batch)
    np.testing.assert_array_equal(on_cpu[1].permute(1, 2, 0).numpy().astype(encrypted.dtype), encrypted)
    np.testing.assert_array_equal(cipher.decrypt(encrypted), image)
    planes = cipher.encrypt_to_planes(image)
    assert planes.flags.c_contiguous
    np.testing.assert_array_equal(planes.transpose(1, 2, 0), encrypted)
    for means in ('compiled library', 'OpenCV', 'numpy'):
        if means != 'compiled library':
            request.getfixturevalue('not_compiled')
        if means == 'numpy':
            request.getfixturevalue('no_opencv')
        cipher = built(name, key, block_size, channels)
        np.testing.assert_array_equal(cipher.encrypt(image), encrypted)
        np.testing.assert_array_equal(cipher.encrypt_to_planes(image), planes)
        np.testing.assert_array_equal(cipher.decrypt(encrypted), image)
        assert torch.equal(cipher.encrypt(batch), on_cpu)
        assert torch.equal(cipher.decrypt(on_cpu), batch)


def test_by_the_letter_of_the_specification(key):
    """Encrypt a rectangular image block by block in plain Python."""
    cipher = build_cipher([SHUFFLE, NEGATIVE], key, 3)
    shuffle, flip = (build_cipher(sized(part), key, 3).transform for part in (SHUFFLE, NEGATIVE))
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    expected = np.empty_like(image)
    for top in range(0, 8, 4):
        for left in range(0, 12, 4):
            x = image[top : top + 4, left : left + 4].reshape(-1)
            y = [int(x[shuffle.source[k]]) for k in range(48)]
            y = [255 - value if flip.mask[k] else value for k, value in enumerate(y)]
            expected[top : top + 4, left : left + 4] = np.array(y).reshape(4, 4, 3)
    np.testing.assert_array_equal(cipher.encrypt(image), expected)


@pytest.mark.parametrize('name', ALL)
def test_views_and_the_input_stay_as_they_are(name, key):
    cipher = built(name, key, 4, 3)
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    before = image.copy()
    for view in (
        image[::-1, 2:26, ::-1],
        image[:, 2:26],
        image[:, 25:1:-1],
        image[::-1, 2:26],
        image[::-1, 25:1:-1],
        image[::2, :24],
    ):
        expected = cipher.encrypt(np.ascontiguousarray(view))
        np.testing.assert_array_equal(cipher.encrypt(view), expected)
        np.testing.assert_array_equal(cipher.encrypt_to_planes(view).transpose(1, 2, 0), expected)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[:, :, 2:26]
    assert torch.equal(cipher.encrypt(tensor), cipher.encrypt(tensor.contiguous()))
    np.testing.assert_array_equal(image, before)
    read_only = np.ascontiguousarray(image[:, 2:26])
    read_only.flags.writeable = False
    np.testing.assert_array_equal(cipher.encrypt(read_only), cipher.encrypt(image[:, 2:26]))


@pytest.mark.skipif(library() is None, reason='expected the compiled library and a processor with AVX2')
@pytest.mark.parametrize('to', ['hwc', 'chw'])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('block_size', [1, 2, 3, 4, 8])
def test_the_library_writes_nothing_beside_the_image(block_size, channels, to, key):
    kernel = built('shuffle+negative-positive', key, block_size, channels)._kernel
    rng = np.random.default_rng(0)
    for blocks in range(1, 20):
        image = rng.integers(0, 256, (2 * block_size, blocks * block_size, channels), dtype=np.uint8)
        memory = np.full(image.size + 128, 77, dtype=np.uint8)
        shape = image.shape if to == 'hwc' else (channels, *image.shape[:2])
        kernel.encrypt(image, out=memory[64:-64].reshape(shape), to=to)
        assert (memory[:64] == 77).all()
        assert (memory[-64:] == 77).all()


@pytest.mark.parametrize('name', ['shuffle', 'negative-positive', 'shuffle+negative-positive', 'ffx'])
def test_no_temporary_larger_than_the_output(name, key):
    cipher = built(name, key, 4, 3)
    image = np.zeros((512, 512, 3), dtype=np.uint8)
    output = cipher.encrypt(image).nbytes  # this also builds the tables
    tracemalloc.start()
    cipher.encrypt(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert output <= peak < 2 * output


def test_tables_are_bounded_in_number(key, not_compiled, no_opencv):
    cipher = build_cipher([SHUFFLE, NEGATIVE], key, 3)
    for width in range(4, 400, 4):
        cipher.encrypt(np.zeros((4, width, 3), dtype=np.uint8))
    for cache in (cipher._kernel._row, cipher._kernel._band):
        assert cache.cache_info().currsize == cache.cache_info().maxsize == 8


def test_another_channel_order(key):
    cipher = build_cipher([SHUFFLE, NEGATIVE], key, 3)
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    expected = cipher.encrypt(image)[..., ::-1]
    np.testing.assert_array_equal(cipher.renamed(np.array([2, 1, 0])).encrypt(image[..., ::-1]), expected)


def test_composition_and_inverse():
    rng = np.random.default_rng(0)
    one = BlockTransform(rng.permutation(48), rng.choice([0, 255], 48))
    two = BlockTransform(rng.permutation(48), rng.choice([0, 255], 48))
    x = rng.integers(0, 256, 48, dtype=np.uint8)

    def apply(transform, x):
        return x[transform.source] ^ transform.mask

    np.testing.assert_array_equal(apply(one.then(two), x), apply(two, apply(one, x)))
    np.testing.assert_array_equal(apply(one.inverse(), apply(one, x)), x)


@pytest.mark.parametrize('value', [1000, 999, 65535])
def test_values_that_ffx_never_gives(value, key):
    cipher = build_cipher(CIPHERS['ffx'], key, 3)
    encrypted = cipher.encrypt(np.zeros((4, 4, 3), dtype=np.uint8))
    unknown = next(v for v in range(value, 255, -1) if v not in cipher.transform.table) if value == 999 else value
    encrypted[:] = unknown
    with pytest.raises(WrongKeyError, match='never produces'):
        cipher.decrypt(encrypted)
    tensor = torch.full((1, 3, 4, 4), unknown if unknown < 2**15 else -1, dtype=torch.int16)
    for decrypt in (cipher.decrypt, cipher._torch_kernel.decrypt_blocks):
        with pytest.raises(WrongKeyError, match='never produces'):
            decrypt(tensor)
