"""The arguments that name ciphers on a command line."""

from __future__ import annotations

import argparse
from typing import Any

from mmseg_keyprotect.ciphers import CIPHERS, DEFAULT_CIPHER, DEFAULT_FEATURE_CIPHER, FEATURE_CIPHERS, FeatureTransform
from mmseg_keyprotect.errors import ConfigError

NONE = 'none'


def cipher_words() -> dict[str, str]:
    """Return the words of all registered ciphers of images that the command line offers, with their types."""
    return {cipher.word: name for name, cipher in sorted(CIPHERS.items()) if cipher.selectable}


def feature_cipher_words() -> dict[str, str]:
    """Return the words of all registered ciphers of feature maps that the command line offers, with their types."""
    return {_short(cipher): name for name, cipher in sorted(FEATURE_CIPHERS.items()) if cipher.selectable}


def _short(cipher: type[FeatureTransform]) -> str:
    return cipher.word.removeprefix('feature-')


def add_cipher_arguments(parser: argparse.ArgumentParser, features: bool = False) -> None:
    """Add ``--cipher``, ``--block-size`` and ``--allow-weak``, and for feature maps ``--features`` and its cipher."""
    none = f'; {NONE}: plain images, with --features' if features else ''
    default = [CIPHERS[part['type']].word for part in DEFAULT_CIPHER]
    parser.add_argument(
        '--cipher',
        nargs='+',
        choices=[*cipher_words(), *([NONE] if features else [])],
        default=default,
        help=f'one cipher, or several in order{none}; default: {" ".join(default)}',
    )
    parser.add_argument('--block-size', type=int, default=4, help='in pixels; default: 4')
    parser.add_argument('--allow-weak', action='store_true', help='permit a cipher of less than 80 key bits')
    if not features:
        return
    default = [_short(FEATURE_CIPHERS[part['type']]) for part in DEFAULT_FEATURE_CIPHER]
    parser.add_argument(
        '--features',
        nargs='+',
        metavar='PLACE',
        help='encrypt feature maps too: numbers of stages from 0, or all (stages), or blocks (every one in them)',
    )
    parser.add_argument(
        '--feature-cipher',
        nargs='+',
        choices=list(feature_cipher_words()),
        default=default,
        help=f'one cipher of channels, or several in order; default: {" ".join(default)}',
    )


def features_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the configuration of the encryption of feature maps that the arguments name.

    Raises:
        ConfigError: A place is neither a number nor one of the words.
    """
    if not args.features:
        return None
    words = [word for word in args.features if word != 'blocks']
    if not all(word.isdigit() or word == 'all' for word in words) or ('all' in words and len(words) > 1):
        raise ConfigError(
            f'Expected --features with numbers of stages, or all, or blocks, but got {args.features}. Give one of them.'
        )
    weak = dict(allow_weak=True) if args.allow_weak else {}
    places: dict[str, Any] = dict(blocks='all') if 'blocks' in args.features else {}
    if words:
        places['stages'] = 'all' if 'all' in words else [int(word) for word in words]
    types = feature_cipher_words()
    return dict(cipher=[dict(type=types[word], **weak) for word in args.feature_cipher], **places)


def cipher_of(args: argparse.Namespace) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Return the cipher's configuration that the arguments name; None for plain images.

    Raises:
        ConfigError: ``none`` beside a cipher.
    """
    if NONE in args.cipher:
        if len(args.cipher) > 1:
            raise ConfigError(f'Expected --cipher none alone, but got {args.cipher}. Leave one of them out.')
        return None
    weak = dict(allow_weak=True) if args.allow_weak else {}
    types = cipher_words()
    cipher = [dict(type=types[word], block_size=args.block_size, **weak) for word in args.cipher]
    return cipher[0] if len(cipher) == 1 else cipher
