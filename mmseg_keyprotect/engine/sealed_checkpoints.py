"""``sealed://`` for mmengine: checkpoints that are sealed on disk and opened in memory.

Everything that takes the path of a checkpoint takes ``sealed://PATH``: ``load_from``, ``resume``, ``init_cfg``, the
commands, ``init_model`` and ``MMSegInferencer``. A sealed file is also recognised by its first bytes, so that it opens
without the scheme. The environment variable KEYPROTECT_SEAL_KEY_FILE names the key file, by default
KEYPROTECT_KEY_FILE; KEYPROTECT_IDENTITY a token, or an identity of age. A file that is sealed for a passphrase asks for
it as a sealed key file does. Source of the format: docs/spec.md, section 9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from mmengine.fileio import FileClient, LocalBackend, register_backend
from mmengine.runner.checkpoint import CheckpointLoader

from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import CheckpointError, MissingFileError
from mmseg_keyprotect.files import replacing
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.sealing import KeyRecipient, is_sealed_file, open_by_environment
from mmseg_keyprotect.sealing.sealed_files import open_file, refuse_plain, sealing_into

SCHEME = 'sealed://'

_REPLACED: list[Path] = []
"""The checkpoints to delete once the next one in their folder is whole. mmengine makes several backends in a run."""


def without_scheme(path: str | Path) -> str:
    """Return the path on disk of ``sealed://PATH``."""
    return str(path).removeprefix(SCHEME)


def is_sealed(path: str | Path) -> bool:
    """Tell whether a path begins with ``sealed://``, or names a file that begins as sealed files do."""
    return str(path).startswith(SCHEME) or is_sealed_file(path)


def read_content(path: str | Path, key: Any = None) -> bytes:
    """Return the bytes of a file, plain or sealed.

    The arguments and errors are those of :func:`~mmseg_keyprotect.sealing.open_by_environment`.
    """
    if is_sealed(path):
        with open_by_environment(without_scheme(path), key) as reader:
            return reader.read()
    refuse_plain(path)
    with open_file(path) as file:
        return file.read()


@CheckpointLoader.register_scheme('', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint file for mmengine, in the place of its own function, which leaves weights_only to torch.

    Args:
        filename: The path of the file, plain or sealed.
        map_location: As for ``torch.load``.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file cannot be read, holds code, or holds no dict.
        WrongKeyError: The file is sealed for other keys.
        SealedFileError: The file is sealed, and damaged.
        KeyFileError: The file is sealed, and there is neither a key nor a passphrase.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise MissingFileError(f'Expected a checkpoint file, but {path} does not exist. Check the path.')
    if is_sealed(path):
        return load_from_sealed(str(path), map_location)
    refuse_plain(path)
    return load_weights_only(path, path, map_location)


@CheckpointLoader.register_scheme(SCHEME)
def load_from_sealed(filename: str, map_location: Any = None, key: Any = None) -> dict[str, Any]:
    """Load a sealed checkpoint by ``torch.load`` with ``weights_only=True``. No plain byte touches the disk.

    Args:
        filename: ``sealed://PATH``, or the path alone.
        map_location: As for ``torch.load``.
        key: The configuration of a key, as for :func:`~mmseg_keyprotect.keys.providers.seal_key`.

    Returns:
        The checkpoint, as ``torch.load`` returns it.

    Raises:
        CheckpointError: The file holds no checkpoint.
        WrongKeyError: The file is for other keys.
        SealedFileError: The file is damaged.
        KeyFileError: There is neither a key nor a passphrase.
    """
    with open_by_environment(without_scheme(filename), key) as reader:
        try:
            return load_weights_only(reader, filename, map_location)
        except CheckpointError:
            failure = reader.raw.failure
            if failure is not None:  # torch replaces the error of a damaged chunk by its own
                raise failure from None
            raise


@register_backend('sealed', prefixes='sealed')
class SealedBackend(LocalBackend):
    """mmengine's file backend for ``sealed://PATH``: it seals what it writes, and opens what it reads."""

    def get(self, filepath: str | Path) -> bytes:
        """Return the plain bytes of a sealed file."""
        with open_by_environment(without_scheme(filepath)) as reader:
            return reader.read()

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Seal bytes to a file. A file of that name is replaced in one step, so that it is never half-written."""
        path = Path(without_scheme(filepath))
        path.parent.mkdir(parents=True, exist_ok=True)
        key = seal_key()
        with (
            replacing(path) as temporary,
            open(temporary, 'wb') as file,
            sealing_into(file, [KeyRecipient(key)], key.key_id) as writer,
        ):
            writer.write(obj)
        for old in [one for one in _REPLACED if one.parent == path.resolve().parent]:
            _REPLACED.remove(old)
            if old != path.resolve():
                old.unlink(missing_ok=True)

    def get_text(self, filepath: str | Path, encoding: str = 'utf-8') -> str:
        """Return the plain text of a sealed file."""
        return self.get(filepath).decode(encoding)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Seal text to a file."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: str | Path) -> bool:
        """Tell whether the path exists."""
        return super().exists(without_scheme(filepath))

    def isfile(self, filepath: str | Path) -> bool:
        """Tell whether the path is a file."""
        return super().isfile(without_scheme(filepath))

    def isdir(self, filepath: str | Path) -> bool:
        """Tell whether the path is a folder."""
        return super().isdir(without_scheme(filepath))

    def remove(self, filepath: str | Path) -> None:
        """Delete a file. A checkpoint stays until the next one is whole: mmengine deletes before it saves.

        A process that ends between the two leaves both, and never none.
        """
        path = Path(without_scheme(filepath))
        if path.suffix == '.pth' and path.is_file():
            _REPLACED.append(path.resolve())
        else:
            super().remove(path)

    def rmtree(self, dir_path: str | Path) -> None:
        """Delete a folder."""
        super().rmtree(without_scheme(dir_path))

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to copy, since mmengine's backends would leave one of the two files plain."""
        raise NotImplementedError(
            'Expected to read or write a single file of sealed://, but got a request to copy or list files. '
            'Copy sealed files as they are on disk.'
        )

    copyfile = copyfile_from_local = copyfile_to_local = _refuse
    copytree = copytree_from_local = copytree_to_local = _refuse
    copy_if_symlink_fails = get_local_path = list_dir_or_file = _refuse


FileClient.register_backend('sealed', SealedBackend, prefixes='sealed')
