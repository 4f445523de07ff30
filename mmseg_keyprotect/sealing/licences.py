"""Licences in sealed files: for whom a copy is, from when to when, and on which device (docs/spec.md, section 9)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timezone
from typing import Any

from mmseg_keyprotect.errors import ConfigError, LicenceError, MissingDependencyError, SealedFileError

MAX_TEXT = 1 << 16
"""Characters of one field of a licence."""

_TIME = '%Y-%m-%dT%H:%M:%SZ'


@dataclass(frozen=True)
class Licence:
    """What the publisher of a sealed file allows. Empty text leaves a term out.

    Times and devices are what the machine says, and whoever owns the machine can change both. A licence reminds honest
    users, and tells whose copy it is; it does not stop an attacker who has the key.

    Args:
        recipient: For whom the copy is.
        not_before: The first second in which it opens, in UTC: ``2026-01-31T00:00:00Z``, or the day alone.
        not_after: The last second in which it opens; a day alone means its end.
        text: Further terms.
        device: The id of the only machine that opens it, as :func:`~mmseg_keyprotect.sealing.device_id` gives it.

    Raises:
        ConfigError: A time or a device has another form, or the licence ends before it begins.

    Example:
        >>> Licence('ACME', not_after='2027-12-31').not_after
        '2027-12-31T23:59:59Z'
    """

    recipient: str = ''
    not_before: str = ''
    not_after: str = ''
    text: str = ''
    device: str = ''

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                raise ConfigError(
                    f'Expected `{field.name}` of a licence as text of at most {MAX_TEXT} characters, but got '
                    'something else. Correct it.'
                )
        for name, clock in (('not_before', 'T00:00:00Z'), ('not_after', 'T23:59:59Z')):
            object.__setattr__(self, name, _time(getattr(self, name), clock, name))
        if self.not_before and self.not_after and self.not_after < self.not_before:
            raise ConfigError(
                f'Expected a licence that begins before it ends, but got {self.not_before} to {self.not_after}. '
                'Correct the times.'
            )
        if not re.fullmatch('(?:[0-9a-f]{16})?', self.device):
            raise ConfigError(
                'Expected a device id of 16 hex characters, but got something else. Ask for what '
                '`keyprotect inspect --this-device` prints there.'
            )

    def problem(self, now: datetime | None = None) -> str:
        """Return why a file must not be opened here and now, or empty text where nothing is against it.

        Args:
            now: With a time zone. Default: the clock of this machine.

        Example:
            >>> Licence(not_after='2025-12-31').problem(datetime(2026, 1, 1, tzinfo=timezone.utc))
            'it ended at 2025-12-31T23:59:59Z'
        """
        current = (now or datetime.now(timezone.utc)).astimezone(timezone.utc).strftime(_TIME)
        if self.not_before and current < self.not_before:
            return f'it begins at {self.not_before}'
        if self.not_after and current > self.not_after:
            return f'it ended at {self.not_after}'
        if self.device and self.device != device_id():
            return f'it is for the device {self.device}, and this is {device_id()}'
        return ''

    def check(self) -> None:
        """Refuse what the licence does not allow.

        Raises:
            LicenceError: The licence has not begun, has ended, or is for another device.
            MissingDependencyError: It names a device, and the package py-machineid is not installed.
        """
        problem = self.problem()
        if problem:
            raise LicenceError(
                f'Expected a licence that allows to open this file now, but {problem}. Ask its publisher for another.'
            )

    def to_fields(self) -> dict[str, str]:
        """Return the licence as the header holds it."""
        return asdict(self)

    @classmethod
    def from_fields(cls, terms: Any) -> Licence:
        """Return the licence of a header, which may be hostile.

        Raises:
            SealedFileError: The header holds something else.
        """
        names = {field.name for field in fields(cls)}
        try:
            if not isinstance(terms, dict) or set(terms) != names:
                raise ConfigError('other fields')
            licence = cls(**terms)
            if licence.to_fields() != terms:  # a day alone is not the form of a header
                raise ConfigError('another form')
        except ConfigError:
            raise SealedFileError(
                'Expected the licence of a sealed file, but the header holds something else: it is damaged. Use '
                'another copy of the file.'
            ) from None
        return licence


def device_id() -> str:
    """Return the id of this machine: 16 hex characters, derived from what the operating system calls the machine.

    Whoever owns a machine can change it. It does not reveal the operating system's own id.

    Raises:
        MissingDependencyError: The package py-machineid is not installed.
        LicenceError: The machine has no id, as many containers have none.

    Example:
        >>> len(device_id())
        16
    """
    try:
        import machineid
    except ImportError:
        raise MissingDependencyError.of('py-machineid', 'device') from None
    try:
        found: str = machineid.hashed_id('mmseg-keyprotect')
    except machineid.MachineIdNotFound:
        raise LicenceError(
            'Expected a machine with an id, but this one has none, as many containers. Give it /etc/machine-id.'
        ) from None
    return found[:16].lower()


def _time(text: str, clock: str, name: str) -> str:
    """Return a time of a licence in its one form."""
    if not text:
        return ''
    try:
        if re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}', text):
            return date.fromisoformat(text).isoformat() + clock
        if re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z', text):
            datetime.strptime(text, _TIME)
            return text
    except ValueError:
        pass
    raise ConfigError(
        f'Expected `{name}` of a licence such as 2026-01-31 or 2026-01-31T12:00:00Z (UTC), but got {text[:40]!r}. '
        'Correct it.'
    )
