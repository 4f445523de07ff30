"""Encrypt image files for a protected model elsewhere: python -m mmseg_keyprotect.images encrypt IN... -o OUT."""

from __future__ import annotations

import argparse
import glob
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mmseg_keyprotect.cli.cipher_options import add_cipher_arguments, cipher_of
from mmseg_keyprotect.cli.key_options import add_key_file, key_of
from mmseg_keyprotect.cli.messages import report
from mmseg_keyprotect.cli.progress_line import ProgressLine
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    ConfigError,
    KeyProtectError,
    OutputError,
    UnsupportedSpecError,
)
from mmseg_keyprotect.images import Encryptor, is_encrypted
from mmseg_keyprotect.images.files import SUFFIXES
from mmseg_keyprotect.keys.providers import build_key

EXAMPLE = '  keyprotect encrypt photos -o encrypted --key-file my.key --resize 1024 512'
AFTER_INTERRUPTION = 'run the same command again to continue'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('images', nargs='+', metavar='IN', help='JPEG, PNG, TIFF, WebP; folders with all below them')
    parser.add_argument('-o', '--out', required=True, help='folder to write to; for one file also a file name')
    add_key_file(parser)
    parser.add_argument('--resize', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'), help="as the model's pipeline does")
    parser.add_argument(
        '--jobs',
        type=whole_number,
        default=os.cpu_count(),
        metavar='N',
        help='images at once; default: one for each core',
    )
    add_cipher_arguments(parser)


def whole_number(text: str) -> int:
    """Return a number above 0."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError('it is a whole number above 0')
    return int(text)


@dataclass
class Found:
    """What the words of the command line name.

    Attributes:
        images: Every image with its path below the output folder, without suffix.
        unreadable: An error for each folder that cannot be read.
        left_out: How many other files the folders hold, by suffix. Files of one that have none count as ``(none)``,
            and images that are encrypted already as ``encrypted``.
    """

    images: list[tuple[Path, Path]] = field(default_factory=list)
    unreadable: list[OSError] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def others(self) -> str:
        """The number of files that are left out, and their kinds; the most frequent kind first."""
        kinds = ', '.join(f'{count} {kind}' for kind, count in self.left_out.most_common())
        return f'{self.left_out.total()} left out' + (f' ({kinds})' if kinds else '')


def find_images(words: Sequence[str], out: Path) -> Found:
    """Find every image that the words name; what lies in the output folder does not count.

    Raises:
        ConfigError: A word names nothing, a folder without images, or the output folder itself.
        AlreadyEncryptedError: A folder holds encrypted images alone.
    """
    found = Found()
    for word in words:
        paths = [Path(word)] if Path(word).exists() else [Path(one) for one in sorted(glob.glob(word, recursive=True))]
        if not paths:
            raise ConfigError(f'Expected an image, a folder or a pattern, but nothing is found for {word!r}. Check it.')
        for path in paths:
            if not Path(word).is_file() and (path if path.is_dir() else path.parent).resolve() == out.resolve():
                raise ConfigError(
                    f'Expected another folder for encrypted images than {out}, which holds the plain ones: mixed, '
                    'nobody can tell them apart. Name another with -o.'
                )
            if path.is_dir():
                inside = _find_below(path, out)
                found.unreadable += inside.unreadable
                if not inside.images and inside.left_out['encrypted']:
                    raise AlreadyEncryptedError(
                        f'Expected plain images in {path}, but its {inside.left_out["encrypted"]} images are encrypted '
                        'already. Give the folder of the originals.'
                    )
                if not inside.images and not inside.unreadable:
                    raise ConfigError(
                        f'Expected images ({" ".join(SUFFIXES)}) in {path}, but there are none; {inside.others}. '
                        'Name another folder, or convert its images to PNG.'
                    )
                found.images += inside.images
                found.left_out += inside.left_out
            else:
                found.images.append((path, Path(path.stem)))
    return found


def _find_below(folder: Path, out: Path) -> Found:
    """Find the images below a folder."""
    found = Found()
    out_inside = out.resolve().is_relative_to(folder.resolve())
    below = os.walk(folder, onerror=found.unreadable.append)
    for file in sorted(Path(inside, name) for inside, _, names in below for name in names):
        if (out_inside and file.resolve().is_relative_to(out.resolve())) or not file.is_file():
            continue
        if file.suffix.lower() not in SUFFIXES:
            found.left_out[file.suffix.lower() or '(none)'] += 1
        elif _is_encrypted(file):
            found.left_out['encrypted'] += 1
        else:
            found.images.append((file, file.relative_to(folder).with_suffix('')))
    return found


def _is_encrypted(file: Path) -> bool:
    """Tell whether a file is encrypted already. One of a newer version is not left out: its error is reported."""
    try:
        return is_encrypted(file)
    except UnsupportedSpecError:
        return False


def plan(found: Found, out: Path, suffix: str) -> dict[Path, Path]:
    """Return the image of every target.

    Raises:
        ConfigError: Two images have one target.
    """
    if len(found.images) == 1 and out.suffix == suffix and not out.is_dir():
        return {out: found.images[0][0]}
    targets: dict[Path, Path] = {}
    for image, name in found.images:
        target = out / f'{name}{suffix}'
        if targets.setdefault(target, image) != image:
            raise ConfigError(
                f'Expected one image for {target}, but {targets[target]} and {image} both would be that. '
                'Encrypt them to different folders.'
            )
    return targets


def run(args: argparse.Namespace) -> int:
    """Encrypt everything that is not there yet; continue after a bad image.

    Returns:
        The exit code.
    """
    key = build_key(key_of(args.key_file))
    cipher = cipher_of(args)
    assert cipher is not None, 'only a command with --features offers plain images'
    encryptor = Encryptor(key, cipher, tuple(args.resize) if args.resize else None)
    found = find_images(args.images, Path(args.out))
    targets = plan(found, Path(args.out), encryptor.suffix)
    made, progress = 0, ProgressLine('images')
    problems: list[Exception] = [
        ConfigError(
            f'Expected a folder that can be read, but {error.filename}: {error.strerror}. Check its permissions.'
        )
        for error in found.unreadable
    ]
    unread = len(problems)
    executor = ThreadPoolExecutor(args.jobs)  # reading, writing and the ciphers leave the interpreter to other threads
    try:
        outcomes = executor.map(partial(_encrypt_one, encryptor), targets.items())
        for number, outcome in enumerate(outcomes, 1):
            if isinstance(outcome, Exception):
                problems.append(outcome)
            else:
                made += outcome
            progress(number, len(targets))
    finally:
        executor.shutdown(cancel_futures=True)  # after an interruption, those at work end
    for problem in problems:
        report(problem)
    there = len(targets) - made - (len(problems) - unread)
    counts = f'{made} encrypted, {there} were there already, {len(problems)} failed, {found.others}'
    print(f'{counts}; key {key.key_id}, {args.out}')
    return 1 if problems else 0


def _encrypt_one(encryptor: Encryptor, named: tuple[Path, Path]) -> bool | Exception:
    """Return whether the target was made now, or why it could not be made."""
    target, image = named
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return encryptor.encrypt_file(image, target)
    except KeyProtectError as error:
        return error
    except OSError as error:
        return OutputError(f'Expected to write {target}, but: {error.strerror}. Name another folder with -o.')
