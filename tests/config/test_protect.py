"""protect_config makes a protected configuration out of any other."""

import re
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmseg.registry import MODELS

import mmseg_keyprotect  # noqa: F401
from helpers import ROOT
from helpers.small_models import one_step, run_pipeline, shrink, write_png
from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config import protect_config
from mmseg_keyprotect.config.checks import check_config, check_structure
from mmseg_keyprotect.config.checks.sizes import sizes_in
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    BlockAlignmentError,
    ConfigError,
    KeyProtectError,
    LeakedKeyError,
    MissingFileError,
    OutputError,
    WeakCipherError,
)

PSPNET = 'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-769x769.py'
SEGFORMER = 'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
SETR = 'mmseg::setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512.py'
WEAK = dict(type='NegativePositive', block_size=4)
OURS = ROOT / 'configs' / 'segformer' / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def own(tmp_path):
    """A function that writes a user's configuration, which inherits one of MMSegmentation's."""

    def write(text='', base=PSPNET, name='own.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'_base_ = {base!r}\n{textwrap.dedent(text)}')
        return path

    return write


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'protected.py'


@pytest.fixture
def key_line(key_file):
    return re.search(r'MMSEG-KEYPROTECT-KEY-\S+', key_file.read_text())[0]


def base_of(path):
    return re.match(r"_base_ = '(.*)'\n", path.read_text())[1]


def load_dict(path):
    return Config.fromfile(path).to_dict()


def file_of(source):
    """Return the file of a configuration, as mmengine finds it."""
    return Config._get_cfg_path(source, '')[0] if source.startswith('mmseg::') else source


class TestInheritance:
    """The new file holds what changes, and inherits the rest."""

    def test_of_mmseg(self, target, key_file):
        assert protect_config(PSPNET, target) == target
        assert base_of(target) == PSPNET
        assert check_config(Config.fromfile(target)) == []

    def test_path_into_mmseg(self, target):
        protect_config(file_of(SEGFORMER), target)
        assert base_of(target) == SEGFORMER

    def test_only_what_changes(self, target):
        protect_config(SEGFORMER, target)
        text = target.read_text()
        assert len(text.splitlines()) < 40
        for word in ('optim_wrapper', 'backbone', 'pipeline', 'mean'):
            assert word not in text

    def test_relative_to_own(self, own, tmp_path, key_file):
        source = own(name='project/models/own.py')
        (tmp_path / 'project' / 'keyed').mkdir()
        target = protect_config(source, tmp_path / 'project' / 'keyed' / 'protected.py')
        assert base_of(target) == '../models/own.py'
        assert str(tmp_path) not in target.read_text()
        shutil.move(tmp_path / 'project', tmp_path / 'moved')
        assert check_config(Config.fromfile(tmp_path / 'moved' / 'keyed' / 'protected.py')) == []

    def test_relative_names(self, own, tmp_path, monkeypatch):
        own()
        monkeypatch.chdir(tmp_path)
        protect_config('own.py', 'protected.py')
        assert base_of(tmp_path / 'protected.py') == 'own.py'
        assert Config.fromfile('protected.py').custom_hooks == [dict(type='KeyGuardHook')]

    def test_quote_in_the_name(self, own, tmp_path, target):
        protect_config(own(name="it's.py"), target)
        assert Config.fromfile(target).model.data_preprocessor.type == 'KeyedSegDataPreProcessor'

    @pytest.mark.parametrize('through', ['link', 'real/deep'])
    def test_linked_folder(self, own, tmp_path, through):
        (tmp_path / 'real' / 'deep').mkdir(parents=True)
        (tmp_path / 'link').symlink_to(tmp_path / 'real' / 'deep')
        target = protect_config(own(name='models/own.py'), tmp_path / through / 'protected.py')
        for folder in (through, 'real/deep'):
            assert Config.fromfile(tmp_path / folder / target.name).custom_hooks == [dict(type='KeyGuardHook')]


def strip(node):
    """Remove the scopes, which mmengine adds when it inherits ``mmseg::NAME``; tuples and lists keep their types."""
    if isinstance(node, dict):
        return {name: strip(value) for name, value in node.items() if name != '_scope_'}
    return type(node)(strip(value) for value in node) if isinstance(node, list | tuple) else node


@pytest.mark.parametrize('source', [PSPNET, SEGFORMER, SETR, 'own'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(cipher=[dict(type='FFX', block_size=16)], key=dict(type='KeyFile', path='my.key')),
        dict(cipher=dict(type='Sequence', ciphers=list(DEFAULT_CIPHER)), key=dict(type='EnvKey', name='MY_KEY')),
    ],
    ids=['default', 'ffx', 'sequence'],
)
def test_round_trip(source, options, own, target):
    """The written file is the protected configuration."""
    text = """
        note = "it's \\\\ \\"a\\"\\nb"
        custom_hooks = [dict(type='EMAHook', note=note, one=(1,), few={0: 1, 'a-b': None}, no=(), small=-1.5e-30)]
        crop_size = (100, 99)
        train_pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomCrop', crop_size=crop_size, classes={1: 0})]
        train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
        """
    source = str(own(text)) if source == 'own' else source
    protect_config(source, target, **options)
    expected = protected(load_dict(file_of(source)), **options)
    got = load_dict(target)
    assert strip(got) == strip(expected)
    assert got['model']['data_preprocessor'].get('key') == options.get('key')


class TestSizes:
    """Crops, paddings and windows become whole blocks."""

    def test_769(self, target, key_file):
        assert sum(value[name] == (769, 769) for _, value, name in sizes_in(load_dict(file_of(PSPNET)))) == 3
        cfg = Config.fromfile(protect_config(PSPNET, target))
        assert check_structure(cfg) == []
        assert cfg.model.test_cfg == dict(mode='slide', crop_size=(768, 768), stride=(512, 512))
        assert cfg.model.data_preprocessor.size == (768, 768)
        crop = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'RandomCrop')
        assert crop.crop_size == (768, 768)

    @pytest.mark.parametrize('block_size', [4, 8, 16, 7])
    def test_other_blocks(self, block_size, target):
        cfg = Config.fromfile(protect_config(PSPNET, target, dict(type='Shuffle', block_size=block_size)))
        assert check_structure(cfg) == []
        sizes = [side for _, holder, name in sizes_in(cfg.to_dict()) for side in holder[name]]
        assert len(sizes) == 8
        assert all(side % block_size == 0 and abs(side - 769) < 8 for side in sizes if side > 600)

    def test_nothing_to_change(self, target):
        protect_config(SEGFORMER, target)
        assert 'crop_size' not in target.read_text()

    def test_preprocessor_of_tta(self, target, key_file):
        """mmengine gives a wrapped model the preprocessor at the top level."""
        cfg = Config.fromfile(protect_config(PSPNET, target))
        cfg.model = dict(type='SegTTAModel', module=cfg.model)
        assert check_config(cfg) == []
        assert cfg.data_preprocessor.size == (768, 768)


class TestWhatIsThere:
    """Hooks and imports of the base stay."""

    def test_hooks_and_imports(self, own, target, tmp_path, monkeypatch):
        (tmp_path / 'own_hooks.py').write_text('LOADED = True\n')
        monkeypatch.syspath_prepend(tmp_path)
        source = own(
            """
            custom_imports = dict(imports=['own_hooks'], allow_failed_imports=False)
            custom_hooks = [dict(type='EMAHook', momentum=0.001), dict(type='EmptyCacheHook')]
            """
        )
        cfg = Config.fromfile(protect_config(source, target))
        assert cfg.custom_imports == dict(imports=['own_hooks', 'mmseg_keyprotect'], allow_failed_imports=False)
        assert [hook.type for hook in cfg.custom_hooks] == ['EMAHook', 'EmptyCacheHook', 'KeyGuardHook']
        assert cfg.custom_hooks[0].momentum == 0.001
        assert sys.modules.pop('own_hooks').LOADED

    def test_one_import_as_text(self, own, target):
        source = own("custom_imports = dict(imports='colorsys')")
        cfg = Config.fromfile(protect_config(source, target))
        assert cfg.custom_imports.imports == ['colorsys', 'mmseg_keyprotect']

    @pytest.mark.filterwarnings('ignore:no_such_module')
    def test_imports_that_may_fail(self, own, target):
        source = own("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=True)")
        Config.fromfile(source)
        assert 'mmseg_keyprotect' in Config.fromfile(protect_config(source, target)).custom_imports.imports

    def test_key(self, target, key_file, tmp_path):
        moved = key_file.rename(tmp_path / 'moved.key')
        protect_config(PSPNET, target, key=dict(type='KeyFile', path=str(moved)))
        assert check_config(Config.fromfile(target)) == []


class TestRefused:
    """A configuration that cannot be protected raises a named error, and no file appears."""

    @pytest.fixture(autouse=True)
    def no_file(self, target):
        yield
        assert not target.exists()
        assert not list(target.parent.glob('.protected.py*'))

    @pytest.mark.parametrize(
        ('text', 'named'),
        [
            ('model = dict(data_preprocessor=None)', 'none'),
            ("model = dict(data_preprocessor=dict(_delete_=True, type='OtherPreProcessor'))", 'OtherPreProcessor'),
            ('model = dict(data_preprocessor=dict(_delete_=True, size=(64, 64)))', 'none'),
        ],
    )
    def test_preprocessor(self, text, named, own, target):
        with pytest.raises(ConfigError, match=f'is a SegDataPreProcessor, but got {named}'):
            protect_config(own(text), target)

    @pytest.mark.parametrize(
        'text',
        [
            "model = dict(data_preprocessor=dict(type='KeyedSegDataPreProcessor'))",
            """
            test_pipeline = [dict(type='LoadImageFromFile'), dict(type='KeyedBlockEncrypt'), dict(type='PackSegInputs')]
            """,
        ],
        ids=['preprocessor', 'pipeline'],
    )
    def test_protected_twice(self, text, own, target):
        with pytest.raises(AlreadyEncryptedError, match='encrypts already'):
            protect_config(own(text), target)

    def test_one_of_ours(self, target):
        with pytest.raises(AlreadyEncryptedError):
            protect_config(OURS, target)

    def test_its_own_result(self, target, tmp_path):
        first = protect_config(PSPNET, tmp_path / 'first.py')
        with pytest.raises(AlreadyEncryptedError):
            protect_config(first, target)

    def test_weak(self, target):
        with pytest.raises(WeakCipherError, match='allow_weak'):
            protect_config(PSPNET, target, WEAK)

    @pytest.mark.parametrize('source', ['mmseg::pspnet/no_such.py', 'no_such.py', 'mmseg::pspnet'])
    def test_missing_source(self, source, target):
        with pytest.raises(MissingFileError, match='does not exist'):
            protect_config(source, target)

    def test_a_name_of_mmseg_without_its_scheme(self, target):
        for source in ('pspnet/' + PSPNET.rpartition('/')[2], PSPNET.rpartition('/')[2]):
            with pytest.raises(MissingFileError, match=f'MMSegmentation has it: write {PSPNET}'):
                protect_config(source, target)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (
                dict(block_stem={}, cipher=[dict(part, block_size=6) for part in DEFAULT_CIPHER]),
                'stride 4 of the first',
            ),
            (dict(features=dict(stages=[7])), '7'),
        ],
    )
    def test_what_only_the_backbone_knows(self, options, message, target):
        """The config was written, and training refused it. No key need be at hand."""
        with pytest.raises((BlockAlignmentError, ConfigError), match=message):
            protect_config(SEGFORMER, target, **options)
        assert not target.exists()

    def test_missing_folder(self, target):
        with pytest.raises(OutputError, match='Make it first'):
            protect_config(PSPNET, target.parent / 'no_folder' / 'protected.py')

    @pytest.mark.parametrize(
        'text', ["custom_imports = dict(imports='no_such_module')", 'model = dict(', '_base_.no_such'], ids=str
    )
    def test_cannot_be_loaded(self, text, own, target):
        with pytest.raises(ConfigError, match='can load, but .*own.py raises'):
            protect_config(own(text), target)

    def test_windows_flipped_after_encryption(self, own, target):
        with pytest.raises(ConfigError, match='slide_flip'):
            protect_config(own("model = dict(test_cfg=dict(mode='slide_flip'))"), target)

    def test_key_as_text(self, target, key_line):
        with pytest.raises(KeyProtectError, match='LeakedKeyError: Expected no key in the configuration') as caught:
            protect_config(PSPNET, target, key=key_line)
        assert key_line[-20:] not in str(caught.value)


def test_weak_on_purpose(target):
    with pytest.warns(UserWarning, match='Weak cipher'):
        protect_config(PSPNET, target, dict(WEAK, allow_weak=True))
    assert Config.fromfile(target).model.data_preprocessor.cipher.allow_weak


def test_existing_target(target):
    target.write_text('mine = 1\n')
    with pytest.raises(OutputError, match='never overwritten'):
        protect_config(PSPNET, target)
    assert target.read_text() == 'mine = 1\n'
    assert list(target.parent.iterdir()) == [target]


class TestLeaks:
    """mmengine writes the value of ``{{$VARIABLE:}}`` into a configuration, and no key may get there."""

    @pytest.fixture(autouse=True)
    def variable(self, key_line, monkeypatch):
        monkeypatch.setenv('MY_KEY', key_line)

    def test_in_a_protected_one(self, own, target, key_line, key_file):
        protect_config(PSPNET, target)
        source = own("model = dict(data_preprocessor=dict(key='{{$MY_KEY:}}'))", base='./protected.py')
        problems = check_config(Config.fromfile(source))
        assert LeakedKeyError in [type(problem) for problem in problems]
        for problem in problems:
            assert key_line[-20:] not in str(problem)
        (leak,) = [problem for problem in problems if isinstance(problem, LeakedKeyError)]
        assert "dict(type='EnvKey', name='MY_KEY')" in str(leak)

    def test_in_an_unprotected_one(self, own, target, key_line, capfd):
        print_log('the logger is there', logger='current')
        source = own("note = '{{$MY_KEY:}}'")
        with pytest.raises(LeakedKeyError) as caught:
            protect_config(source, target)
        assert not target.exists()
        out, err = capfd.readouterr()
        print_log('the logger still writes', logger='current')
        out += capfd.readouterr().out
        assert key_line[-20:] not in str(caught.value) + out + err


def test_runs(target, key_file):
    one_step(shrink(Config.fromfile(protect_config(PSPNET, target))))


@pytest.mark.parametrize('source', [PSPNET, SEGFORMER])
def test_tta_runs(source, target, key_file, tmp_path):
    cfg = shrink(Config.fromfile(protect_config(source, target)))
    with torch.no_grad():
        model = MODELS.build(dict(cfg.tta_model, module=cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
        scales = cfg.tta_pipeline[1].transforms[0]
        cfg.tta_pipeline[1].transforms[0] = [scales[0], scales[-1]]
        packed = run_pipeline(cfg.tta_pipeline, write_png(tmp_path / 'image.png', (67, 75)))
        assert len(packed['inputs']) == 4
        (result,) = model.test_step(pseudo_collate([packed]))
    assert result.pred_sem_seg.data.shape == (1, 67, 75)


class TestTool:
    """The command ``keyprotect protect``."""

    def test_as_a_command(self, target, key_file):
        argv = [
            sys.executable,
            '-m',
            'mmseg_keyprotect',
            'protect',
            PSPNET,
            '--key-file',
            str(key_file),
            '-o',
            str(target),
        ]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f'protected config: {target}' in done.stdout
        cfg = Config.fromfile(target)
        assert cfg.model.data_preprocessor.key == dict(type='KeyFile', path=str(key_file))
        assert [dict(part) for part in cfg.model.data_preprocessor.cipher] == list(DEFAULT_CIPHER)
        assert check_config(cfg) == []

    @pytest.mark.filterwarnings('ignore:Weak cipher')
    def test_options(self, target):
        words = ['--cipher', 'negative-positive', '--block-size', '8', '--allow-weak']
        assert main(['protect', PSPNET, *words, '-o', str(target)]) == 0
        cipher = Config.fromfile(target).model.data_preprocessor.cipher
        assert cipher == dict(type='NegativePositive', block_size=8, allow_weak=True)

    @pytest.mark.parametrize(
        'argv',
        [
            ('no_such.py',),
            (OURS,),
            (PSPNET, '--cipher', 'negative-positive'),
            (PSPNET, '--block-size', '0'),
        ],
    )
    def test_errors(self, target, argv, capsys):
        assert main(['protect', *map(str, argv), '-o', str(target)]) == 1
        assert capsys.readouterr().err.startswith('error: Expected')
        assert not target.exists()


def test_new_style(tmp_path, target):
    source = tmp_path / 'new.py'
    source.write_text(
        'from mmseg.models.data_preprocessor import SegDataPreProcessor\n'
        'model = dict(data_preprocessor=dict(type=SegDataPreProcessor))\n'
    )
    protect_config(source, target)
    text = target.read_text()
    assert '_base_' not in text
    assert "type='mmseg.KeyedSegDataPreProcessor'" in text
