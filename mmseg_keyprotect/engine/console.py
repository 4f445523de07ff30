"""Keep the console of a command short: warnings, progress and results. Log files get everything, as ever."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MMLogger

NOISE = (
    'pkg_resources is deprecated',
    'Deprecated call to `pkg_resources',
    '``build_loss`` would be deprecated',
    'Default ``avg_non_ignore`` is False',
    'The draw is False, it means that the hook for visualization',
    'The prefix is not set in metric class',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'Distributed training is not used, all SyncBatchNorm',
)
"""How messages of other packages begin that say nothing to a user of theirs."""


@contextmanager
def short_console(shows: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Let the loggers of mmengine write to the console only what ``shows`` accepts, within a ``with`` block.

    Args:
        shows: Says whether a record is shown. Records in ``NOISE`` are not, nor Python warnings in it.
    """

    def is_shown(record: logging.LogRecord) -> bool:
        return shows(record) and not record.getMessage().startswith(NOISE)

    def restrict(logger: MMLogger) -> None:
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:  # a FileHandler inherits it
                handler.addFilter(is_shown)

    def make(logger: MMLogger, *args: Any, **kwargs: Any) -> None:
        initialise(logger, *args, **kwargs)
        restrict(logger)

    initialise = MMLogger.__init__
    for logger in MMLogger._instance_dict.values():
        restrict(logger)
    with warnings.catch_warnings():
        for beginning in NOISE:
            warnings.filterwarnings('ignore', message=re.escape(beginning))
        MMLogger.__init__ = make
        try:
            yield
        finally:
            MMLogger.__init__ = initialise
            for logger in MMLogger._instance_dict.values():
                for handler in logger.handlers:
                    handler.removeFilter(is_shown)


def warnings_only(record: logging.LogRecord) -> bool:
    """Show what is wrong."""
    return record.levelno >= logging.WARNING


def results(record: logging.LogRecord) -> bool:
    """Show what is wrong, iterations with their losses, checkpoints and tables.

    The Runner itself logs the environment, the configuration and the order of its hooks, each in many lines.
    """
    dump = record.module == 'runner' and '\n' in record.getMessage().strip()
    return warnings_only(record) or not dump
