"""Encrypting an image block by block, and extending its label map with it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from mmseg_keyprotect.ciphers.blocks import pad_label
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.errors import AlreadyEncryptedError, BlockAlignmentError, ImageFormatError
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.images.files import read_image, save_encrypted
from mmseg_keyprotect.keys.providers import build_key
from mmseg_keyprotect.shards.pair_checks import check_pair, check_pixels
from mmseg_keyprotect.shards.pairs import Pair
from mmseg_keyprotect.shards.plans import Shard, put_without_problems
from mmseg_keyprotect.shards.storage import SourceFile, Storage
from mmseg_keyprotect.shards.tar import TarWriter

_IGNORED = 255
_LABEL_MODES = ('L', 'P', 'I;16')


class PairEncryptor:
    """Encrypts images and extends their label maps. Ray may pickle it; the key is built where it runs.

    Args:
        source: The folder of the data set.
        target: The folder to make.
        key: The configuration of the key, as for :func:`~mmseg_keyprotect.keys.providers.build_key`.
        cipher: The configuration of the cipher.
        resize: (width, height) in pixels that images and label maps are resized to before.
        tar: Whether the result is tar archives for WebDataset.
        skip: Whether files with problems are left out.
    """

    def __init__(
        self,
        source: Storage,
        target: Storage,
        key: Any,
        cipher: CipherConfig,
        resize: tuple[int, int] | None,
        tar: bool,
        skip: bool,
    ) -> None:
        self.source, self.target, self.key, self.cipher = source, target, key, cipher
        self.resize, self.tar, self.skip = resize, tar, skip
        self._encryptor: Encryptor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_encryptor': None}

    @property
    def encryptor(self) -> Encryptor:
        """What encrypts the images."""
        if self._encryptor is None:
            self._encryptor = Encryptor(build_key(self.key), self.cipher)
        return self._encryptor

    def __call__(self, shard: Shard) -> tuple[int, int, dict[str, str]]:
        """Encrypt the pairs of a shard.

        Returns:
            The number of the shard, how many images were encrypted now, and the problems by path.
        """
        problems: dict[str, str] = {}
        if not self.tar:
            return shard.number, sum(self._encrypt(pair, shard.listed, problems) for pair in shard.pairs), problems
        done = 0
        with put_without_problems(self.target, tar_name(shard.number), problems, self.skip) as file:
            archive = TarWriter(file)
            for pair in shard.pairs:
                if (made := self.made(pair, shard.listed, problems)) is not None:
                    done += 1
                    for name, content in zip(self.members_of(pair), made, strict=True):
                        if name is not None and content is not None:
                            archive.add(name, content)
            archive.finish()
        return shard.number, done, problems

    def _encrypt(self, pair: Pair, listed: Mapping[str, SourceFile], problems: dict[str, str]) -> bool:
        """Write the files of a pair that are not there yet, the image last."""
        image, label = self.members_of(pair)
        if self.target.exists(image) or (made := self.made(pair, listed, problems)) is None:
            return False
        for path, content in ((label, made[1]), (image, made[0])):
            if path is not None and content is not None:
                with self.target.put(path) as file:
                    file.write(content)
        return True

    def members_of(self, pair: Pair) -> tuple[str, str | None]:
        """Return the names of the encrypted image and of its label map, in the folder or in an archive."""
        suffix = self.encryptor.suffix
        if self.tar:
            return f'{pair.key}.image{suffix}', pair.label and f'{pair.key}.label.png'
        return target_of(pair.image, suffix), pair.label and target_of(pair.label, '.png')

    def made(
        self, pair: Pair, listed: Mapping[str, SourceFile], problems: dict[str, str]
    ) -> tuple[bytes, bytes | None] | None:
        """Return the files of an encrypted image and of its label map; None if one of them has a problem.

        Args:
            pair: The image and its label map.
            listed: What files were when the source was listed.
            problems: Gets what is wrong.
        """
        content = self.source.read(pair.image, listed[pair.image])
        label = None if pair.label is None else self.source.read(pair.label, listed[pair.label])
        try:
            check_pair(content, label)
            pixels = read_image(io.BytesIO(content))
            if self.resize is not None:  # not by the encryptor: its note has the size of the plain image
                pixels = np.asarray(Image.fromarray(pixels).resize(self.resize, Image.Resampling.BILINEAR))
            encrypted, note = self.encryptor.encrypt(pixels)
            extended = None if label is None else self._extended(label, tuple(note['padding_size']))
        except (ImageFormatError, AlreadyEncryptedError, BlockAlignmentError) as error:
            problems[pair.image] = str(error)
            return None
        image = io.BytesIO()
        save_encrypted(image, encrypted, note)
        return image.getvalue(), extended

    def _extended(self, content: bytes, padding: tuple[int, ...]) -> bytes:
        """Return a label map, resized as its image, with the ignored value at the right and at the bottom."""
        check_pixels(content)
        with Image.open(io.BytesIO(content)) as label:
            if label.mode not in _LABEL_MODES:
                raise ImageFormatError(
                    f'Expected a label map of one channel of class numbers, modes {", ".join(_LABEL_MODES)}, but got '
                    f'the mode {label.mode}. Convert it.'
                )
            palette = label.getpalette() if label.mode == 'P' else None
            if self.resize is not None:
                label = label.resize(self.resize, Image.Resampling.NEAREST)
            values = pad_label(np.asarray(label), padding, _IGNORED)  # type: ignore[arg-type]
        written = Image.fromarray(values)
        if palette is not None:
            # of all 256 entries: PNG stores the numbers of a short palette in fewer bits, and 255 would be cut
            written.putpalette([*palette, *bytes(3 * 256 - len(palette))])
        file = io.BytesIO()
        written.save(file, 'PNG')
        return file.getvalue()


def target_of(path: str, suffix: str) -> str:
    """Return the path of an encrypted image or a label map.

    Example:
        >>> target_of('images/a.jpg', '.png')
        'images/a.png'
    """
    return path[: path.rindex('.')] + suffix


def tar_name(number: int) -> str:
    """Return the name of an archive for WebDataset.

    Example:
        >>> tar_name(3)
        'shard-000003.tar'
    """
    return f'shard-{number:06d}.tar'
