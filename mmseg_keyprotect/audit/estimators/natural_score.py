"""Score how natural a key makes encrypted images look, without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CENTRE, CipherInfo


class NaturalScore:
    """Computes the energy of decrypted blocks under a Gaussian with the mean and covariance of natural blocks.

    It needs only the second moments of the encrypted blocks, so the cost of a key does not depend on the number of
    images. Neighbouring samples of natural images are nearly equal, so a wrong key makes blocks very improbable.

    Args:
        encrypted: Images encrypted without a table, uint8 (H, W, 3), of whole blocks.
        plain: Other images of the same kind.
        info: The facts about the cipher.
    """

    def __init__(self, encrypted: Sequence[np.ndarray], plain: Sequence[np.ndarray], info: CipherInfo) -> None:
        natural, secret = (info.blocks(images).astype(np.float64) - CENTRE for images in (plain, encrypted))
        covariance = np.atleast_2d(np.cov(natural.T))
        self._precision = np.linalg.inv(covariance + 1e-3 * covariance.trace() / len(covariance) * np.eye(info.samples))
        self._pull = self._precision @ natural.mean(0)
        self._moments, self._mean = natural.T @ natural / len(natural), natural.mean(0)
        identity = np.arange(info.samples)[None], np.ones((1, info.samples))
        self.natural = float(self.energies(*identity)[0])
        """The energy of the plain images."""
        self._moments, self._mean = secret.T @ secret / len(secret), secret.mean(0)

    def energies(self, source: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Score keys; lower is more natural.

        Args:
            source: int64 (K, n), see :class:`~mmseg_keyprotect.ciphers.transform.BlockTransform`.
            signs: (K, n), 1 or -1.

        Returns:
            float64 (K,), the mean negative log likelihood of a block, up to a constant.
        """
        precision = self._precision[source[:, :, None], source[:, None, :]]
        quadratic = ((precision * self._moments) @ signs[:, :, None].astype(float))[:, :, 0]
        return (signs * quadratic).sum(1) / 2 - (self._pull[source] * signs * self._mean).sum(1)
