"""``sealed://`` for mmengine: checkpoints that are sealed on disk and opened in memory (docs/spec.md, section 9).

Whatever takes the path of a checkpoint takes ``sealed://PATH``: ``load_from``, ``resume``, ``init_cfg``, the tools,
``init_model``, ``MMSegInferencer``. The key is that of the file which KEYPROTECT_SEAL_KEY_FILE names, else of the one
which KEYPROTECT_KEY_FILE names; a file for a passphrase asks for it as a sealed key file does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.runner.checkpoint import CheckpointLoader

from mmseg_keyprotect.files import replacing
from mmseg_keyprotect.keys.providers import KEY_FILE_VARIABLE, SEAL_KEY_FILE_VARIABLE, find_passphrase, seal_key
from mmseg_keyprotect.sealing import KeyRecipient, open_sealed
from mmseg_keyprotect.sealing.sealed_files import sealing_into

SCHEME = 'sealed://'


def without_scheme(path: str | Path) -> str:
    """Return the path on disk of ``sealed://PATH``."""
    return str(path).removeprefix(SCHEME)


def is_sealed(path: str | Path) -> bool:
    """Tell whether a path is one of ``sealed://``."""
    return str(path).startswith(SCHEME)


@CheckpointLoader.register_scheme(SCHEME)
def load_from_sealed(filename: str, map_location: Any = None, key: Any = None) -> Any:
    """Load a sealed checkpoint by ``torch.load`` with ``weights_only``; nothing of it touches the disk.

    Args:
        filename: ``sealed://PATH``.
        map_location: As for ``torch.load``.
        key: The configuration of a key, as for :func:`seal_key`.

    Raises:
        WrongKeyError: The file is for other keys.
        SealedFileError: It is damaged.
        KeyFileError: There is no key and no passphrase.
    """
    named = key is not None or any(os.environ.get(name) for name in (SEAL_KEY_FILE_VARIABLE, KEY_FILE_VARIABLE))
    with open_sealed(without_scheme(filename), seal_key(key) if named else None, find_passphrase) as reader:
        try:
            checkpoint = torch.load(reader, map_location=map_location, weights_only=True)
        except Exception:
            if reader.raw.failure is not None:
                raise reader.raw.failure from None
            raise
    return checkpoint


@register_backend('sealed', prefixes='sealed')
class SealedBackend(LocalBackend):
    """mmengine's file backend for ``sealed://PATH``: what it puts is sealed, what it gets is opened."""

    def get(self, filepath: str | Path) -> bytes:
        """Return the plain bytes of a sealed file."""
        with open_sealed(without_scheme(filepath), seal_key()) as reader:
            return reader.read()

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Seal bytes to a file, in the place of an old one; at any moment one of them is there, whole."""
        path = Path(without_scheme(filepath))
        path.parent.mkdir(parents=True, exist_ok=True)
        key = seal_key()
        with (
            replacing(path) as temporary,
            open(temporary, 'wb') as file,
            sealing_into(file, [KeyRecipient(key)], key.key_id) as writer,
        ):
            writer.write(obj)

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """Return the plain text of a sealed file."""
        return self.get(filepath).decode(encoding)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Seal text to a file."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: str | Path) -> bool:
        """Tell whether there is something of that name."""
        return super().exists(without_scheme(filepath))

    def isfile(self, filepath: str | Path) -> bool:
        """Tell whether it is a file."""
        return super().isfile(without_scheme(filepath))

    def isdir(self, filepath: str | Path) -> bool:
        """Tell whether it is a folder."""
        return super().isdir(without_scheme(filepath))

    def remove(self, filepath: str | Path) -> None:
        """Delete a file."""
        super().remove(without_scheme(filepath))

    def rmtree(self, dir_path: str | Path) -> None:
        """Delete a folder."""
        super().rmtree(without_scheme(dir_path))

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Copy nothing: what mmengine's backends copy would be plain on one side."""
        raise NotImplementedError(
            'sealed:// reads and writes single files alone. Copy sealed files as they are on disk.'
        )

    copyfile = copyfile_from_local = copyfile_to_local = _refuse
    copytree = copytree_from_local = copytree_to_local = _refuse
    copy_if_symlink_fails = get_local_path = list_dir_or_file = _refuse


FileClient.register_backend('sealed', SealedBackend, prefixes='sealed')
