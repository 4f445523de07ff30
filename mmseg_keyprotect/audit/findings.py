"""What one attack gave, as it is kept and reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmseg_keyprotect.audit.key_shares import Share


@dataclass(frozen=True)
class Finding:
    """What one attack gave.

    Args:
        attack: Its name.
        needs: What the attacker has.
        shares: Of the key, none where the attack estimates no key.
        mIoU: On held-out images, in percent; None where not measured.
        seconds: What it took.
        images: That the attacker used.
        queries: That he had encrypted.
        sentence: In words.
    """

    attack: str
    needs: tuple[str, ...]
    shares: list[Share]
    mIoU: float | None  # noqa: N815  the metric's own spelling
    seconds: float
    images: int
    queries: int
    sentence: str

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Finding:
        """Read one from plain JSON types."""
        shares = [Share(**share) for share in found['shares']]
        return cls(**{**found, 'needs': tuple(found['needs']), 'shares': shares})

    @property
    def whole_key(self) -> bool:
        """Whether every position of the key was found."""
        return bool(self.shares) and all(share.right == 1 for share in self.shares)

    @property
    def cost(self) -> str:
        """The cost in words."""
        queries = f', {self.queries} queries' if self.queries else ''
        return f'{self.seconds:.1f} s, {self.images} images{queries}'
