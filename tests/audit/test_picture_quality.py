"""SSIM and PSNR against values that are known, and what reconstructions are compared with."""

import numpy as np
import pytest

from helpers.planted import pictures
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.picture_quality import block_means, compare, psnr, shown, ssim

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def flat(value, size=(16, 20, 3)):
    return np.full(size, value, dtype=np.uint8)


def test_equal_and_flat_images():
    image = pictures()[0]
    assert ssim(image, image) == pytest.approx(1)
    assert psnr(image, image) == 99
    a, b = 100, 150
    assert ssim(flat(a), flat(b)) == pytest.approx((2 * a * b + C1) / (a**2 + b**2 + C1))
    assert psnr(flat(a), flat(b)) == pytest.approx(20 * np.log10(255 / 50))


def test_one_window_by_the_formula():
    """The sums of the paper over the 121 pixels of one window, written out."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 11, 11, 1)).astype(float)
    near = np.array([np.exp(-(d**2) / (2 * 1.5**2)) for d in range(-5, 6)])
    weights = np.outer(near, near)[..., None] / np.outer(near, near).sum()
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    both = (weights * (x - mx) * (y - my)).sum()
    expected = (2 * mx * my + C1) * (2 * both + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2))
    assert ssim(x, y) == pytest.approx(expected)
    assert ssim(x, 255 - x) < -0.5


def test_channels_count_alike():
    image, other = pictures()[0], pictures()[1]
    each = [ssim(image[..., [c]], other[..., [c]]) for c in range(3)]
    assert ssim(image, other) == pytest.approx(np.mean(each))
    assert ssim(image, other) < 0.6


def test_what_has_no_similarity():
    with pytest.raises(ValueError, match='at least 11'):
        ssim(flat(1, (10, 20, 3)), flat(1, (10, 20, 3)))
    with pytest.raises(ValueError, match='one shape'):
        ssim(flat(1), flat(1, (16, 24, 3)))


def test_baselines():
    info = CipherInfo('shuffle', 4, 0.0)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    means = block_means(image, info)
    assert means.shape == image.shape
    assert (means[4:8, 8:12] == image[4:8, 8:12].mean((0, 1)).round()).all()
    assert shown(np.full((2, 2, 3), 999, dtype=np.uint16)).max() == 255
    assert shown(image) is image
    plain, others = pictures()[:2], [picture[:160] for picture in pictures()[2:4]]
    found = {one.of: one for one in compare(plain, plain, [255 - one for one in plain], others, info)}
    assert list(found) == ['reconstruction', 'encrypted', 'block means', 'wrong image']
    assert found['reconstruction'].ssim == 1
    assert found['encrypted'].ssim < found['wrong image'].ssim < found['block means'].ssim < 1
    assert str(found['reconstruction']) == 'reconstruction SSIM 1.00, PSNR 99.0 dB'
