"""Time a checkpoint saved as plain and as sealed file; benchmarks.speed.sealed times opening."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import mmseg_keyprotect  # noqa: F401  registers
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.sealing import KeyRecipient, seal_file
from mmseg_keyprotect.sealing.sealed_files import sealing_into

MEGABYTES = 200


def measure_sealing(repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Time saving a checkpoint of 200 MB, plain and sealed, in the temporary folder."""
    state = {f'layer{i}.weight': torch.randn(1000, 250) for i in range(MEGABYTES)}
    recipients = [KeyRecipient(seal_key())]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(state, folder / 'plain')

        def save_sealed() -> None:
            with open(folder / 'saved', 'wb') as file, sealing_into(file, recipients) as writer:
                torch.save(state, writer)

        def seal() -> None:
            (folder / 'new').unlink(missing_ok=True)
            seal_file(folder / 'plain', folder / 'new', recipients)

        return {
            'save': take_turns(
                {'torch.save': lambda: torch.save(state, folder / 'saved'), 'sealed': save_sealed, 'seal_file': seal},
                repeats,
            ),
        }
