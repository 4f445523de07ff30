"""What one attack found, as it is stored and reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mmseg_keyprotect.audit.attack import ANSWERS
from mmseg_keyprotect.audit.key_shares import Share
from mmseg_keyprotect.audit.picture_quality import ENCRYPTED, FOUND, MARGIN, WRONG, Likeness


@dataclass(frozen=True)
class Finding:
    """What one attack found.

    Args:
        attack: The name of the attack.
        needs: What the attacker needs, and what else the attack used.
        shares: The recovered shares of the key; empty if the attack estimates no key.
        mIoU: On held-out images, in percent; None if it was not measured.
        seconds: The time that the attack took.
        images: The number of images that the attacker used.
        queries: The number of images that the attacker had encrypted, or asked the running model about.
        sentence: The result in words.
        applicable: Whether the attack could do anything on this target; if not, ``sentence`` tells the reason.
        stopped: What the attack had done when the budget ended it, for example ``4 of 200 steps``; empty if it came to
            its end.
        agreement: The share of pixels of held-out images, in percent, where the attacker's masks are those of the
            correct key, or of the whole model; None if it was not measured.
        pictures: How like the plain images its reconstructions are, beside baselines; empty if it makes none.
    """

    attack: str
    needs: tuple[str, ...]
    shares: list[Share]
    mIoU: float | None  # noqa: N815  the metric's own spelling
    seconds: float
    images: int
    queries: int
    sentence: str
    applicable: bool = True
    stopped: str = ''
    agreement: float | None = None
    pictures: list[Likeness] = field(default_factory=list)

    @classmethod
    def not_applicable(cls, attack: str, needs: tuple[str, ...], reason: str) -> Finding:
        """Return the finding of an attack that has nothing to do on the target."""
        return cls(attack, needs, [], None, 0.0, 0, 0, f'Not applicable: {reason}.', applicable=False)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Finding:
        """Read a finding from plain JSON types."""
        shares = [Share(**share) for share in found['shares']]
        pictures = [Likeness(**one) for one in found.get('pictures', [])]
        return cls(**{**found, 'needs': tuple(found['needs']), 'shares': shares, 'pictures': pictures})

    @property
    def is_copy(self) -> bool:
        """Whether the attack trains a model on what the running model answers for plain images."""
        return any(need in self.needs for need in ANSWERS)

    @property
    def whole_key(self) -> bool:
        """Whether every position of the key was recovered."""
        return bool(self.shares) and all(share.right == 1 for share in self.shares)

    @property
    def shows_pictures(self) -> bool:
        """Whether its reconstructions show more than encrypted images, and more than a guess."""
        ssim = {one.of: one.ssim for one in self.pictures}
        return bool(ssim) and ssim[FOUND] > max(ssim[ENCRYPTED], ssim[WRONG]) + MARGIN

    @property
    def cost(self) -> str:
        """The cost in words."""
        images = '1 image' if self.images == 1 else f'{self.images} images'
        queries = '' if not self.queries else ', 1 query' if self.queries == 1 else f', {self.queries} queries'
        return f'{self.seconds:.1f} s, {images}{queries}'
