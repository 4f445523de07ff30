"""Doing one thing to many items: by threads of this process, or by Ray on many machines."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mmseg_keyprotect.errors import MissingDependencyError

Item = TypeVar('Item')
Outcome = TypeVar('Outcome')


def in_threads(work: Callable[[Item], Outcome], items: Iterable[Item], jobs: int | None = None) -> Iterator[Outcome]:
    """Yield what a function returns for every item, in their order. Few items more than threads are under way.

    Reading, the ciphers, AES and PNG leave the interpreter to other threads.

    Args:
        work: The function.
        items: The items.
        jobs: Threads. Default: one for each core.

    Example:
        >>> list(in_threads(len, ['a', 'bb'], jobs=2))
        [1, 2]
    """
    jobs = jobs or os.cpu_count() or 1
    waiting: deque[Future[Outcome]] = deque()
    pool = ThreadPoolExecutor(jobs)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an interruption, those at work end


def in_ray(work: Callable[[Item], Outcome], items: Iterable[Item], jobs: int | None = None) -> Iterator[Outcome]:
    """Yield what a function returns for every item, in any order, by Ray Data on the machines of its cluster.

    Args:
        work: The function; Ray pickles it and sends it to the machines.
        items: The items, which are pickled too.
        jobs: Items at once. Default: as Ray decides.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            'Expected Ray, but it is not installed. Install it: pip install "mmseg-keyprotect[ray]"'
        ) from None

    def row(one: dict[str, Any]) -> dict[str, Any]:
        return dict(outcome=work(one['item']))

    rows = ray.data.from_items([dict(item=item) for item in items])
    for one in rows.map(row, concurrency=jobs).iter_rows():
        yield one['outcome']


def engine_of(name: str) -> Callable[..., Iterator[Any]]:
    """Return an engine by its name."""
    return {'threads': in_threads, 'ray': in_ray}[name]
