"""The rows of the access report: one for each user, in groups where users have random keys of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mmseg_keyprotect.evaluation.draws import Draws
from mmseg_keyprotect.session.scores import Scores


@dataclass(frozen=True)
class AccessRow:
    """The accuracy of one user.

    Args:
        who: The name of the user, for example ``wrong key 3``.
        kind: ``'baseline'``, ``'correct'``, ``'none'``, ``'wrong'`` or ``'partly'``.
        scores: The accuracies in percent.
        known: The known share of the key in percent; None but for partly right keys.
    """

    who: str
    kind: str
    scores: Scores
    known: int | None = None


@dataclass(frozen=True)
class Group:
    """Several random keys of one kind.

    Args:
        who: The name of the group, ``wrong keys`` or for example ``25% of the key``.
        known: The known share of the key in percent; 0 for wrong keys.
        rows: One row for each key, at least one.
    """

    who: str
    known: int
    rows: list[AccessRow]

    def draws(self, metric: str) -> Draws:
        """Return the draws of ``mIoU``, ``aAcc`` or ``mAcc``."""
        return Draws([getattr(row.scores, metric) for row in self.rows])

    @cached_property
    def miou(self) -> Draws:
        """The draws of mIoU."""
        return self.draws('mIoU')
