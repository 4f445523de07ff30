"""Seal a data set, or encrypt its images block by block: seal, unseal, encrypt, verify."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from io import BytesIO
from typing import Any

from mmseg_keyprotect.cli.cipher_options import add_cipher_arguments, cipher_of
from mmseg_keyprotect.cli.encrypt import whole_number
from mmseg_keyprotect.cli.key_options import add_key_file, key_of
from mmseg_keyprotect.cli.progress_line import ProgressLine
from mmseg_keyprotect.cli.seal_options import (
    add_openers,
    add_recipients,
    add_seal_key_file,
    add_signer,
    opener,
    recipients_of,
    sealing_key,
    signer_of,
)
from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.errors import SealedFileError
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.sealing.named import IDENTITY_VARIABLE, opener_from

ENGINES = ('processes', 'threads', 'ray')
FORMS = ('folder', 'webdataset')
LAYOUTS = ('camvid', 'voc', 'cityscapes', 'ade20k')
EXAMPLE = """\
  keyprotect dataset seal data/camvid -o sealed/camvid --key-file my.key
  keyprotect dataset encrypt data/camvid -o encrypted/camvid --key-file my.key --resize 160 160
  keyprotect dataset unseal sealed/camvid -o again/camvid --key-file my.key"""
AFTER_INTERRUPTION = 'run the same command again to continue'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four actions."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    seal = actions.add_parser('seal', help='images, label maps and all other files into sealed shards')
    _add_source(seal)
    add_seal_key_file(seal)
    add_recipients(seal)
    seal.add_argument('--no-key', action='store_true', help='for the other recipients alone')
    add_signer(seal)
    encrypt = actions.add_parser('encrypt', help='images block by block, for training where no key is')
    _add_source(encrypt)
    add_key_file(encrypt)
    encrypt.add_argument(
        '--resize', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'), help='images and label maps, before'
    )
    encrypt.add_argument('--format', choices=FORMS, default='folder', help='default: folder')
    add_cipher_arguments(encrypt)
    for name, what in (('unseal', 'write the files of a sealed data set'), ('verify', 'check every file of one')):
        action = actions.add_parser(name, help=what)
        action.add_argument('checkpoint', metavar='IN', help='the sealed data set, a folder or a URL')
        if name == 'unseal':
            action.add_argument('-o', '--out', required=True, help='the folder to write to, or a URL')
        add_openers(action)
        _add_jobs(action)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', metavar='IN', help='the data set, a folder or a URL such as s3://bucket/camvid')
    parser.add_argument('-o', '--out', required=True, help='the folder to make, or a URL')
    parser.add_argument('--layout', choices=LAYOUTS, help='default: found by the names of the folders')
    parser.add_argument('--images', metavar='FOLDER', help='folder of the images in IN, in place of --layout')
    parser.add_argument('--labels', metavar='FOLDER', help='folder of the label maps in IN')
    parser.add_argument('--img-suffix', metavar='TEXT', help='how the names of images end; default: any image')
    parser.add_argument('--seg-map-suffix', metavar='TEXT', default='.png', help='of label maps; default: .png')
    parser.add_argument('--skip-bad', action='store_true', help='leave out files that do not fit, and say which')
    parser.add_argument('--verify', action='store_true', help='read everything again at the end')
    parser.add_argument(
        '--shard-size', type=whole_number, default=256, metavar='MB', help='of plain files; default: 256'
    )
    parser.add_argument(
        '--engine', choices=ENGINES, default=ENGINES[0], help='ray: on many machines; default: processes'
    )
    _add_jobs(parser)


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--jobs', type=whole_number, metavar='N', help='at once; default: one a core, or as Ray decides'
    )


def run(args: argparse.Namespace) -> int:
    """Run an action; the exit code is 1 if something is damaged."""
    return {'seal': _seal, 'encrypt': _encrypt, 'unseal': _unseal, 'verify': _verify}[args.action](args)


def _seal(args: argparse.Namespace) -> int:
    from mmseg_keyprotect.shards import seal_data_set

    recipients, key_id, signer = recipients_of(args), '', signer_of(args)
    if args.no_key:
        opens = _opener_of_others(args)
    else:
        key = sealing_key(args)
        recipients, key_id, opens = [KeyRecipient(key), *recipients], key.key_id, dict(key=key)
    options = _options(args, shown=f'files to {args.out}')
    summary = seal_data_set(args.source, args.out, recipients, key_id, signer=signer, **opens, **options)
    _report_skipped(summary.skipped)
    print(f'{summary.files} files sealed, {summary.made} shards made, {summary.there} were there already: {args.out}')
    if args.verify:
        _verify_data_set(args.out, args.jobs, signer=signer, **opens)
    left = f'{len(summary.skipped)} of its files are nowhere else' if summary.skipped else 'Delete it'
    print(f'The plain data set is still there. {left}. Hidden files were not sealed.')
    return 0


def _opener_of_others(args: argparse.Namespace) -> dict[str, Any]:
    """Return what opens the data set where it is not sealed for the key: to verify it, or to go on."""
    if args.recipient_passphrase_file:
        return dict(passphrase=find_passphrase(args.recipient_passphrase_file))
    if identity := os.environ.get(IDENTITY_VARIABLE):
        return dict(key=opener_from(identity))
    if args.verify:
        raise UsageError(f'--verify with --no-key needs {IDENTITY_VARIABLE}: nothing named here opens the data set')
    return {}


def _encrypt(args: argparse.Namespace) -> int:
    from mmseg_keyprotect.shards.encrypted_check import verify_encrypted
    from mmseg_keyprotect.shards.encrypting import encrypt_data_set
    from mmseg_keyprotect.shards.pair_encryptor import PairEncryptor
    from mmseg_keyprotect.shards.plans import shown
    from mmseg_keyprotect.shards.storage import Storage

    options: dict[str, Any] = dict(key=key_of(args.key_file), cipher=cipher_of(args), form=args.format)
    options['resize'] = tuple(args.resize) if args.resize else None
    shared = _options(args, shown='images')
    summary = encrypt_data_set(args.source, args.out, **options, **shared)
    _report_skipped(summary.skipped)
    if summary.others:
        print(f'not copied, since they are no images, label maps or lists: {shown(summary.others)}', file=sys.stderr)
    print(f'{summary.files} images encrypted, {summary.made} of them now: {args.out}')
    print('Who has eight of them and eight plain images of the same kind finds the key. They are not secret.')
    if args.verify:
        work = PairEncryptor(
            Storage(args.source),
            Storage(args.out),
            options['key'],
            options['cipher'],
            options['resize'],
            args.format == 'webdataset',
            True,
        )
        print(f'verified: {verify_encrypted(work, shared["layout"])} images')
    return 0


def _unseal(args: argparse.Namespace) -> int:
    from mmseg_keyprotect.shards import SealedDataSet

    data = SealedDataSet(args.checkpoint, **_opener(args))
    progress = ProgressLine('files')
    for number, _ in enumerate(data.unseal(args.out, args.jobs), 1):
        progress(number, len(data.places))
    print(f'{len(data.places)} files, plain: {args.out}')
    return 0


def _verify(args: argparse.Namespace) -> int:
    return _verify_data_set(args.checkpoint, args.jobs, **_opener(args))


def _verify_data_set(url: str, count: int | None, **opens: Any) -> int:
    from mmseg_keyprotect.shards import SealedDataSet

    data = SealedDataSet(url, **opens)
    progress, done, problems = ProgressLine('files'), 0, []
    for files, problem in data.verify(count):
        done += files
        progress(done, len(data.places))
        problems += [problem] if problem else []
    if problems:
        raise SealedFileError(
            f'Expected {data.shards} whole shards, but {len(problems)} are damaged: {problems[0]}. Use another copy.'
        )
    print(f'verified: {len(data.places)} files in {data.shards} shards, {len(data.skipped)} were left out')
    return 0


def _opener(args: argparse.Namespace) -> dict[str, Any]:
    """Return what opens the key file of a data set."""
    from mmseg_keyprotect.shards.manifest import KEY
    from mmseg_keyprotect.shards.storage import Storage

    return opener(argparse.Namespace(**vars(args) | dict(checkpoint=BytesIO(Storage(args.checkpoint).read(KEY)))))


def _options(args: argparse.Namespace, shown: str) -> dict[str, Any]:
    """Return the options that sealing and encrypting share."""
    from mmseg_keyprotect.shards.pairs import LAYOUTS as BY_NAME
    from mmseg_keyprotect.shards.pairs import Layout

    if bool(args.images) != bool(args.labels):
        raise UsageError('--images and --labels belong together')
    layout = BY_NAME[args.layout] if args.layout else None
    if args.images:
        layout = Layout(args.images.strip('/'), args.labels.strip('/'), seg_map_suffix=args.seg_map_suffix)
        if args.img_suffix:
            layout = replace(layout, img_suffix=(args.img_suffix,))
    return dict(
        layout=layout,
        skip_bad=args.skip_bad,
        shard_bytes=args.shard_size * 1_000_000,
        jobs=args.jobs,
        engine=args.engine,
        progress=ProgressLine(shown),
    )


def _report_skipped(skipped: dict[str, str]) -> None:
    for path, problem in skipped.items():
        print(f'left out: {path}: {problem}', file=sys.stderr)
