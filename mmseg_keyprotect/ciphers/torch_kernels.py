"""Block transforms of batches of images on torch tensors. Tensors on the CPU use the numpy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmseg_keyprotect.ciphers.kernels import DOMAIN, Kernel, unknown_value


class TorchKernel:
    """A kernel for tensors (N, C, H, W) on any device.

    Args:
        kernel: The kernel for numpy arrays.

    Example:
        >>> from mmseg_keyprotect.ciphers.transform import BlockTransform
        >>> kernel = TorchKernel(Kernel(BlockTransform.flip(np.ones(12, dtype=bool)), block_size=2, channels=3))
        >>> int(kernel.encrypt(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).min())
        255
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._constants: dict[tuple[str, torch.device], Tensor] = {}

    def encrypt(self, images: Tensor) -> Tensor:
        """Transform images, uint8 (N, C, H, W). The result is uint8, or int16 with a table."""
        return self._encrypt_on_cpu(images.contiguous()) if images.device.type == 'cpu' else self.encrypt_blocks(images)

    def decrypt(self, images: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.ciphers.torch_kernels.TorchKernel.encrypt`.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        return self._decrypt_on_cpu(images.contiguous()) if images.device.type == 'cpu' else self.decrypt_blocks(images)

    def encrypt_blocks(self, images: Tensor) -> Tensor:
        """Transform images with torch operators, on any device."""
        transform = self.kernel.transform
        blocks = self._to_blocks(images)
        if transform.moves:
            blocks = blocks[..., self._constant('source', transform.source, images)]
        if transform.mask.any():
            blocks = blocks ^ self._constant('mask', transform.mask, images)
        if transform.table is not None:
            table = np.concatenate([np.arange(256, dtype=np.int16), transform.table])
            offset = self._constant('offset', transform.keyed * 256, images)
            blocks = self._constant('table', table, images)[blocks.long() + offset]
        return self._from_blocks(blocks)

    def decrypt_blocks(self, images: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.ciphers.torch_kernels.TorchKernel.encrypt_blocks`, on any device.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        transform = self.kernel.transform
        blocks = self._to_blocks(images)
        if transform.table is not None:
            inverse = np.full(2 * DOMAIN, -1, dtype=np.int16)
            inverse[:256] = inverse[DOMAIN + transform.table] = np.arange(256)
            values = blocks.long()
            if not bool(((values >= 0) & (values < DOMAIN)).all()):
                raise unknown_value()
            offset = self._constant('inverse_offset', transform.keyed * DOMAIN, images)
            blocks = self._constant('inverse_table', inverse, images)[values + offset]
            if bool((blocks < 0).any()):
                raise unknown_value()
            blocks = blocks.byte()
        undo = transform.inverse()
        if transform.moves:
            blocks = blocks[..., self._constant('inverse', undo.source, images)]
        if transform.mask.any():
            blocks = blocks ^ self._constant('inverse_mask', undo.mask, images)
        return self._from_blocks(blocks)

    def _encrypt_on_cpu(self, images: Tensor) -> Tensor:
        out = torch.empty_like(images, dtype=torch.uint8 if self.kernel.transform.table is None else torch.int16)
        for image, target in zip(images.numpy(), _unsigned(out), strict=True):
            self.kernel.encrypt(image, 'chw', out=target)
        return out

    def _decrypt_on_cpu(self, images: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(self.kernel.decrypt(image, 'chw')) for image in _unsigned(images)])

    def _constant(self, name: str, array: npt.NDArray[Any], like: Tensor) -> Tensor:
        place = (name, like.device)
        if place not in self._constants:
            self._constants[place] = torch.from_numpy(np.ascontiguousarray(array)).to(like.device)
        return self._constants[place]

    def _to_blocks(self, images: Tensor) -> Tensor:
        """Cut images into flattened blocks (N, H / M, W / M, M * M * C), channel fastest."""
        m = self.kernel.block_size
        n, c, height, width = images.shape
        cells = images.reshape(n, c, height // m, m, width // m, m)
        return cells.permute(0, 2, 4, 3, 5, 1).reshape(n, height // m, width // m, m * m * c)

    def _from_blocks(self, blocks: Tensor) -> Tensor:
        """Put flattened blocks together to images (N, C, H, W)."""
        m, (n, rows, columns, samples) = self.kernel.block_size, blocks.shape
        cells = blocks.reshape(n, rows, columns, m, m, samples // m**2)
        return cells.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, rows * m, columns * m)


def _unsigned(images: Tensor) -> npt.NDArray[Any]:
    """View a contiguous tensor as an array, and int16, which torch uses in the place of uint16, as uint16."""
    array: npt.NDArray[Any] = images.numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array
