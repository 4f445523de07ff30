"""The arguments of MMSegmentation's own ``train.py`` and ``test.py``, so that help needs no MMSegmentation."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import add_cfg_options


def add_mmseg_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what both scripts take."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', metavar='DIR', help='folder for logs and checkpoints')
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='of several processes'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
