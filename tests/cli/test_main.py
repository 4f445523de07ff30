"""What all commands share: help, exit codes, start-up without torch, and the scripts of tools/."""

import os
import subprocess
import sys

import pytest

from helpers import ROOT
from mmseg_keyprotect import compat
from mmseg_keyprotect.cli import main as module
from mmseg_keyprotect.cli.former_names import FORMER
from mmseg_keyprotect.cli.main import COMMANDS, NEED_ONLY_THE_CLIENT, build_parser, command_module, main
from mmseg_keyprotect.errors import ConfigError, MissingDependencyError
from mmseg_keyprotect.version import __version__

HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'cv2', 'matplotlib', 'scipy')
SCRIPTS = sorted(
    path.stem for path in (ROOT / 'tools').glob('*.py') if path.stem not in ('benchmark', 'benchmark_stem', 'reproduce')
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a config and a checkpoint, since paths that do not exist are refused before anything else."""
    monkeypatch.chdir(tmp_path)
    for name in ('a.py', 'a.pth'):
        (tmp_path / name).touch()


def process(*words, **options):
    return subprocess.run([sys.executable, *map(str, words)], text=True, capture_output=True, **options)


@pytest.mark.parametrize('command', COMMANDS)
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, '--help'])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f'usage: keyprotect {command}')
    assert f'example:\n  keyprotect {command}' in out


@pytest.mark.parametrize('command', COMMANDS)
def test_help_and_refusal_import_nothing_heavy(command):
    """Both come before torch and OpenMMLab, in a fresh interpreter."""
    code = (
        'import sys\n'
        'from mmseg_keyprotect.cli.main import main\n'
        f'for words in ([{command!r}, "--help"], [{command!r}, "--no-such-option"]):\n'
        '    try:\n'
        '        main(words)\n'
        '    except SystemExit as left:\n'
        '        print("left with", left.code)\n'
        f'print("heavy:", [name for name in {HEAVY} if name in sys.modules])\n'
    )
    done = process('-c', code)
    lines = done.stdout.splitlines()
    assert 'left with 0' in lines, done.stderr
    assert 'left with 2' in lines
    assert lines[-1] == 'heavy: []'


def test_the_list_of_commands_is_whole():
    lines = [line.split() for line in build_parser().format_help().splitlines()]
    assert [words[0] for words in lines if words and words[0] in COMMANDS] == list(COMMANDS)


def test_version():
    done = process('-m', 'mmseg_keyprotect', '--version')
    assert (done.returncode, done.stdout) == (0, f'mmseg-keyprotect {__version__}, specification 1\n')


@pytest.mark.parametrize('words', [[], ['no-such-command'], ['keygen'], ['protect', 'a.py', '-o', 'b.py', '--seal']])
def test_a_bad_command_line_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert 'usage: keyprotect' in capsys.readouterr().err


def test_an_error_exits_with_1_and_names_it(capsys, tmp_path):
    assert main(['keygen', '--show-id', str(tmp_path / 'none.key')]) == 1
    err = capsys.readouterr().err
    assert err.startswith('error: ')
    assert 'none.key' in err
    assert 'Traceback' not in err


def test_interruption_exits_with_130(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_module('evaluate'), 'run', interrupt)
    assert main(['evaluate', 'a.py', 'a.pth', '-o', 'x']) == 130
    assert capsys.readouterr().err == '\ninterrupted: run the same command again to continue\n'


def test_a_name_that_is_needed_is_listed(tmp_path, key_file, key, capsys):
    """Only another command showed what `recipients remove` asks for."""
    (tmp_path / 'plain').write_bytes(b'weights')
    main(['seal', str(tmp_path / 'plain'), '-o', str(tmp_path / 'sealed')])
    with pytest.raises(SystemExit) as left:
        main(['recipients', 'remove', str(tmp_path / 'sealed'), '-o', str(tmp_path / 'less')])
    assert left.value.code == 2
    assert f'one of those of {tmp_path / "sealed"}: key {key.key_id}' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'missing'),
    [
        (['train', 'none.py'], 'none.py'),
        (['test', 'mmseg::none.py', 'none.pth'], 'mmseg::none.py'),
        (['evaluate', 'a.py', 'none.pth', '-o', 'x'], 'none.pth'),
        (['evaluate', 'a.py', 'a.pth', '--baseline', 'none.py', 'a.pth', '-o', 'x'], 'none.py'),
        (['evaluate', 'a.py', 'a.pth', '--baseline', 'a.py', 'none.pth', '-o', 'x'], 'none.pth'),
        (['audit', 'a.py', 'a.pth', '--public-weights', 'none.pth', '-o', 'x'], 'none.pth'),
        (['protect', 'a.py', 'sealed://none.pth', '-o', 'x'], 'none.pth'),
        (['trace', 'none.pth', '--original', 'a.pth'], 'none.pth'),
        (['trace', 'a.pth', '--original', 'none.pth'], 'none.pth'),
        (['trace', 'a.pth', '--original', 'a.pth', '--ancestor', 'none.pth'], 'none.pth'),
        (['rekey', 'none.py', 'a.pth', '--new-key-file', 'x', '-o', 'y'], 'none.py'),
        (['demo', '--data', 'none'], 'none'),
    ],
)
def test_a_path_that_does_not_exist_costs_no_time(words, missing):
    """torch and OpenMMLab, which take seconds to import, are not imported to find that out."""
    code = (
        'import sys\n'
        'from mmseg_keyprotect.cli.main import main\n'
        f'print(main({words!r}), [name for name in {HEAVY} if name in sys.modules])\n'
    )
    done = process('-c', code)
    assert done.stdout == '1 []\n', done.stderr
    assert f'but {missing} ' in done.stderr
    assert done.stderr.startswith('error: Expected ')


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(args):
        raise ZeroDivisionError

    monkeypatch.setattr(command_module('keygen'), 'run', fail)
    with pytest.raises(ZeroDivisionError):
        main(['keygen', 'x'])


@pytest.mark.parametrize('command', COMMANDS)
def test_without_mmseg_a_command_names_the_extra(command, monkeypatch, capsys):
    """After `pip install .` alone; the commands of the client do not ask for it."""
    monkeypatch.setattr(compat, 'find_spec', lambda name: None)
    monkeypatch.setattr(command_module(command), 'run', lambda args: None)
    words = {
        'keygen': ['x'],
        'encrypt': ['x', '-o', 'y'],
        'recipients': ['list', 'x'],
        'dataset': ['verify', 'x'],
        'inspect': ['x'],
        'verify': ['x'],
        'train': ['x'],
        'test': ['x', 'y'],
        'demo': [],
        'rekey': ['x', 'y', '--new-key-file', 'z', '-o', 'w'],
        'protect': ['x', '-o', 'y'],
        'seal': ['x', '-o', 'y'],
        'trace': ['x', '--original', 'y'],
        'record': ['-o', 'y'],
        'unseal': ['x', '-o', 'y'],
    }.get(command, ['x', 'y', '-o', 'z'])
    code = main([command, *words])
    err = capsys.readouterr().err
    if command in NEED_ONLY_THE_CLIENT:
        assert (code, err) == (0, '')
    else:
        assert code == 1
        assert "pip install 'mmseg-keyprotect[mmseg,mmcv-lite]'" in err


def test_only_what_is_missing_is_named(monkeypatch):
    there = compat.find_spec
    monkeypatch.setattr(compat, 'find_spec', lambda name: None if name == 'mmcv' else there(name))
    with pytest.raises(MissingDependencyError, match=r'\bmmcv\b'):
        compat.require_mmseg()


def test_a_wrong_version_is_refused_before_the_work(monkeypatch, capsys):
    monkeypatch.setattr(compat, 'version', lambda name: '9.9')
    assert main(['evaluate', 'a.py', 'a.pth', '-o', 'x']) == 1
    assert 'found mmengine 9.9, wanted' in capsys.readouterr().err


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_are_the_commands(script):
    """`python tools/NAME.py` and `mim run mmseg_keyprotect NAME` go on working under old and new names."""
    words = [['info', '--help'], ['seal', '--help']] if script == 'seal_checkpoint' else [['--help']]
    for rest in words:
        done = process(ROOT / 'tools' / f'{script}.py', *rest)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith('usage: keyprotect ')


def test_every_command_has_a_script():
    assert set(COMMANDS) <= {FORMER.get(name, name) for name in SCRIPTS}
    hidden = (set(SCRIPTS) - {'test', 'trace'}) & sys.stdlib_module_names  # hardly anybody imports these two
    assert not hidden


def test_the_former_name_of_the_client():
    done = process('-m', 'mmseg_keyprotect.client', 'encrypt', '--help')
    assert done.stdout.startswith('usage: keyprotect encrypt'), done.stderr


def test_words_that_do_not_fit_together(capsys):
    with pytest.raises(SystemExit) as left:
        main(['protect', 'a.py', '-o', 'out.py', '--seal', '--verify'])
    assert left.value.code == 2
    assert 'CHECKPOINT is needed for --seal --verify' in capsys.readouterr().err


def test_an_error_of_the_package_is_a_refusal(monkeypatch, capsys):
    def refuse(args):
        raise ConfigError('Expected this, but got that. Do so.')

    monkeypatch.setattr(module, 'command_module', lambda name: command_module(name))
    monkeypatch.setattr(command_module('keygen'), 'run', refuse)
    assert main(['keygen', 'x']) == 1
    assert capsys.readouterr().err == 'error: Expected this, but got that.\nhint: Do so.\n'


def test_a_closed_environment(tmp_path):
    """The command needs nothing of the folder that it runs in."""
    environment = {**os.environ, 'HOME': str(tmp_path)}
    done = process('-m', 'mmseg_keyprotect', 'keygen', 'my.key', cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth', 'a.py', 'my.key']
