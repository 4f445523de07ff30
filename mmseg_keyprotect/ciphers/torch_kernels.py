"""Block transforms of batches of images on torch tensors.

Tensors on the CPU use the numpy kernels, those on a GPU one kernel in Triton where torch brings it, and all others
torch's own operators. All give the same samples.
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmseg_keyprotect.ciphers.kernels import DOMAIN, Kernel, unknown_value


class BlockStep(NamedTuple):
    """What one direction does to the n samples of a block, on a device.

    Args:
        source: int32 (n,), where every sample comes from. None: from its own place.
        mask: uint8 (n,), 0 or 255. None: nothing is inverted.
        row: uint8 (n,), the row of the table for every sample. None: there is no table.
        table: int16 (2, 256), or int16 (2, DOMAIN) where a table is undone. None: nothing is looked up.
    """

    source: Tensor | None
    mask: Tensor | None
    row: Tensor | None
    table: Tensor | None


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
        self._steps: dict[tuple[str, torch.device], BlockStep] = {}

    def encrypt(self, images: Tensor) -> Tensor:
        """Transform images, uint8 (N, C, H, W). The result is uint8, or int16 with a table."""
        if images.device.type == 'cpu':
            return self._encrypt_on_cpu(images.contiguous())
        return self.encrypt_at_once(images) if _one_kernel(images.device) else self.encrypt_blocks(images)

    def decrypt(self, images: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.ciphers.torch_kernels.TorchKernel.encrypt`.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        if images.device.type == 'cpu':
            return self._decrypt_on_cpu(images.contiguous())
        return self.decrypt_at_once(images) if _one_kernel(images.device) else self.decrypt_blocks(images)

    def encrypt_at_once(self, images: Tensor) -> Tensor:
        """Transform images with one kernel in Triton."""
        return self._at_once('encrypt', images)[0]

    def decrypt_at_once(self, images: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.ciphers.torch_kernels.TorchKernel.encrypt_at_once`.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        plain, unknown = self._at_once('decrypt', images)
        if unknown is not None and bool(unknown):
            raise unknown_value()
        return plain

    def encrypt_blocks(self, images: Tensor) -> Tensor:
        """Transform images with torch operators, on any device."""
        transform = self.kernel.transform
        blocks = self._to_blocks(images)
        if transform.moves:
            blocks = blocks[..., self._constant('source', transform.source, images)]
        if transform.mask.any():
            blocks = blocks ^ self._constant('mask', transform.mask, images)
        table = self._table(images)
        if table is not None:
            offset = self._constant('offset', transform.keyed * 256, images)
            blocks = table.flatten()[blocks.long() + offset]
        return self._from_blocks(blocks)

    def decrypt_blocks(self, images: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.ciphers.torch_kernels.TorchKernel.encrypt_blocks`, on any device.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        transform = self.kernel.transform
        blocks = self._to_blocks(images)
        table = self._inverse_table(images)
        if table is not None:
            values = blocks.long()
            if not bool(((values >= 0) & (values < DOMAIN)).all()):
                raise unknown_value()
            offset = self._constant('inverse_offset', transform.keyed * DOMAIN, images)
            blocks = table.flatten()[values + offset]
            if bool((blocks < 0).any()):
                raise unknown_value()
            blocks = blocks.byte()
        undo = transform.inverse()
        if transform.moves:
            blocks = blocks[..., self._constant('inverse', undo.source, images)]
        if transform.mask.any():
            blocks = blocks ^ self._constant('inverse_mask', undo.mask, images)
        return self._from_blocks(blocks)

    def _at_once(self, direction: str, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the kernel in Triton; see :func:`~mmseg_keyprotect.ciphers.triton_kernels.transform_blocks`."""
        from mmseg_keyprotect.ciphers.triton_kernels import transform_blocks

        place = (direction, images.device)
        if place not in self._steps:
            self._steps[place] = self._step(direction, images)
        return transform_blocks(images, self.kernel.block_size, *self._steps[place])

    def _step(self, direction: str, images: Tensor) -> BlockStep:
        """Return what one direction does to a block, on the device of the images."""
        forward = self.kernel.transform
        transform = forward if direction == 'encrypt' else forward.inverse()
        table = self._table(images) if direction == 'encrypt' else self._inverse_table(images)
        keyed = forward.keyed if direction == 'encrypt' else forward.keyed[transform.source]
        return BlockStep(
            source=_on(images, transform.source.astype(np.int32)) if transform.moves else None,
            mask=_on(images, transform.mask) if transform.mask.any() else None,
            row=None if table is None else _on(images, keyed.astype(np.uint8)),
            table=table,
        )

    def _table(self, like: Tensor) -> Tensor | None:
        """Return int16 (2, 256): what a sample becomes where no table is used, and where it is; None without one."""
        table = self.kernel.transform.table
        return (
            None if table is None else self._constant('table', np.stack([np.arange(256, dtype=np.int16), table]), like)
        )

    def _inverse_table(self, like: Tensor) -> Tensor | None:
        """Return int16 (2, DOMAIN), which undoes the table; -1 stands for a value that is not in it."""
        table = self.kernel.transform.table
        if table is None:
            return None
        inverse = np.full((2, DOMAIN), -1, dtype=np.int16)
        inverse[0, :256] = inverse[1, table] = np.arange(256)
        return self._constant('inverse_table', inverse, like)

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
            self._constants[place] = _on(like, array)
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


def _on(like: Tensor, array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)


@cache
def _one_kernel(device: torch.device) -> bool:
    """Tell whether Triton is there and can build the kernel for the device; warn if it cannot."""
    if device.type != 'cuda' or find_spec('triton') is None:
        return False
    on = partial(torch.zeros, device=device)
    source, mask, row = on(48, dtype=torch.int32), on(48, dtype=torch.uint8), on(48, dtype=torch.uint8)
    try:
        from mmseg_keyprotect.ciphers.triton_kernels import transform_blocks

        for dtype, size in ((torch.uint8, 256), (torch.int16, DOMAIN)):  # with all that a cipher may do
            step = BlockStep(source, mask, row, on((2, size), dtype=torch.int16))
            transform_blocks(on((1, 3, 4, 4), dtype=dtype), 4, *step)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # of many kinds: no C compiler, an old GPU, another version
        warnings.warn(
            f'Triton cannot build a kernel for {device} ({type(error).__name__}), so the ciphers use torch operators '
            'there, which take several times as long. Triton needs a C compiler and a GPU of its list.',
            stacklevel=2,
        )
        return False
    return True


def _unsigned(images: Tensor) -> npt.NDArray[Any]:
    """View a contiguous tensor as an array, and int16, which torch uses in the place of uint16, as uint16."""
    array: npt.NDArray[Any] = images.numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array
