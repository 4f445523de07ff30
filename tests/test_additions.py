"""A new cipher, backbone or attack is one file and one registration, and works everywhere."""

import copy
import json
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.ciphers import CIPHERS
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.models.backbones import base

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
BUDGET = ['--minutes', '0.1', '--steps', '2', '--images', '2', '--held-out', '2']


@pytest.fixture
def toys(monkeypatch):
    """Import the toys, and forget them after the test."""
    from mmseg.registry import MODELS

    before = [copy.copy(registry) for registry in (CIPHERS, base._ADAPTERS, ATTACKS._places, MODELS._module_dict)]
    for name in ('cipher', 'backbone', 'attack'):
        monkeypatch.delitem(sys.modules, f'helpers.toys.{name}', raising=False)
        __import__(f'helpers.toys.{name}')
    yield
    for registry, contents in zip((CIPHERS, base._ADAPTERS, ATTACKS._places, MODELS._module_dict), before, strict=True):
        registry.clear()
        registry.update(contents)


@pytest.fixture
def plain(tiny, tmp_path):
    cfg = tiny(PLAIN)
    cfg.dump(tmp_path / 'plain.py')
    return tmp_path / 'plain.py'


def keyprotect(*words):
    assert main([str(word) for word in words]) == 0


@pytest.mark.filterwarnings('ignore:Weak cipher')
def test_a_cipher_and_an_attack(toys, plain, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['protect', '--help'])
    assert 'toy-rotation' in capsys.readouterr().out
    protected = tmp_path / 'protected.py'
    keyprotect('protect', plain, '--cipher', 'toy-rotation', '--allow-weak', '-o', protected)
    cfg = Config.fromfile(protected)
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    model = protected, tmp_path / 'work' / 'iter_2.pth'

    keyprotect(
        'evaluate',
        *model,
        '--wrong-keys',
        '1',
        '--known',
        '50',
        '--draws',
        '1',
        '--pictures',
        '1',
        '-o',
        tmp_path / 'access',
    )
    report = json.loads((tmp_path / 'access' / 'access.json').read_text())
    assert report['cipher'] == 'toy-rotation/M=4'
    assert [row['who'] for row in report['rows']] == ['correct key', 'no key', 'wrong key 1', '50% of the key, draw 1']

    with pytest.raises(SystemExit):
        main(['audit', '--help'])
    assert 'toy-rotations' in capsys.readouterr().out
    keyprotect('audit', *model, '--attacks', 'toy-rotations,chosen-images', *BUDGET, '-o', tmp_path / 'audit')
    findings = json.loads((tmp_path / 'audit' / 'audit.json').read_text())['findings']
    assert {finding['attack']: finding['whole_key'] for finding in findings} == {
        'chosen-images': True,
        'toy-rotations': True,
    }
    assert 'toy-rotations' in (tmp_path / 'audit' / 'audit.html').read_text()


def test_a_backbone(toys, plain, tmp_path, capsys):
    cfg = Config.fromfile(plain)
    cfg.model.backbone = dict(type='ToyBackbone')
    cfg.model.decode_head = dict(
        type='FCNHead',
        in_channels=24,
        in_index=1,
        channels=8,
        num_convs=1,
        concat_input=False,
        num_classes=8,
        norm_cfg=dict(type='BN'),
    )
    cfg.work_dir = str(tmp_path / 'work')
    cfg.dump(tmp_path / 'toy.py')
    torch.manual_seed(0)
    Runner.from_cfg(cfg).train()
    checkpoint, out = tmp_path / 'work' / 'iter_2.pth', tmp_path / 'out'
    features = ['--features', 'all', '--feature-cipher', 'shuffle', '--allow-weak']
    bare = tmp_path / 'features'
    keyprotect('protect', tmp_path / 'toy.py', checkpoint, '--cipher', 'none', *features, '--verify', '-o', bare)
    found = json.loads((bare / 'verification.json').read_text())
    assert found['logits'] < 1e-4 * found['logit_range']
    keyprotect('protect', tmp_path / 'toy.py', checkpoint, *features, '-o', out)  # images too, by a block stem
    model = out / 'toy.py', out / 'iter_2.pth'
    keyprotect('evaluate', *model, '--wrong-keys', '1', '--known', '--pictures', '0', '-o', tmp_path / 'access')
    attacks = ['--attacks', 'public-channels,fine-tuning-stem', '--public-weights', checkpoint]
    keyprotect('audit', *model, *attacks, *BUDGET, '-o', tmp_path / 'audit')
    findings = json.loads((tmp_path / 'audit' / 'audit.json').read_text())['findings']
    statistics = next(finding for finding in findings if finding['attack'] == 'public-channels')
    assert statistics['whole_key']  # beside the public model, as for every other backbone
    assert all(finding['verdict'] != 'not applicable' for finding in findings)


def test_a_command(monkeypatch, capsys):
    """One module and one word in COMMANDS."""
    from types import ModuleType

    from mmseg_keyprotect.cli import main as module

    toy = ModuleType('mmseg_keyprotect.cli.toy')
    toy.__doc__ = 'Say a word.'
    toy.EXAMPLE = '  keyprotect toy --word hello'
    toy.add_arguments = lambda parser: parser.add_argument('--word', default='hello')
    toy.run = lambda args: print(args.word)
    monkeypatch.setitem(sys.modules, 'mmseg_keyprotect.cli.toy', toy)
    monkeypatch.setattr(module, 'COMMANDS', (*module.COMMANDS, 'toy'))
    monkeypatch.setattr(module, 'NEED_ONLY_THE_CLIENT', (*module.NEED_ONLY_THE_CLIENT, 'toy'))
    keyprotect('toy', '--word', 'goodbye')
    assert capsys.readouterr().out == 'goodbye\n'
    assert 'Say a word.' in module.build_parser().format_help()
