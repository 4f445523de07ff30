"""What is sealed in tests, and sealed files taken apart to change their headers."""

import json
from pathlib import Path

PLAIN = bytes(range(256)) * 2250
"""Three chunks."""

MAGIC_BYTES = 31


def split(path: Path) -> tuple[bytes, dict, bytes]:
    """Return the magic of a sealed file, its header, and what follows: the mac and the chunks."""
    data = path.read_bytes()
    start = MAGIC_BYTES + 4
    size = int.from_bytes(data[MAGIC_BYTES:start], 'little')
    return data[:MAGIC_BYTES], json.loads(data[start : start + size]), data[start + size :]


def joined(magic: bytes, header: dict, rest: bytes) -> bytes:
    """Return the file again."""
    text = json.dumps(header, sort_keys=True, separators=(',', ':')).encode()
    return magic + len(text).to_bytes(4, 'little') + text + rest
