"""Every command reports an error by what is wrong and what to do, and shows a traceback only if it is asked to."""

import ast
import errno

import pytest

import mmseg_keyprotect.errors
from helpers import ROOT
from mmseg_keyprotect.cli.main import command_module, main, without_own_options
from mmseg_keyprotect.cli.messages import report, split, text_of
from mmseg_keyprotect.config.checks import raise_problems
from mmseg_keyprotect.errors import ConfigError, ImageFormatError, KeyFileError, KeyProtectError

ERRORS = {name for name, error in vars(mmseg_keyprotect.errors).items() if isinstance(error, type)}


def literal(node):
    """Return the text of an expression, with X for every part that is only known as it runs; None for no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return ''.join(part.value if isinstance(part, ast.Constant) else 'X' for part in node.values)
    return None


def messages():
    """Yield the place and the message of every error that the package makes."""
    for path in sorted((ROOT / 'mmseg_keyprotect').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
                text = literal(node.args[0])
                if text and text.startswith('Expected'):
                    yield f'{path.relative_to(ROOT)}:{node.lineno}', text


def test_every_message_says_what_to_do():
    found = dict(messages())
    assert len(found) > 150
    assert [place for place, text in found.items() if not all(split(text))] == []


def test_several_problems_are_several_errors(capsys):
    problems = [KeyFileError('Expected a key, but got none. Make one.'), ConfigError('Expected x, but got y. Set x.')]
    with pytest.raises(ConfigError) as caught:
        raise_problems(problems)
    report(caught.value)
    assert capsys.readouterr().err.splitlines() == [
        'error: Expected a key, but got none.',
        'hint: Make one.',
        'error: Expected x, but got y.',
        'hint: Set x.',
    ]


def test_a_list_in_one_message_stays_whole(capsys):
    report(KeyProtectError('These versions do not work:\n  found a 1. Run: b'))
    assert capsys.readouterr().err == 'error: These versions do not work:\n  found a 1. Run: b\n'


def test_an_error_of_a_process_that_loads_data():
    """torch raises it again with the whole traceback as its message."""
    text = (
        'Caught ImageFormatError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
        '  File "x.py", line 1, in f\nmmseg_keyprotect.errors.ImageFormatError: Expected a, but got b. Do c.\n'
    )
    assert text_of(ImageFormatError(text)) == 'Expected a, but got b. Do c.'
    text = text.replace(
        'mmseg_keyprotect.errors.ImageFormatError: Expected a, but got b. Do c.', 'OSError: disk on fire'
    )
    assert text_of(OSError(text)).startswith('Expected to read or write a file, but: disk on fire. Check the path')


@pytest.mark.parametrize('debug', [False, True])
def test_a_full_disk(debug, monkeypatch, capsys):
    def fail(args):
        raise OSError(errno.ENOSPC, 'No space left on device', 'x.key')

    monkeypatch.setattr(command_module('keygen'), 'run', fail)
    assert main(['keygen', 'x', *(['--debug'] if debug else [])]) == 1
    err = capsys.readouterr().err
    assert ('Traceback' in err) == debug
    assert err.splitlines()[-2:] == [
        "error: Expected to read or write 'x.key', but: No space left on device.",
        'hint: Check the path, its permissions and the space on the disk.',
    ]


def test_what_mmseg_does_not_know_is_not_passed_on():
    words = ['c.py', '--debug', '--cfg-options', 'a=1', 'b=2', '--verbose', '--work-dir', 'out']
    assert without_own_options(words) == ['c.py', '--cfg-options', 'a=1', 'b=2', '--work-dir', 'out']
