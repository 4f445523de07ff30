"""Alignment of tensors whose channels were permuted, or changed their signs, with those of the original.

Nothing has to be known about the architecture. A tensor is a matrix of output channels and input channels, with further
dimensions behind. The orders of channels that one tensor reveals are tried on the others, since the layers that share
a stream of channels share its order. So a network in which everything was reordered is aligned from its first layer,
whose input is in place, to its last. The alignment never sees the signs of a mark, so it cannot favour a recipient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

NEAR = 0.9
"""Likeness at which no further order is tried."""

GAIN = 0.05
"""Likeness that an order must gain over one that needs less search."""

ROUNDS = 8
"""Alternations between the order of rows and that of columns, at most."""

STEP = 0.01
"""Likeness that an alternation must gain for the next one."""


@dataclass(frozen=True)
class Order:
    """Where the channels of the original are in the suspect.

    Args:
        source: int64 (n,), for each channel of the original that of the suspect.
        sign: float (n,), 1, or -1 where the suspect's channel has the opposite sign.
    """

    source: np.ndarray
    sign: np.ndarray

    @classmethod
    def plain(cls, channels: int) -> Order:
        """Return the order in which all channels are in place."""
        return cls(np.arange(channels), np.ones(channels))

    def agreement(self, other: Order) -> float:
        """Return the share of channels that two orders, signs included, have in common."""
        return float(((self.source == other.source) & (self.sign == other.sign)).mean())


@dataclass(frozen=True)
class Aligned:
    """A tensor of the suspect in the order of the original.

    Args:
        values: float64 (R, C, K).
        rows: The order of the rows.
        columns: The order of the columns.
        likeness: The correlation with the original, -1 to 1.
        searched: Whether the order was found by a search, which makes unrelated tensors look alike too.
    """

    values: np.ndarray
    rows: Order
    columns: Order
    likeness: float
    searched: bool


class Aligner:
    """Aligns the tensors of one suspect, and remembers the orders of channels that it finds."""

    def __init__(self) -> None:
        self.orders: dict[int, list[Order]] = {}
        """The orders that were found, by the number of channels; none in which all channels are in place."""

    def align(self, seen: np.ndarray, known: np.ndarray) -> Aligned:
        """Find the order of rows and columns in which ``seen`` is most like ``known``.

        Args:
            seen: float64 (R, C, K), finite, of the suspect.
            known: float64 (R, C, K), of the original.
        """
        rows, columns = Order.plain(len(seen)), Order.plain(seen.shape[1])
        best = _arranged(seen, known, rows, columns, False)
        # a layer with few weights for each channel reveals no order of its own
        for order in self._orders(len(seen)) if best.likeness < NEAR else []:
            best = _better(_arranged(seen, known, order, columns, False), best)
        for order in self._orders(seen.shape[1]) if best.likeness < NEAR else []:
            best = _better(_arranged(seen, known, rows, order, False), best)
        if best.likeness < NEAR:
            best = self._search(seen, known, best)
        if best.likeness >= NEAR and best.searched:
            self._remember(best.rows)
            self._remember(best.columns)
        return best

    def _search(self, seen: np.ndarray, known: np.ndarray, best: Aligned) -> Aligned:
        """Return the best order of rows for every known order of columns, and the reverse; else search for both."""
        rows, columns = len(seen), seen.shape[1]
        for order in [Order.plain(columns), *self._orders(columns)]:
            if rows > 1 and best.likeness < NEAR:
                best = _better(_rows_found(seen, known, order), best)
        for order in [Order.plain(rows), *self._orders(rows)]:
            if columns > 1 and best.likeness < NEAR:
                best = _better(_columns_found(seen, known, order), best)
        if min(rows, columns) > 1 and best.likeness < NEAR:
            best = _better(_both_found(seen, known), best)
        return best

    def _orders(self, channels: int) -> list[Order]:
        return self.orders.get(channels, [])

    def _remember(self, order: Order) -> None:
        channels = len(order.source)
        if all(order.agreement(other) < NEAR for other in [Order.plain(channels), *self._orders(channels)]):
            self.orders[channels] = [order, *self._orders(channels)]  # the last one first: layers follow each other


def cosines(seen: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the cosines between all rows of two matrices.

    Args:
        seen: float (n, m).
        known: float (k, m).

    Returns:
        float (n, k), 0 for rows without values.

    Example:
        >>> cosines(np.eye(2), -np.eye(2)) + 0.0
        array([[-1.,  0.],
               [ 0., -1.]])
    """
    lengths = np.outer(np.linalg.norm(seen, axis=1), np.linalg.norm(known, axis=1))
    return (seen @ known.T) / np.maximum(lengths, 1e-12)


def assigned(alike: np.ndarray) -> np.ndarray:
    """Return, for every column of a square matrix, its row in the assignment with the largest sum.

    Args:
        alike: float (n, n).

    Returns:
        int64 (n,).
    """
    source = alike.argmax(0)
    if len(np.unique(source)) == len(source):  # every column has a row of its own, so no assignment is better
        return source
    return linear_sum_assignment(alike.T, maximize=True)[1]


def match_rows(seen: np.ndarray, known: np.ndarray) -> Order:
    """Match the rows of two tensors, up to their signs.

    Args:
        seen: float (n, ...).
        known: float (n, ...).

    Returns:
        For each row of ``known`` that of ``seen``.

    Example:
        >>> order = match_rows(np.array([[0, 3], [-2, 1]]), np.array([[2, -1], [0, 1]]))
        >>> order.source.tolist(), order.sign.tolist()
        ([1, 0], [-1.0, 1.0])
    """
    alike = cosines(seen.reshape(len(seen), -1), known.reshape(len(known), -1))
    source = assigned(abs(alike))
    return Order(source, np.where(alike[source, np.arange(len(source))] < 0, -1.0, 1.0))


def likeness(seen: np.ndarray, known: np.ndarray) -> float:
    """Return the correlation of all entries of two tensors; 0 where one is constant."""
    one, other = seen.ravel() - seen.mean(), known.ravel() - known.mean()
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else 0.0


def _better(found: Aligned, best: Aligned) -> Aligned:
    return found if found.likeness > best.likeness + GAIN else best


def _arranged(seen: np.ndarray, known: np.ndarray, rows: Order, columns: Order, searched: bool) -> Aligned:
    values = seen[rows.source][:, columns.source] * rows.sign[:, None, None] * columns.sign[:, None]
    return Aligned(values, rows, columns, likeness(values, known), searched)


def _rows_found(seen: np.ndarray, known: np.ndarray, columns: Order) -> Aligned:
    rows = match_rows(seen[:, columns.source] * columns.sign[:, None], known)
    return _arranged(seen, known, rows, columns, True)


def _columns_found(seen: np.ndarray, known: np.ndarray, rows: Order) -> Aligned:
    columns = match_rows((seen[rows.source] * rows.sign[:, None, None]).swapaxes(0, 1), known.swapaxes(0, 1))
    return _arranged(seen, known, rows, columns, True)


def _both_found(seen: np.ndarray, known: np.ndarray) -> Aligned:
    """Match rows by their sorted absolute values, which no order of columns changes, then columns and rows in turn."""
    size, size_known = abs(seen), abs(known)
    rows = assigned(-_distances(_signature(size), _signature(size_known)))
    columns, before = np.arange(seen.shape[1]), -1.0
    for _ in range(ROUNDS):  # without signs, which are not known yet
        columns = match_rows(_centred(size[rows]).swapaxes(0, 1), _centred(size_known).swapaxes(0, 1)).source
        rows = match_rows(_centred(size[:, columns]), _centred(size_known)).source
        alike = likeness(size[rows][:, columns], size_known)
        if alike < before + STEP:
            break
        before = alike
    products = (seen[rows][:, columns] * known).sum(2)
    column_sign = np.where(products[abs(products).sum(1).argmax()] < 0, -1.0, 1.0)
    for _ in range(ROUNDS):
        row_sign = np.where(products @ column_sign < 0, -1.0, 1.0)
        column_sign = np.where(row_sign @ products < 0, -1.0, 1.0)
    found = _arranged(seen, known, Order(rows, row_sign), Order(columns, column_sign), True)
    for _ in range(2):  # with the signs, more rows and columns find their places
        found = _rows_found(seen, known, found.columns)
        found = _columns_found(seen, known, found.rows)
    return found


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean((0, 1))


def _signature(size: np.ndarray) -> np.ndarray:
    """Return the sorted absolute values of each row of (R, C, K), at every one of the K positions: (R, C * K)."""
    return np.sort(size, axis=1).reshape(len(size), -1)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one**2).sum(1)[:, None] - 2 * one @ other.T + (other**2).sum(1)
