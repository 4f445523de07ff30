"""Ask a model about plain and encrypted images: does it answer to the owner's key?

Give CONFIG and CHECKPOINT, or --onnx or --url with --images. Whoever runs the model sees the images plain and
encrypted, and can compute the key of this cipher from them.
"""

from __future__ import annotations

import argparse
import shlex
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_keyprotect.cli.cipher_options import add_cipher_arguments, cipher_of
from mmseg_keyprotect.cli.key_options import add_cfg_options, add_key_file, cfg_options, key_of, load
from mmseg_keyprotect.cli.usage import UsageError

if TYPE_CHECKING:
    import numpy as np

    from mmseg_keyprotect.claims import Ask

EXAMPLE = """\
  keyprotect claim my_config.py suspect.pth --key-file watermark.key -o claim
  keyprotect claim --url http://localhost:8000/mask --images photos --key-file watermark.key -o claim"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', nargs='?', help='config file of the model, without protection')
    parser.add_argument('checkpoint', nargs='?', help='its checkpoint')
    parser.add_argument('--onnx', metavar='FILE', help='model that `keyprotect export` wrote, plain or sealed')
    parser.add_argument('--url', help='server that takes a PNG (POST) and answers with a PNG of classes')
    parser.add_argument('--images', metavar='DIR', help='folder of images; default: those of test_dataloader')
    parser.add_argument('--count', type=int, default=8, metavar='N', help='how many of them; default: 8')
    parser.add_argument('--random-keys', type=int, default=99, metavar='N', help='to compare with; default: 99')
    parser.add_argument('--seed', type=int, metavar='N', help='draw the same random keys again')
    parser.add_argument('--data', metavar='DIR', help='folder of the data set, in place of data_root')
    add_key_file(parser)
    add_cipher_arguments(parser)
    parser.add_argument('-o', '--out', required=True, metavar='DIR', help='folder to make')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Ask, print the verdict, and write the page."""
    from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher
    from mmseg_keyprotect.claims import make_claim, write_claim
    from mmseg_keyprotect.engine.progress import TaskProgress
    from mmseg_keyprotect.errors import OutputError
    from mmseg_keyprotect.files import make_folder

    if args.seed is not None and not 0 <= args.seed < 2**128:
        raise UsageError('--seed must be 0 or more, and below 2**128')
    cipher = KeyedCipher(cipher_of(args) or DEFAULT_CIPHER, key_of(args.key_file), channel_order='rgb')
    ask, images, who = _ask_and_images(args)
    if found := make_folder(folder := Path(args.out)):
        raise OutputError(f'Expected an empty folder, but {folder} holds {found[0]}. Name another with -o.')
    with TaskProgress('keys', args.random_keys + 1) as progress:
        claim = make_claim(ask, images, cipher, args.random_keys, args.seed, lambda done: progress.advance())
    about = dict(model=who, date=date.today().isoformat(), command=f'keyprotect {shlex.join(args.words)}')
    page = write_claim(claim, ask, images, cipher, folder, about)
    print(claim.verdict)
    print(f'report: {page}')


def _ask_and_images(args: argparse.Namespace) -> tuple[Ask, list[np.ndarray], str]:
    """Return the model, the images to ask about, and the name of the model."""
    from mmseg_keyprotect.claims import ask_checkpoint, ask_exported, ask_server
    from mmseg_keyprotect.session.plain_images import images_in, images_of

    if args.url or args.onnx:
        if args.config or not args.images or (args.url and args.onnx):
            raise UsageError('give one of --url and --onnx, with --images, and neither CONFIG nor CHECKPOINT')
        ask = ask_server(args.url) if args.url else ask_exported(args.onnx)
        return ask, images_in(args.images, args.count), args.url or Path(args.onnx).name
    if not args.checkpoint:
        raise UsageError('give CONFIG and CHECKPOINT, --onnx or --url')
    cfg = load(args.config, cfg_options(args.cfg_options), args.data)
    images = images_in(args.images, args.count) if args.images else images_of(cfg, args.count)
    return ask_checkpoint(cfg, args.checkpoint), images, Path(args.checkpoint).name
