"""Write an exported model as a model repository of NVIDIA Triton, for its backend for onnxruntime.

Triton reads repository/NAME/config.pbtxt and repository/NAME/1/model.onnx. The names, types and shapes of the
configuration are those of the file, and its parameter `mmseg-keyprotect` tells clients the key id, the cipher and the
block size.

    python examples/serving/triton_repository.py model.onnx repository --name segmenter
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import ConfigError, KeyProtectError, SealedFileError
from mmseg_keyprotect.export import ExportedModel
from mmseg_keyprotect.export.exported_model import METADATA
from mmseg_keyprotect.files import new_folder
from mmseg_keyprotect.sealing import is_sealed_file

TYPES = {
    'tensor(uint8)': 'TYPE_UINT8',
    'tensor(uint16)': 'TYPE_UINT16',
    'tensor(int32)': 'TYPE_INT32',
    'tensor(float)': 'TYPE_FP32',
}
"""Triton's names for the types of exported models."""

MAX_BATCH_SIZE = 8


def write_repository(
    model: str | Path, repository: str | Path, name: str = 'segmenter', max_batch_size: int = MAX_BATCH_SIZE
) -> Path:
    """Write the model repository of one model.

    Args:
        model: A plain file of `keyprotect export`.
        repository: The folder to make.
        name: What clients call the model.
        max_batch_size: The largest number of images in a request, at least 1.

    Returns:
        The configuration.

    Raises:
        SealedFileError: The file is sealed.
        CheckpointError: The file is no exported model.
        ConfigError: The name or the number cannot be used.
        OutputError: The folder exists, or cannot be written.
    """
    if is_sealed_file(model):
        raise SealedFileError(
            f'Expected a plain file, since Triton cannot open a sealed one, but {model} is sealed. Unseal it into a '
            'file system in memory, and write the repository there: `keyprotect unseal`.'
        )
    text = configuration(ExportedModel.open(model), name, max_batch_size)
    with new_folder(repository) as folder:
        (folder / name / '1').mkdir(parents=True)
        shutil.copyfile(model, folder / name / '1' / 'model.onnx')
        (folder / name / 'config.pbtxt').write_text(text, encoding='utf-8')
    return Path(repository) / name / 'config.pbtxt'


def configuration(model: ExportedModel, name: str, max_batch_size: int) -> str:
    """Return the text of config.pbtxt.

    Raises:
        ConfigError: The name or the number cannot be used.
    """
    if not re.fullmatch(r'[A-Za-z0-9_-]+', name) or max_batch_size < 1:
        raise ConfigError(
            'Expected a name of letters, digits, - and _, and at least 1 image in a request, but got '
            f'{name!r} and {max_batch_size}. Change them.'
        )
    about = json.dumps(json.dumps(model.about))  # the text of a protobuf quotes ASCII as JSON does
    return (
        f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {max_batch_size}\n'
        f'input [{_tensors(model.session.get_inputs())}]\noutput [{_tensors(model.session.get_outputs())}]\n'
        f'parameters {{ key: "{METADATA}" value {{ string_value: {about} }} }}\n'
    )


def _tensors(found: Sequence[Any]) -> str:
    """Return the messages for inputs or outputs. The first dimension is the batch, which Triton adds itself."""
    messages = []
    for one in found:
        dims = ', '.join(str(side) if isinstance(side, int) else '-1' for side in one.shape[1:])
        messages.append(f'\n  {{ name: "{one.name}" data_type: {TYPES[one.type]} dims: [ {dims} ] }}')
    return ','.join(messages) + '\n'


def main() -> None:
    """Write the repository that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='plain file of `keyprotect export`')
    parser.add_argument('repository', help='folder to make')
    parser.add_argument('--name', default='segmenter', help='what clients call the model')
    parser.add_argument('--max-batch-size', type=int, default=MAX_BATCH_SIZE)
    args = parser.parse_args()
    try:
        print(write_repository(args.model, args.repository, args.name, args.max_batch_size))
    except KeyProtectError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
