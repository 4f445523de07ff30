"""Checks the commands that the cells run, without running them."""

import json
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.paper import cells, feature_cells, ownership_cells, ownership_training, side_cells
from benchmarks.paper.mixing_cells import Mixing
from benchmarks.paper.onlooker_cells import Onlooker
from benchmarks.paper.reproduce import TABLES
from benchmarks.paper.rivals import __main__ as rivals_command
from benchmarks.paper.rivals import bindings, costs
from benchmarks.paper.watermark_cells import Suspect
from helpers import ROOT
from mmseg_keyprotect.cli.key_options import cfg_options
from mmseg_keyprotect.cli.main import build_parser

SCORES = dict(
    mIoU=50.0, agreement=90.0, seconds=1.0, images=8, queries=0, shares=[], verdict='held', sentence='Nothing.'
)
ROWS = [dict(kind=kind, mIoU=10.0) for kind in ('correct', 'none', 'wrong')]
RIVAL_COMMANDS = {
    'benchmarks.paper.rivals': rivals_command.build_parser,
    'benchmarks.paper.rivals.bindings': bindings.build_parser,
    'benchmarks.paper.rivals.costs': costs.build_parser,
}


@cache
def parser_of(command):
    return build_parser([command])


class Commands:
    """Stands for ``subprocess``: parses every command, then writes the files that a cell reads."""

    STDOUT = subprocess.STDOUT

    def __init__(self):
        self.seen, self.rivals = [], set()

    def run(self, command, **options):
        assert command[:2] == [sys.executable, '-m']
        assert Path(options['env']['KEYPROTECT_KEY_FILE']).is_file()
        if (module := command[2]) in RIVAL_COMMANDS:
            return self.rival(module, RIVAL_COMMANDS[module]().parse_args(command[3:]))
        assert module == 'mmseg_keyprotect'
        args = parser_of(command[3]).parse_args(command[3:])
        assert Path(args.config).is_file()
        cfg_options(getattr(args, 'cfg_options', []))
        self.seen.append(args)
        getattr(self, args.command)(args)
        return SimpleNamespace(returncode=0)

    def rival(self, module, args):
        self.rivals.add(module)
        assert Path(args.config).is_file()
        args.out.write_text(json.dumps(dict(mIoU=50.0)))
        return SimpleNamespace(returncode=0)

    def train(self, args):
        log = Path(args.work_dir) / 'today' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps(dict(mIoU=50.0)))
        (Path(args.work_dir) / 'iter_9.pth').touch()

    def protect(self, args):
        if args.checkpoint is None:
            return Path(args.out).touch()
        out = Path(args.out)
        out.mkdir()
        (out / Path(args.config).name).touch()
        (out / 'verification.json').write_text(json.dumps(dict(plain=50.0, protected=50.0)))

    def test(self, args):
        log = Path(args.work_dir) / 'today' / 'today.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps(dict(mIoU=50.0)))

    def deny(self, args):
        out = Path(args.out)
        out.mkdir()
        (out / Path(args.config).name).touch()
        (out / 'denial.json').write_text(json.dumps(dict(start={}, best={}, history=[])))

    def watermark(self, args):
        Path(args.out).mkdir()

    def claim(self, args):
        Path(args.out).mkdir()
        found = dict(own=90.0, rank=1, p_value=0.01, holds=True, own_pixels=95.0, random=[10.0])
        (Path(args.out) / 'claim.json').write_text(json.dumps(found))

    def evaluate(self, args):
        Path(args.out).mkdir()
        found = dict(rows=ROWS, floor=dict(mIoU=2.0), leak=0.1, cipher='x', key_space_bits=256.0)
        (Path(args.out) / 'access.json').write_text(json.dumps(found))

    def audit(self, args):
        Path(args.out).mkdir()
        found = [dict(SCORES, attack=name) for name in args.attacks]
        (Path(args.out) / 'audit.json').write_text(json.dumps(dict(reference={}, findings=found)))


@pytest.fixture
def commands(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cells, 'CELLS', tmp_path / 'cells')
    monkeypatch.setattr(cells, 'WORK', tmp_path / 'work')
    monkeypatch.setattr(feature_cells, 'DATASETS', SimpleNamespace(build=lambda cfg: range(367)))
    monkeypatch.setattr(ownership_training, 'read_checkpoint', lambda path: ({}, {}))
    monkeypatch.setattr(ownership_training, 'mark_weights', lambda state, *arguments: state)
    monkeypatch.setattr(ownership_training.MarkedCopy, 'traced', lambda self, *arguments: dict(z=0.0))
    monkeypatch.setattr(Suspect, 'pruned', lambda self, source, percent: source)
    monkeypatch.setattr(Mixing, 'recover', lambda self: [])  # tests/benchmarks/test_onlooker.py has these two
    monkeypatch.setattr(Onlooker, 'measure', lambda self: {})
    monkeypatch.setattr(side_cells, 'shares', lambda cfg: {})  # tests/benchmarks/test_side.py has it
    for name in ('survival', 'foreign'):  # they read checkpoints
        monkeypatch.setattr(ownership_cells, name, lambda *arguments: dict(arguments=len(arguments)))
    monkeypatch.setattr(cells, 'subprocess', fake := Commands())
    return fake


def test_the_parser_accepts_every_command_of_every_cell(commands):
    """The result files that the cells write here include all the committed ones."""
    every = {cell.name: cell for _, rows in TABLES.values() for row in rows for cell in row.cells}
    for cell in every.values():
        cell.run()
    assert commands.rivals == set(RIVAL_COMMANDS)
    used = {'train', 'test', 'protect', 'deny', 'watermark', 'claim', 'evaluate', 'audit'}
    assert {args.command for args in commands.seen} == used
    assert {args.checkpoint is None for args in commands.seen if args.command == 'protect'} == {True, False}
    committed = {file.name for file in (ROOT / 'docs' / 'results' / 'cells').glob('*.json')}
    assert committed <= {file.name for file in cells.CELLS.iterdir()}


def test_an_unknown_argument_would_be_refused(commands, monkeypatch, capsys):
    """The check above does not accept everything."""
    monkeypatch.setattr(feature_cells.Features, 'options', ['--encipher', 'shuffle'])
    with pytest.raises(SystemExit):
        feature_cells.Features('segformer_mit-b0_1xb8-0.4k_camvid-160x160').run()
    assert '--encipher' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'module'),
    [('reproduce', 'paper.reproduce'), ('benchmark', 'speed.__main__'), ('benchmark_stem', 'speed.stem')],
)
def test_scripts_of_a_checkout_show_their_help(name, module, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, f'benchmarks.{module}', raising=False)  # runpy warns if it was imported
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--help'])
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')
    assert done.value.code == 0
    assert 'usage:' in capsys.readouterr().out
