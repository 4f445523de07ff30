"""The records of copies, and the commitment to them that an owner publishes (docs/spec.md, section 12)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import ConfigError, DamagedFileError, MissingFileError, UnsupportedSpecError
from mmseg_keyprotect.ownership.fingerprint import RECIPIENT

RECORD_VERSION = 1
MAX_BYTES = 2**20
"""Larger files are no records."""

_PATTERNS = dict(
    recipient=RECIPIENT,
    key_id=r'[0-9a-f]{16}',
    original=r'[0-9a-f]{64}',
    copy=r'[0-9a-f]{64}',
    file=r'[0-9a-f]{64}',
    date=r'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z',
    salt=r'[0-9a-f]{64}',
)


@dataclass(frozen=True)
class CopyRecord:
    """What the owner keeps of one copy. It names the recipient, so it is private.

    Args:
        recipient: Who got the copy.
        key_id: The id of the owner's key, from which the mark is derived.
        strength: Of the mark, in standard deviations of a tensor.
        original: SHA-256 of the plain weights.
        copy: SHA-256 of the marked weights, before they were bound or sealed.
        file: SHA-256 of the checkpoint file that was made.
        date: Of the making, ``2026-01-31T12:00:00Z``.
        salt: 32 random bytes in hex, so that the hash of the record does not reveal the recipient.
        version: Of this format.
    """

    recipient: str
    key_id: str
    strength: float
    original: str
    copy: str
    file: str
    date: str
    salt: str
    version: int = RECORD_VERSION

    def to_json(self) -> str:
        """Return the record as JSON with sorted names and without blanks."""
        return canonical(asdict(self))

    @property
    def commitment(self) -> str:
        """SHA-256 of the record's JSON, in hex; it can be published."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str, source: str | Path) -> CopyRecord:
        """Read a record.

        Raises:
            DamagedFileError: The text is no record.
            UnsupportedSpecError: It has a newer version.
        """
        found = parse(text, source, 'record of a copy')
        names = {field.name for field in fields(cls)}
        strength = found.get('strength')
        bad = sorted(names ^ set(found)) or [
            name
            for name, pattern in _PATTERNS.items()
            if not (isinstance(found[name], str) and re.fullmatch(pattern, found[name]))
        ]
        if bad or not isinstance(strength, float) or not 0 < strength < 1:
            raise DamagedFileError(
                f'Expected the record of a copy, but {source} has an unexpected {bad[0] if bad else "strength"}. Use '
                'another copy of it.'
            )
        return cls(**found)


def now() -> str:
    """Return the date and time as records have it, UTC."""
    return datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def new_salt() -> str:
    """Return 32 random bytes in hex."""
    return secrets.token_hex(32)


def record_path(folder: str | Path, recipient: str, original: str) -> Path:
    """Return the path of the record of one recipient's copy of one original."""
    return Path(folder) / f'{recipient}.{original[:12]}.json'


def read_records(folder: str | Path) -> list[CopyRecord]:
    """Read all records of a folder: its files ``*.json``.

    Raises:
        MissingFileError: There is no such folder, or it holds no record.
        DamagedFileError: A file is no record.
        ConfigError: A recipient is listed twice for one original.
    """
    paths = sorted(Path(folder).glob('*.json'))
    if not paths:
        raise MissingFileError(
            f'Expected a folder of records, but {folder} holds none. Give the one that `keyprotect protect '
            '--recipient` wrote to.'
        )
    records: dict[tuple[str, str, str], CopyRecord] = {}
    for path in paths:
        record = CopyRecord.from_json(read_text(path), path)
        if records.setdefault((record.recipient, record.original, record.key_id), record) is not record:
            raise ConfigError(
                f'Expected every recipient once, but {folder} lists {record.recipient} twice for one original, in '
                f'{path.name} the second time. Move the extra file away.'
            )
    return list(records.values())


def commit(records: Sequence[CopyRecord], date: str) -> str:
    """Return the text of a commitment, which can be published: it names no recipient.

    Args:
        records: At least one.
        date: Of the commitment. It proves nothing by itself: publish the text, or have it time-stamped.
    """
    found = dict(
        version=RECORD_VERSION,
        date=date,
        key_ids=sorted({record.key_id for record in records}),
        originals=sorted({record.original for record in records}),
        records=sorted(record.commitment for record in records),
    )
    return canonical(found) + '\n'


def verify_commitment(text: str, records: Iterable[CopyRecord], source: str | Path = 'the commitment') -> int:
    """Check that a commitment holds every one of some records. It may hold more, which stay closed.

    Args:
        text: The commitment.
        records: The opened records.
        source: Where the commitment comes from, for error messages.

    Returns:
        The number of records that stay closed.

    Raises:
        DamagedFileError: The text is no commitment, or it does not hold a record.
        UnsupportedSpecError: The commitment has a newer version.
    """
    found = parse(text, source, 'commitment')
    lists = [found.get(name) for name in ('key_ids', 'originals', 'records')]
    if not all(isinstance(one, list) for one in lists):
        raise DamagedFileError(
            f'Expected a commitment with key_ids, originals and records, but {source} lacks one. Use another copy.'
        )
    key_ids, originals, commitments = (set(map(str, one or [])) for one in lists)
    opened = list(records)
    for record in opened:
        known = (record.commitment in commitments, record.key_id in key_ids, record.original in originals)
        if not all(known):
            raise DamagedFileError(
                f'Expected a commitment to the record of {record.recipient}, but {source} does not hold it: the record '
                'is newer than the commitment, or one of the two was changed. Use the files of that date.'
            )
    return len(commitments) - len({record.commitment for record in opened})


def canonical(found: dict[str, Any]) -> str:
    """Return JSON with sorted names and without blanks."""
    return json.dumps(found, sort_keys=True, separators=(',', ':'))


def read_text(path: str | Path) -> str:
    """Read a small text file.

    Raises:
        MissingFileError: There is no such file.
        DamagedFileError: The file is large, or no UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'Expected a file, but {path} does not exist. Check the path.')
    with open(path, 'rb') as file:
        data = file.read(MAX_BYTES + 1)
    try:
        if len(data) <= MAX_BYTES:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise DamagedFileError(f'Expected a small text file, but {path} is large or no text. Use another copy of it.')


def parse(text: str, source: str | Path, what: str) -> dict[str, Any]:
    """Parse a JSON object with a version.

    Raises:
        DamagedFileError: The text is no such object.
        UnsupportedSpecError: It has a newer version.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    version = found.get('version') if isinstance(found, dict) else None
    if not isinstance(found, dict) or type(version) is not int or version < 1:
        raise DamagedFileError(f'Expected a {what}, but {source} is none. Use another file.')
    if version > RECORD_VERSION:
        raise UnsupportedSpecError(
            f'Expected a {what} of version {RECORD_VERSION}, but {source} has version {version}. Install a newer '
            'mmseg-keyprotect.'
        )
    return found
