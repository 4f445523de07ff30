"""Everything that can be wrong with a protected configuration, found before anything runs.

Each check is a function that yields one error for each problem. A new check is one function and one line in
``CHECKS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.config.checks.labels import check_labels
from mmseg_keyprotect.config.checks.leaks import check_leaks, refuse_leaks
from mmseg_keyprotect.config.checks.order import check_batch_augments, check_flips, check_order, check_range
from mmseg_keyprotect.config.checks.problems import raise_problems
from mmseg_keyprotect.config.checks.protection import check_key, check_protected
from mmseg_keyprotect.config.checks.sizes import check_sizes
from mmseg_keyprotect.config.checks.stem import check_stem
from mmseg_keyprotect.errors import KeyProtectError

__all__ = ['check_config', 'check_leaks', 'check_structure', 'raise_problems', 'refuse_leaks']

CHECKS = (
    check_protected,
    check_sizes,
    check_order,
    check_range,
    check_batch_augments,
    check_flips,
    check_stem,
    check_labels,
)
"""The checks that need neither the key nor the environment."""


def check_config(cfg: Config | Mapping[str, Any]) -> list[KeyProtectError]:
    """Find every problem of a protected configuration.

    Args:
        cfg: mmengine's Config, or a nested dict.

    Returns:
        One error for each problem; empty where the configuration is sound.

    Example:
        >>> [str(problem)[:33] for problem in check_config(dict(model=dict(type='EncoderDecoder')))]
        ['Expected a model protected by Key']
    """
    problems = check_structure(cfg)
    return problems + list(check_key(cfg.to_dict() if isinstance(cfg, Config) else cfg))


def check_structure(cfg: Config | Mapping[str, Any]) -> list[KeyProtectError]:
    """Find every problem except those of the key, so that the key need not be at hand.

    Args:
        cfg: mmengine's Config, or a nested dict.

    Returns:
        One error for each problem; empty where there is none.
    """
    variables = cfg.env_variables if isinstance(cfg, Config) else {}
    cfg = cfg.to_dict() if isinstance(cfg, Config) else cfg
    leaks = list(check_leaks(cfg, variables))
    return leaks + [problem for check in CHECKS for problem in check(cfg)]
