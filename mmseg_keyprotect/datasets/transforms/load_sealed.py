"""Load images and label maps of a sealed data set."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmseg_keyprotect.datasets.sealed_data_set_backend import NAME


def _sealed(arguments: dict[str, Any], key: Any) -> dict[str, Any]:
    return {**arguments, 'backend_args': dict(backend=NAME, **({} if key is None else dict(key=key)))}


@TRANSFORMS.register_module()
class LoadSealedImage(LoadImageFromFile):
    """Load an image of a sealed data set, decrypted in memory. It refuses plain files.

    Keys that are required and added are those of mmcv's ``LoadImageFromFile``.

    Args:
        key: The configuration of the key that opens the data set. Default: the one that the environment names.
        arguments: Those of ``LoadImageFromFile``, without ``backend_args``.

    Raises:
        MissingFileError: The image is not in a sealed data set.
        WrongKeyError: The data set is sealed for other recipients.
        SealedFileError: A shard is damaged.

    Example:
        In a configuration, see :class:`~mmseg_keyprotect.datasets.sealed_data_set_backend.SealedDataSetBackend`.
    """

    def __init__(self, key: Any = None, **arguments: Any) -> None:
        super().__init__(**_sealed(arguments, key))


@TRANSFORMS.register_module()
class LoadSealedAnnotations(LoadAnnotations):
    """Load a label map of a sealed data set, decrypted in memory. It refuses plain files.

    Keys that are required and added are those of mmseg's ``LoadAnnotations``.

    Args:
        key: The configuration of the key that opens the data set. Default: the one that the environment names.
        arguments: Those of ``LoadAnnotations``, without ``backend_args``.

    Raises:
        MissingFileError: The label map is not in a sealed data set.
        WrongKeyError: The data set is sealed for other recipients.
        SealedFileError: A shard is damaged.

    Example:
        In a configuration, see :class:`~mmseg_keyprotect.datasets.sealed_data_set_backend.SealedDataSetBackend`.
    """

    def __init__(self, key: Any = None, **arguments: Any) -> None:
        super().__init__(**_sealed(arguments, key))
