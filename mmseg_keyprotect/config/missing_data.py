"""Name the folder, the setting and the source of a data set that is not there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmseg_keyprotect.config.view import walk
from mmseg_keyprotect.errors import MissingFileError

PAGE = 'https://mmsegmentation.readthedocs.io/en/latest/user_guides/2_dataset_prepare.html'
"""MMSegmentation's page on where data sets come from, and how their folders are laid out."""

OWN_PAGE = Path(__file__).parents[1] / '.mim' / 'configs' / 'README.md'
"""The page of the configurations of this package, which says where theirs come from."""

_NO_FILE = re.compile(r"No such file or directory: '(.+)'|(?:Failed to load `ann_file`|failed to load image:) (.+)")
_NO_IMAGES = 'at least one array'
"""What mmengine's BaseDataset says if there are no images."""


@contextmanager
def naming_missing_data(cfg: Mapping[str, Any], loaders: Sequence[str]) -> Iterator[None]:
    """Replace errors about files of data sets, within a ``with`` block, by errors that say what to do.

    Args:
        cfg: The configuration whose data sets are built or read in the block.
        loaders: The names of their data loaders.

    Raises:
        MissingFileError: A folder or a file of a data set does not exist, a folder holds no images, or a file is none.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, ValueError, AssertionError) as error:
        found = None if isinstance(error, MissingFileError) else _explain(dict(_datasets(cfg, loaders)), error)
        if found is None:
            raise
        raise found from error


def _explain(datasets: Mapping[str, Mapping[str, Any]], error: Exception) -> MissingFileError | None:
    """Return the error that names the data set; None where the error is about something else."""
    named = [''.join(groups) for groups in _NO_FILE.findall(str(error))]  # torch puts a traceback before the message
    missing = getattr(error, 'filename', None) or (named and named[-1])
    for folder_of in (_images, _root):  # several data sets may have one root
        for place, dataset in datasets.items():
            root = _root(dataset)
            if missing and _is_below(missing, folder_of(dataset)):
                return _missing(place, *_state(missing, root), root)
    for place, dataset in datasets.items() if _NO_IMAGES in str(error) else ():
        suffix = dataset.get('img_suffix') or ''
        if not any(path.is_file() for path in Path(_images(dataset)).rglob(f'*{suffix}')):
            what = f'holds no images{f" *{suffix}" if suffix else ""}'
            return _missing(place, _images(dataset), what, _root(dataset))
    return None


def _state(missing: str, root: str) -> tuple[str, str]:
    """Return the path that an error is about, and what is wrong with it."""
    if root and not Path(root).exists():
        return root, 'does not exist'
    return missing, 'cannot be read as an image' if Path(missing).is_file() else 'does not exist'


def _root(dataset: Mapping[str, Any]) -> str:
    return str(dataset.get('data_root') or '')


def _images(dataset: Mapping[str, Any]) -> str:
    return os.path.join(_root(dataset), (dataset.get('data_prefix') or {}).get('img_path') or '')


def _datasets(cfg: Mapping[str, Any], loaders: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the data sets of data loaders that read files, with their dotted paths."""
    for name in loaders:
        for place, node in walk(cfg.get(name) or {}, name):
            if isinstance(node, Mapping) and {'data_root', 'data_prefix'} & set(node):
                yield place, node


def _is_below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or lies below it; neither need exist."""
    return bool(folder) and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _missing(place: str, path: str, what: str, root: str) -> MissingFileError:
    return MissingFileError(
        f'Expected the data of {place}, but {path} {what} ({place}.data_root = {root!r}). Correct it in the config, '
        f'or by --cfg-options {place}.data_root=FOLDER. Where the data comes from: {PAGE}, and for the configs of '
        f'mmseg-keyprotect {OWN_PAGE}.'
    )
