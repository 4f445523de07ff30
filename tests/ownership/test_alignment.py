"""Channels in another order, and with other signs, find their places again."""

import numpy as np
import pytest

from mmseg_keyprotect.ownership.alignment import Aligner, assigned, cosines


def shuffled(rng, known, rows=True, columns=True, signs=True):
    """Return a tensor in another order, as whoever reorders a network leaves it."""
    seen = known
    for axis, wanted in enumerate((rows, columns)):
        if wanted:
            seen = np.take(seen, rng.permutation(seen.shape[axis]), axis)
            sign = rng.choice([-1, 1], seen.shape[axis]) if signs else np.ones(seen.shape[axis])
            seen = seen * np.expand_dims(sign, [other for other in range(3) if other != axis])
    return seen


@pytest.mark.parametrize(
    ('rows', 'columns'), [(True, False), (False, True), (True, True)], ids=['rows', 'columns', 'both']
)
@pytest.mark.parametrize('shape', [(24, 32, 1), (16, 12, 9)])
@pytest.mark.parametrize('noise', [0, 0.1])
def test_an_order_is_found(rows, columns, shape, noise):
    rng = np.random.default_rng(0)
    known = rng.standard_normal(shape)
    seen = shuffled(rng, known, rows, columns)
    found = Aligner().align(seen + noise * rng.standard_normal(shape), known)
    assert found.searched
    assert found.likeness > 0.98
    if noise == 0:
        np.testing.assert_allclose(found.values, known)


def test_what_is_in_place_is_not_searched():
    known = np.random.default_rng(0).standard_normal((8, 8, 1))
    found = Aligner().align(2 * known, known)
    assert not found.searched
    np.testing.assert_allclose(found.values, 2 * known)


def test_layers_share_the_orders_that_they_reveal():
    """A network of four layers in which every stream is reordered: only the input and the output are in place."""
    rng = np.random.default_rng(0)
    known = [rng.standard_normal(shape) for shape in [(40, 3, 49), (40, 1, 9), (60, 40, 1), (5, 60, 1)]]
    one, two = rng.permutation(40), rng.permutation(60)
    seen = [known[0][one], known[1][one], known[2][two][:, one], known[3][:, two]]
    aligner = Aligner()
    for layer, original in zip(seen, known, strict=True):
        noisy = layer + 0.4 * rng.standard_normal(layer.shape)
        found = aligner.align(noisy, original)
        right = found.values - original
        assert abs(right).mean() < 0.5, original.shape
    assert not aligner.align(seen[1], known[1]).searched


def test_empty_and_constant_tensors():
    zeros = np.zeros((4, 4, 1))
    found = Aligner().align(zeros, np.random.default_rng(0).standard_normal((4, 4, 1)))
    assert found.likeness == 0


def test_an_assignment_has_every_row_once():
    alike = np.random.default_rng(0).random((20, 20))
    assert sorted(assigned(alike)) == list(range(20))
    np.testing.assert_array_equal(assigned(cosines(np.eye(3)[[2, 0, 1]], np.eye(3))), [1, 2, 0])
