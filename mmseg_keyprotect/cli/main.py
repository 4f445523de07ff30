"""The parser of ``keyprotect``, and what all of its commands share: errors, exit codes, interruption."""

from __future__ import annotations

import argparse
import sys
import textwrap
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from mmseg_keyprotect.cli.messages import report
from mmseg_keyprotect.cli.paths import refuse_missing
from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.version import SPEC_VERSION, __version__

COMMANDS = (
    'keygen',
    'encrypt',
    'protect',
    'deny',
    'rekey',
    'seal',
    'unseal',
    'dataset',
    'recipients',
    'inspect',
    'export',
    'split',
    'verify',
    'watermark',
    'claim',
    'train',
    'test',
    'evaluate',
    'audit',
    'trace',
    'record',
    'demo',
)
"""The commands, in the order in which a user meets them; each is a module of this package."""

NEED_ONLY_THE_CLIENT = ('keygen', 'encrypt', 'seal', 'unseal', 'dataset', 'recipients', 'inspect', 'verify')
"""The commands that work without torch and MMSegmentation."""

OK, REFUSED, INTERRUPTED = 0, 1, 130
"""Exit codes. argparse exits with 2 for a bad command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``keyprotect``.

    Args:
        argv: The command line without the program's name; by default that of the process.

    Returns:
        The exit code: 0, 1 if the command was refused or failed, 130 after Ctrl-C. A bad command line raises
        ``SystemExit(2)``, as argparse does.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(words)
    args = parser.parse_args(words)
    args.words = without_own_options(words)
    module = command_module(args.command)
    try:
        if args.command in NEED_ONLY_THE_CLIENT:
            return module.run(args) or OK
        from mmseg_keyprotect import compat

        compat.require_mmseg()
        refuse_missing(args)
        return run_with_mmseg(module, args) or OK
    except UsageError as error:
        parser.error(str(error))
    except (KeyProtectError, OSError) as error:
        if args.debug:
            traceback.print_exc()
        report(error)
        return REFUSED
    except KeyboardInterrupt:
        hint = getattr(module, 'AFTER_INTERRUPTION', 'nothing was written')
        print(f'\ninterrupted: {hint}', file=sys.stderr)
        return INTERRUPTED


def run_with_mmseg(module: ModuleType, args: argparse.Namespace) -> int | None:
    """Run a command with the log of mmengine in its file, and only what matters on the console."""
    if args.verbose:
        code: int | None = module.run(args)
        return code
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*pkg_resources')  # of OpenMMLab, as it is imported
        from mmseg_keyprotect.engine.console import results, short_console, warnings_only

        with short_console(results if args.command in ('train', 'test', 'deny') else warnings_only):
            code = module.run(args)
            return code


def add_own_options(parser: argparse.ArgumentParser, with_log: bool = True) -> None:
    """Add the options that all commands have; those with a log have one more."""
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    if with_log:
        parser.add_argument('--verbose', action='store_true', help='show the whole log on the console')


def without_own_options(words: Sequence[str]) -> list[str]:
    """Return a command line without the options that all commands have, which MMSegmentation's scripts do not know."""
    parser = argparse.ArgumentParser(add_help=False)
    add_own_options(parser)
    return parser.parse_known_args(words)[1]


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps words with hyphens whole, so that names can be copied from the help."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(' '.join(text.split()), width, break_on_hyphens=False)


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser; if ``words`` name a command, with the arguments of that command alone, else of all."""
    parser = argparse.ArgumentParser(
        prog='keyprotect',
        description='Bind MMSegmentation models to a secret key.',
        epilog='`keyprotect COMMAND --help` shows the options of a command and an example.',
    )
    parser.add_argument(
        '--version', action='version', version=f'mmseg-keyprotect {__version__}, specification {SPEC_VERSION}'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    named = words[0] if words and words[0] in COMMANDS else None
    for name in COMMANDS if named is None else (named,):
        module = command_module(name)
        description = (module.__doc__ or '').strip()
        command = commands.add_parser(
            name,
            help=description.partition('\n')[0],
            description=description,
            epilog=f'example:\n{module.EXAMPLE}',
            formatter_class=_Formatter,
        )
        module.add_arguments(command)
        add_own_options(command, name not in NEED_ONLY_THE_CLIENT)
    return parser


def command_module(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module(f'mmseg_keyprotect.cli.{name}')
