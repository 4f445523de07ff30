"""MMEngine's file access for sealed data sets: whatever reads files through ``mmengine.fileio`` reads their files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmseg_keyprotect.errors import MissingFileError
from mmseg_keyprotect.keys import seal_key
from mmseg_keyprotect.keys.providers import build_key, names_a_key
from mmseg_keyprotect.sealing import opener_for
from mmseg_keyprotect.shards import SealedDataSet
from mmseg_keyprotect.shards.data_set import sealed_data_set_of
from mmseg_keyprotect.shards.manifest import KEY
from mmseg_keyprotect.shards.storage import Storage

NAME = 'sealed_data_set'
"""The name of the backend, for ``backend_args=dict(backend='sealed_data_set')``."""


class SealedDataSetBackend(BaseStorageBackend):
    """Reads files of sealed data sets by the paths that they would have in the plain one.

    Args:
        key: The configuration of the key that opens the data set, or None for the one that the environment names.

    Example:
        In a configuration, for a data set that ``keyprotect dataset seal`` wrote to ``sealed/camvid``::

            train_dataloader = dict(
                dataset=dict(
                    type='BaseSegDataset',
                    data_root='sealed/camvid',
                    data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
                    backend_args=dict(backend='sealed_data_set'),
                    pipeline=[
                        dict(type='LoadSealedImage'),
                        dict(type='LoadSealedAnnotations'),
                        dict(type='PackSegInputs'),
                    ],
                )
            )
    """

    def __init__(self, key: Any = None) -> None:
        self._key = json.dumps(key)

    def get(self, filepath: Any) -> bytes:
        """Return the contents of a file."""
        data, path = self._find(filepath)
        return data.read(path)

    def get_text(self, filepath: Any, encoding: str = 'utf-8') -> str:
        """Return the contents of a text file."""
        return self.get(filepath).decode(encoding)

    def exists(self, filepath: Any) -> bool:
        """Tell whether there is such a file or folder."""
        return self.isfile(filepath) or self.isdir(filepath)

    def isfile(self, filepath: Any) -> bool:
        """Tell whether there is such a file."""
        data, path = self._find(filepath)
        return path in data.places

    def isdir(self, filepath: Any) -> bool:
        """Tell whether there is such a folder."""
        data, path = self._find(filepath)
        return not path or any(name.startswith(f'{path}/') for name in data.places)

    def join_path(self, filepath: Any, *filepaths: Any) -> str:
        """Return a path below another one."""
        return '/'.join([str(filepath).rstrip('/'), *map(str, filepaths)])

    def list_dir_or_file(
        self, dir_path: Any, list_dir: bool = True, list_file: bool = True, suffix: Any = None, recursive: bool = False
    ) -> Iterator[str]:
        """Yield the paths of folders and files in a folder, below it, as the backend for plain files does."""
        data, folder = self._find(dir_path)
        prefix = f'{folder}/' if folder else ''
        seen = set()
        for path in data.places:
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split('/')
            folders = ['/'.join(parts[: depth + 1]) for depth in range(len(parts) - 1)]
            for name in folders if recursive else folders[:1]:
                if list_dir and name not in seen:
                    seen.add(name)
                    yield name
            name = '/'.join(parts)
            if list_file and (recursive or len(parts) == 1) and (suffix is None or name.endswith(suffix)):
                yield name

    def _find(self, filepath: Any) -> tuple[SealedDataSet, str]:
        """Return the data set that a path leads into, and the path in it.

        Raises:
            MissingFileError: It leads into none.
        """
        path = str(filepath).rstrip('/')
        root = sealed_data_set_of(f'{path}/')
        if root is None:
            raise MissingFileError(
                f'Expected a file of a sealed data set, but no folder of {path} is one. Give the folder that '
                'keyprotect dataset seal wrote as data_root.'
            )
        return _opened(root, self._key), path[len(root) :].lstrip('/')


@lru_cache(16)
def _opened(root: str, key: str) -> SealedDataSet:
    config = json.loads(key)
    if config is not None:  # before the key that the environment names
        return SealedDataSet(root, key=build_key(config))
    secret = seal_key() if names_a_key() else None
    return SealedDataSet(root, key=opener_for(BytesIO(Storage(root).read(KEY)), secret) or seal_key())


register_backend(NAME, SealedDataSetBackend)
