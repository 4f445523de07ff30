"""Block transforms on NVIDIA and AMD GPUs by one kernel, written in Triton, which torch brings there.

:mod:`mmseg_keyprotect.ciphers.torch_kernels` uses it where the images lie on such a GPU, and is its reference: the
same transform, in torch's own operators.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

_LANES, _COLUMNS = 512, 256
"""Words that one program writes at once, and blocks beside each other of which it writes them. Measured on an H200."""

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@triton.jit  # type: ignore[untyped-decorator]
def _move(  # type: ignore[no-untyped-def]
    images,
    out,
    bad,
    source,
    mask,
    row,
    table,
    height,
    width,
    m: tl.constexpr,
    channels: tl.constexpr,
    values: tl.constexpr,
    pack: tl.constexpr,
    moves: tl.constexpr,
    flips: tl.constexpr,
    undoes: tl.constexpr,
    bits: tl.constexpr,
    groups: tl.constexpr,
    blocks: tl.constexpr,
):
    """Write a tile of the result: ``groups`` groups of ``pack`` neighbouring samples, in ``blocks`` blocks in a row.

    ``bits`` is the size of a sample of the result, ``values`` the number of columns of the table, 0 without one, and
    ``undoes`` says that the table is undone. The other arguments are those of
    :func:`~mmseg_keyprotect.ciphers.triton_kernels.transform_blocks`.
    """
    columns = (width // m + blocks - 1) // blocks
    tiles = (channels * m * m // pack + groups - 1) // groups * columns
    tile, row_of_blocks = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    n, band = (row_of_blocks // (height // m)).to(tl.int64), row_of_blocks % (height // m)
    group = (tile // columns) * groups + tl.arange(0, groups)
    block = (tile % columns) * blocks + tl.arange(0, blocks)
    # a group is (channel, row in the block, pack columns of it)
    c, u, v = group // (m * (m // pack)), group // (m // pack) % m, group % (m // pack) * pack
    inside = (group < channels * m * m // pack)[:, None] & (block < width // m)[None, :]
    plane = height * width
    image, corner = images + n * channels * plane, (band * m * width + block * m)[None, :]
    word = tl.full([groups, blocks], 0, dtype=tl.int64 if bits * pack > 32 else tl.int32)
    flag = bad + tl.full([groups, blocks], 0, dtype=tl.int32) if undoes else bad
    for j in tl.static_range(pack):
        k = (u * m + v + j) * channels + c
        known = group < channels * m * m // pack
        s = tl.load(source + k, mask=known, other=0) if moves else k
        offset = (s % channels).to(tl.int64) * plane + (s // (m * channels)) * width + s // channels % m
        value = tl.load(image + offset[:, None] + corner, mask=inside, other=0).to(tl.int32)
        if flips:
            flip = tl.load(mask + k, mask=known, other=0).to(tl.int32)[:, None]
        if flips and not undoes:
            value = value ^ flip
        if undoes:
            tl.store(flag, 1, mask=inside & ((value < 0) | (value >= values)))
            value = tl.minimum(tl.maximum(value, 0), values - 1)
        if values > 0:
            start = tl.load(row + k, mask=known, other=0).to(tl.int32)[:, None] * values
            value = tl.load(table + start + value, mask=inside, other=0).to(tl.int32)
        if undoes:
            tl.store(flag, 1, mask=inside & (value < 0))
        if flips and undoes:
            value = value ^ flip
        word = word | (value.to(word.dtype) & ((1 << bits) - 1)) << (bits * j)
    place = c.to(tl.int64) * plane + u * width + v
    target = (n * channels * plane + place[:, None] + corner) // pack
    tl.store(out + target, word.to(out.dtype.element_ty), mask=inside)


def transform_blocks(
    images: Tensor,
    block_size: int,
    source: Tensor | None,
    mask: Tensor | None,
    row: Tensor | None,
    table: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Transform every block of images by one kernel.

    Sample k of a block becomes ``table[row[k], x[source[k]] XOR mask[k]]``, or ``table[row[k], x[source[k]]] XOR
    mask[k]`` where a table is undone.

    Args:
        images: uint8 or int16 (N, C, H, W) on a GPU; H and W are multiples of M.
        block_size: M, in pixels.
        source: As the other arguments, see :class:`~mmseg_keyprotect.ciphers.torch_kernels.BlockStep`.
        mask: See there.
        row: See there.
        table: See there. A table that is undone takes int16 images.

    Returns:
        The images, uint8 or int16, and where a table is undone an int32 (1,) that is not 0 if a sample was not in it.
    """
    images = images.contiguous()
    n, channels, height, width = images.shape
    back = images.dtype == torch.int16
    dtype = torch.uint8 if table is None or back else torch.int16
    out = torch.empty(images.shape, dtype=dtype, device=images.device)  # empty_like may give other strides
    bad = torch.zeros(1, dtype=torch.int32, device=images.device) if back else None
    pack = 4 if block_size % 4 == 0 else 2 if block_size % 2 == 0 else 1
    groups, columns = channels * block_size**2 // pack, width // block_size
    tile_columns = min(triton.next_power_of_2(columns), _COLUMNS)
    tile_groups = min(triton.next_power_of_2(groups), max(1, _LANES // tile_columns))
    tiles = triton.cdiv(groups, tile_groups) * triton.cdiv(columns, tile_columns)
    grid = (tiles * (height // block_size) * n,)  # the other axes of a grid end at 65,535
    if not out.numel():
        return out, bad
    with torch.cuda.device(images.device) if images.is_cuda else nullcontext():
        _move[grid](
            images,
            out.view(_WORDS[pack * out.element_size()]),
            bad,
            source,
            mask,
            row,
            table,
            height,
            width,
            m=block_size,
            channels=channels,
            values=0 if table is None else table.shape[1],
            pack=pack,
            moves=source is not None,
            flips=mask is not None,
            undoes=back,
            bits=8 * out.element_size(),
            groups=tile_groups,
            blocks=tile_columns,
        )
    return out, bad
