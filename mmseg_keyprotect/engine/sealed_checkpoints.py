"""``sealed://`` for mmengine: checkpoints that are sealed on disk and opened in memory (docs/spec.md, section 9).

Whatever takes the path of a checkpoint takes ``sealed://PATH``: ``load_from``, ``resume``, ``init_cfg``, the tools,
``init_model``, ``MMSegInferencer``. The key is that of the file which KEYPROTECT_SEAL_KEY_FILE names, else of the one
which KEYPROTECT_KEY_FILE names; a file for a passphrase asks for it as a sealed key file does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.runner.checkpoint import CheckpointLoader

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.files import replacing
from mmseg_keyprotect.key_providers import KEY_FILE_VARIABLE, build_key, find_passphrase
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, open_sealed
from mmseg_keyprotect.sealing.sealed_files import sealing_into

SCHEME = 'sealed://'
SEAL_KEY_FILE_VARIABLE = 'KEYPROTECT_SEAL_KEY_FILE'


def without_scheme(path: str | Path) -> str:
    """Return the path on disk of ``sealed://PATH``."""
    return str(path).removeprefix(SCHEME)


def seal_key() -> SecretKey:
    """Return the key that seals and opens checkpoints.

    Raises:
        KeyFileError: No variable names a key file, or it cannot be loaded.
    """
    named = SEAL_KEY_FILE_VARIABLE in os.environ
    return build_key(dict(type='EnvKeyFile', name=SEAL_KEY_FILE_VARIABLE if named else KEY_FILE_VARIABLE))


@CheckpointLoader.register_scheme(SCHEME)
def load_from_sealed(filename: str, map_location: Any = None) -> Any:
    """Load a sealed checkpoint by ``torch.load`` with ``weights_only``; nothing of it touches the disk.

    Args:
        filename: ``sealed://PATH``.
        map_location: As for ``torch.load``.

    Raises:
        WrongKeyError: The file is for other keys.
        SealedFileError: It is damaged.
        KeyFileError: There is no key and no passphrase.
    """
    try:
        key = seal_key()
    except KeyFileError:
        if any(os.environ.get(name) for name in (SEAL_KEY_FILE_VARIABLE, KEY_FILE_VARIABLE)):
            raise
        key = None
    with open_sealed(without_scheme(filename), key, find_passphrase) as reader:
        try:
            checkpoint = torch.load(reader, map_location=map_location, weights_only=True)
        except Exception:
            if reader.raw.failure is not None:
                raise reader.raw.failure from None
            raise
        reader.raw.read_all_chunks()
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


FileClient.register_backend('sealed', SealedBackend, prefixes='sealed')
