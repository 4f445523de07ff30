"""Convolutions on the grid of blocks, and the absorption of normalisation and key."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers import CIPHERS
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.stem.absorber import CENTRE, StemKeyAbsorber
from mmseg_keyprotect.models.stem.lifting import Grid, lift

STEMS = [(7, 2, 3), (3, 2, 1), (7, 4, 3), (16, 16, 0), (4, 4, 0), (14, 14, 0), (3, 1, 1)]
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def on_blocks(x, weight, grid, bias=None):
    """Apply the lifted convolution, with zeros around the image."""
    x = F.pad(F.pixel_unshuffle(x, grid.block_size), (grid.before, grid.after) * 2)
    return F.pixel_shuffle(F.conv2d(x, lift(weight, grid), bias), grid.ratio)


def assert_lifted(sizes, block_size, out_channels=3, in_channels=2, blocks=(3, 2)):
    k, s, p = sizes
    grid = Grid(k, s, p, block_size)
    x = torch.randn(2, in_channels, blocks[0] * block_size, blocks[1] * block_size, dtype=torch.float64)
    weight = torch.randn(out_channels, in_channels, k, k, dtype=torch.float64)
    expected = F.conv2d(x, weight, stride=s, padding=p)
    assert expected.shape[-2:] == (x.shape[-2] // s, x.shape[-1] // s)
    torch.testing.assert_close(on_blocks(x, weight, grid), expected, atol=1e-11, rtol=0)
    return grid, weight


@pytest.mark.parametrize('ratio', [1, 2, 3, 4])
@pytest.mark.parametrize('sizes', STEMS)
def test_equals_the_convolution_on_pixels(sizes, ratio):
    assert_lifted(sizes, ratio * sizes[1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_any_convolution_that_keeps_the_ratio(data):
    stride, kernel = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    padding = data.draw(st.integers(0, 4))
    assume(-stride <= 2 * padding - kernel < 0)
    block_size = stride * data.draw(st.integers(1, 4))
    blocks = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    assume(min(blocks) * block_size + 2 * padding >= kernel)
    channels = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    assert_lifted((kernel, stride, padding), block_size, *channels, blocks)


@pytest.mark.parametrize('ratio', [1, 2, 4])
@pytest.mark.parametrize('sizes', STEMS)
def test_every_weight_stands_once_for_each_output_pixel_and_zeros_elsewhere(sizes, ratio):
    k, s, p = sizes
    grid = Grid(k, s, p, ratio * s)
    weight = 1 + torch.rand(2, 3, k, k, dtype=torch.float64)
    lifted = lift(weight, grid)
    assert lifted.shape == (2 * ratio**2, 3 * (ratio * s) ** 2, grid.blocks, grid.blocks)
    for out, row in enumerate(lifted):
        held = row[row != 0]
        torch.testing.assert_close(held.sort().values, weight[out // ratio**2].flatten().sort().values, atol=0, rtol=0)


@pytest.mark.parametrize(
    ('sizes', 'block_size', 'blocks', 'zeros'),
    [
        ((16, 16, 0), 16, 1, 0.0),  # no zero shows where a channel belongs
        ((4, 4, 0), 8, 1, 0.75),
        ((7, 4, 3), 4, 2, 1 - 49 / 64),
        ((3, 2, 1), 4, 2, 1 - 9 / 64),
        ((7, 2, 3), 4, 3, 1 - 49 / 144),
    ],
)
def test_how_much_is_structurally_zero(sizes, block_size, blocks, zeros):
    grid = Grid(*sizes, block_size)
    lifted = lift(torch.ones(1, 1, sizes[0], sizes[0]), grid)
    assert grid.blocks == blocks
    assert (lifted == 0).double().mean().item() == pytest.approx(zeros)


def test_patches_reach_their_own_pixels_only():
    """With patches of 4 in blocks of 8, output pixel (a, b) reads the quarter (a, b) of the block."""
    lifted = lift(torch.ones(1, 1, 4, 4), Grid(4, 4, 0, 8)).reshape(2, 2, 8, 8)
    for a in range(2):
        for b in range(2):
            expected = torch.zeros(8, 8)
            expected[4 * a : 4 * a + 4, 4 * b : 4 * b + 4] = 1
            assert torch.equal(lifted[a, b], expected)


@pytest.mark.parametrize('sizes', STEMS)
def test_every_kernel_row_reads_one_row_of_the_image(sizes):
    k, s, p = sizes
    grid = Grid(k, s, p, 2 * s)
    rows = grid.rows().flatten(2)
    for a in range(2):
        for u in range(k):
            (place,) = rows[a, u].nonzero().flatten().tolist()
            assert place - grid.before * 2 * s == a * s - p + u


def cipher_of(name, key, block_size=4, order='rgb'):
    parts = CIPHERS[name] if isinstance(CIPHERS[name], list) else [CIPHERS[name]]
    return KeyedCipher([dict(p, block_size=block_size, allow_weak=True) for p in parts], key, channel_order=order)


class TestStemKeyAbsorber:
    """The first convolution absorbs normalisation and key."""

    pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')

    def test_without_a_key_the_normalisation_is_folded(self):
        grid = Grid(4, 4, 0, 8)
        weight, bias = torch.randn(5, 3, 4, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
        x = torch.rand(1, 3, 16, 24, dtype=torch.float64) * 255
        mean, std = MEAN.double()[:, None, None], STD.double()[:, None, None]
        got_weight, got_bias = StemKeyAbsorber(MEAN, STD).absorb(weight, bias, grid)
        assert got_weight.dtype == got_bias.dtype == torch.float64
        got = F.pixel_shuffle(F.conv2d(F.pixel_unshuffle((x - CENTRE) / CENTRE, 8), got_weight, got_bias), 2)
        torch.testing.assert_close(got, F.conv2d((x - mean) / std, weight, bias, stride=4), atol=1e-11, rtol=0)

    def test_dtype_of_the_weights_is_kept(self):
        weight, bias = StemKeyAbsorber(MEAN, STD).absorb(torch.randn(2, 3, 4, 4), None, Grid(4, 4, 0, 4))
        assert weight.dtype == bias.dtype == torch.float32

    def test_one_mean_for_all_channels(self):
        weight, grid = torch.randn(2, 3, 4, 4), Grid(4, 4, 0, 4)
        one = StemKeyAbsorber(torch.tensor([100.0]), torch.tensor([50.0])).absorb(weight, None, grid)
        three = StemKeyAbsorber(torch.full((3,), 100.0), torch.full((3,), 50.0)).absorb(weight, None, grid)
        assert all(map(torch.equal, one, three))

    @pytest.mark.parametrize('channels', [1, 3, 4])
    @pytest.mark.parametrize('rgb', [True, False])
    @pytest.mark.parametrize('name', ['shuffle', 'negative-positive', 'shuffle+negative-positive'])
    def test_transform_is_the_encryption_on_the_grid(self, name, rgb, channels, key):
        cipher = cipher_of(name, key, order='rgb' if rgb else 'bgr')
        source, sign = StemKeyAbsorber(MEAN[:1], STD[:1], rgb, cipher).transform(channels, 4)
        image = torch.randint(0, 256, (channels, 8, 12), dtype=torch.uint8)
        plain, encrypted = (
            F.pixel_unshuffle((x.double() - CENTRE) / CENTRE, 4) for x in (image, cipher.encrypt(image)[0])
        )
        assert torch.equal(encrypted, sign[:, None, None] * plain[source])

    def test_transform_without_a_key(self):
        source, sign = StemKeyAbsorber(MEAN, STD).transform(3, 2)
        assert torch.equal(source, torch.arange(12))
        assert (sign == 1).all()

    @pytest.mark.parametrize('order', ['rgb', 'bgr'])
    def test_border_is_an_encrypted_block_of_the_mean_colour(self, order, key):
        mean = torch.tensor([124.0, 116.0, 103.0])  # whole numbers, which can be encrypted
        cipher = cipher_of('shuffle+negative-positive', key, order=order)
        block, _ = cipher.encrypt(mean[:, None, None].expand(3, 4, 4).byte())
        expected = F.pixel_unshuffle((block.double() - CENTRE) / CENTRE, 4).flatten()
        border = StemKeyAbsorber(mean, STD, order == 'rgb', cipher).border(3, 4)
        torch.testing.assert_close(border, expected, atol=1e-15, rtol=0)

    def test_two_keys_hold_the_same_weights_at_other_places(self, key, other_key):
        weight, grid = torch.randn(2, 3, 7, 7, dtype=torch.float64), Grid(7, 2, 3, 4)
        one, other = (
            StemKeyAbsorber(MEAN, STD, True, cipher_of('shuffle+negative-positive', k)).absorb(weight, None, grid)
            for k in (key, other_key)
        )
        assert torch.equal(one[1], other[1])
        assert (one[0] - other[0]).abs().max() > 0.1
        same = [np.sort(np.abs(got[0].numpy()), axis=1) for got in (one, other)]
        np.testing.assert_array_equal(*same)

    def test_ffx_is_refused(self, key):
        with pytest.raises(ConfigError, match='but got one that looks values up'):
            StemKeyAbsorber(MEAN, STD, True, cipher_of('ffx', key)).transform(3, 4)
