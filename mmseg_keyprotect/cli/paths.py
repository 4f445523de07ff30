"""Paths of a command line that do not exist are refused before torch is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmseg_keyprotect.config_files import config_file
from mmseg_keyprotect.errors import MissingFileError


def refuse_missing(args: argparse.Namespace) -> None:
    """Refuse a command line that names a configuration, a checkpoint or a folder of data that does not exist.

    A checkpoint may be the address of a download. All other paths are those of files that the command makes, or
    key files, which have errors of their own.

    Raises:
        MissingFileError: A file or folder does not exist.
    """
    config, checkpoint = getattr(args, 'baseline', None) or (None, None)
    for source in (getattr(args, 'config', None), config):
        if source is not None:
            config_file(source)
    others = [getattr(args, name, None) for name in ('checkpoint', 'public_weights', 'original', 'ancestor')]
    for source in (checkpoint, *others):
        path = (source or '').removeprefix('sealed://')
        if path and '://' not in path and not Path(path).expanduser().is_file():
            raise MissingFileError(f'Expected a checkpoint file, but {path} does not exist. Check the path.')
    data = getattr(args, 'data', None)
    if data and not Path(data).is_dir():
        raise MissingFileError(f'Expected the folder of a data set, but {data} is none. Check the path of --data.')
