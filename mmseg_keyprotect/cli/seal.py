"""Seal any file, or a folder, for one or many recipients: encrypted on disk, opened in memory with the key."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmseg_keyprotect.cli.seal_options import (
    add_no_key,
    add_recipients,
    add_seal_key_file,
    add_signer,
    whom_to_seal_for,
)
from mmseg_keyprotect.sealing import seal_file, seal_folder

EXAMPLE = '  keyprotect seal model.pth -o sealed.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', help='the file or folder to seal; it stays as it is')
    parser.add_argument('-o', '--out', required=True, help='the file to make')
    add_seal_key_file(parser)
    add_recipients(parser)
    add_no_key(parser)
    add_signer(parser)


def run(args: argparse.Namespace) -> None:
    """Seal the file."""
    recipients, key_id, signer = whom_to_seal_for(args)
    folder = Path(args.checkpoint).is_dir()
    (seal_folder if folder else seal_file)(args.checkpoint, args.out, recipients, key_id, signer)
    how = '' if folder else 'load it by its path, as any other; '
    print(f'sealed: {args.out}\n{how}the plain {"folder" if folder else "file"} is still there, delete it')
