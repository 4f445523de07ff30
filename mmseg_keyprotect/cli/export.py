"""Write a model as ONNX, from the pixels of an image to its classes; a model of encrypted images takes those.

onnxruntime must give the same classes as torch, or no file is made. A model with encrypted feature maps is written
sealed only, since its graph holds their key.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import add_cfg_options, add_model, key_of, model_config

EXAMPLE = """\
  keyprotect export protected/my_config.py protected/my_model.pth -o model.onnx
  keyprotect export my_config.py my_model.pth -o model.sealed.onnx --seal --size 512 1024"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model(parser, 'config file, protected or not')
    parser.add_argument('-o', '--out', required=True, metavar='FILE', help='the file to make')
    parser.add_argument(
        '--size', nargs=2, type=int, metavar=('H', 'W'), help='size of the images, in pixels; default: any'
    )
    parser.add_argument('--logits', action='store_true', help='with a second output, the logits')
    parser.add_argument(
        '--true-size', action='store_true', help='with a second input, the size of the image that the mask is cut to'
    )
    parser.add_argument('--seal', action='store_true', help='seal the file, with the key of sealed checkpoints')
    parser.add_argument(
        '--images', metavar='DIR', help='folder of plain images to compare with torch; default: those of noise'
    )
    parser.add_argument('--count', type=int, default=8, metavar='N', help='how many of them; default: 8')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Export, and print what the comparison found."""
    from mmseg_keyprotect.export import export_onnx
    from mmseg_keyprotect.keys import seal_key
    from mmseg_keyprotect.session.plain_images import images_in

    images = images_in(args.images, args.count) if args.images else []
    seal = seal_key(key_of(args.key_file)) if args.seal else None
    size = tuple(args.size) if args.size else None
    found = export_onnx(
        model_config(args), args.checkpoint, args.out, size, args.logits, seal, images, true_size=args.true_size
    )
    for one in found:
        print(f'{one.size[0]} x {one.size[1]} pixels: {one.same:.4%} of the classes are those of torch')
    print(f'exported: {args.out}')
