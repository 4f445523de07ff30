"""How natural a key makes encrypted images look: the score of those who search without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CENTRE, Form


class NaturalScore:
    """The energy of decrypted blocks under a Gaussian with the mean and covariance of natural blocks.

    It needs second moments of the encrypted blocks alone, so that a key costs one gather whatever the images.
    Neighbouring samples of natural images are nearly alike, so that a wrong key makes blocks very improbable.

    Args:
        encrypted: Images without a table, uint8 (H, W, 3), whole blocks.
        plain: Other images of the same kind.
        form: Of the cipher.
    """

    def __init__(self, encrypted: Sequence[np.ndarray], plain: Sequence[np.ndarray], form: Form) -> None:
        natural, secret = (form.blocks(images).astype(np.float64) - CENTRE for images in (plain, encrypted))
        covariance = np.atleast_2d(np.cov(natural.T))
        self._precision = np.linalg.inv(covariance + 1e-3 * covariance.trace() / len(covariance) * np.eye(form.samples))
        self._pull = self._precision @ natural.mean(0)
        self._moments, self._mean = natural.T @ natural / len(natural), natural.mean(0)
        identity = np.arange(form.samples)[None], np.ones((1, form.samples))
        self.natural = float(self.energies(*identity)[0])
        """The energy of the plain images."""
        self._moments, self._mean = secret.T @ secret / len(secret), secret.mean(0)

    def energies(self, source: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Score keys; the lower the more natural.

        Args:
            source: int64 (K, n), as of BlockTransform.
            signs: (K, n), 1 or -1.

        Returns:
            float64 (K,), up to a constant the negative log likelihood of a block.
        """
        precision = self._precision[source[:, :, None], source[:, None, :]]
        quadratic = ((precision * self._moments) @ signs[:, :, None].astype(float))[:, :, 0]
        return (signs * quadratic).sum(1) / 2 - (self._pull[source] * signs * self._mean).sum(1)
