"""Doing one thing to many items: by processes or threads of this machine, or by Ray on many machines."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, TypeVar

from mmseg_keyprotect.errors import MissingDependencyError, OutputError

Item = TypeVar('Item')
Outcome = TypeVar('Outcome')


def in_threads(work: Callable[[Item], Outcome], items: Iterable[Item], jobs: int | None = None) -> Iterator[Outcome]:
    """Yield what a function returns for every item, in their order. Few items more than threads are under way.

    Args:
        work: The function.
        items: The items.
        jobs: Threads. Default: one for each core.

    Example:
        >>> list(in_threads(len, ['a', 'bb'], jobs=2))
        [1, 2]
    """
    jobs = jobs or os.cpu_count() or 1
    yield from _in_pool(ThreadPoolExecutor(jobs), work, items, jobs)


def in_processes(work: Callable[[Item], Outcome], items: Iterable[Item], jobs: int | None = None) -> Iterator[Outcome]:
    """Yield what a function returns for every item, in their order, by processes that end with this one.

    Small images spend their time in Python, where threads wait for one another. Processes are forks, which have the
    function, and a key in it, without it being sent. Threads do it where the system is not Linux, for one job, and in
    a process of another pool, which may have no children.

    Args:
        work: The function.
        items: The items, which are pickled, as the outcomes are.
        jobs: Processes. Default: one for each core.

    Raises:
        OutputError: The system has ended a process.

    Example:
        >>> list(in_processes(len, ['a', 'bb'], jobs=2))
        [1, 2]
    """
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1 or sys.platform != 'linux' or multiprocessing.current_process().daemon:
        yield from in_threads(work, items, jobs)
        return
    forks = multiprocessing.get_context('fork')
    pool = ProcessPoolExecutor(jobs, mp_context=forks, initializer=_begin, initargs=(work,))
    try:
        yield from _in_pool(pool, _carry_out, items, jobs)
    except BrokenProcessPool:
        raise OutputError(
            f'Expected {jobs} processes, but the system has ended one of them. Memory may be short: give fewer --jobs.'
        ) from None


_work: Any = None  # of a process of in_processes


def _begin(work: Callable[[Any], Any]) -> None:
    """Make a fork ready for work."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    if (opencv := sys.modules.get('cv2')) is not None:
        opencv.setNumThreads(0)  # the parent's threads are not in a fork
    if (parent := multiprocessing.parent_process()) is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End this process when its parent has ended; a pool leaves it waiting."""
    wait([sentinel])
    os._exit(1)


def _carry_out(item: Any) -> Any:
    return _work(item)


def _in_pool(pool: Executor, work: Callable[[Item], Outcome], items: Iterable[Item], jobs: int) -> Iterator[Outcome]:
    waiting: deque[Future[Outcome]] = deque()
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


ENGINES: dict[str, Callable[..., Iterator[Any]]] = dict(processes=in_processes, threads=in_threads, ray=in_ray)
"""Every engine by its name."""


def engine_of(name: str, local: bool) -> Callable[..., Iterator[Any]]:
    """Return an engine by its name; threads in the place of processes where connections would not survive a fork.

    Args:
        name: A name of ``ENGINES``.
        local: Whether all folders are on this machine.
    """
    return ENGINES['threads' if name == 'processes' and not local else name]
