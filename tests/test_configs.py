"""Every configuration of the project loads, is sound, trains and predicts."""

import re
import warnings
from collections import Counter

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from small_models import one_step, shrink

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, build_cipher
from mmseg_keyprotect.engine.config_check import check_config
from mmseg_keyprotect.engine.pipelines import PREPROCESSOR, find_pipelines, find_protections

FOLDER = ROOT / 'configs'
CONFIGS = sorted(path for path in FOLDER.glob('*/*.py') if path.parent.name != '_base_')
PROTECTIONS = sorted((FOLDER / '_base_' / 'protections').glob('*.py'))
WORDS = {
    'shf': ['Shuffle'],
    'np': ['NegativePositive'],
    'ffx': ['FFX'],
    'shfnp': ['Shuffle', 'NegativePositive'],
}
WEAK = {'shf-b2', 'np-b2', 'np-b4', 'shfnp-b2'}

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')
each_config = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
each_protection = pytest.mark.parametrize('path', PROTECTIONS, ids=lambda path: path.stem)


def label_of(path):
    """Return the cipher and block size in a configuration's name, such as ``shfnp-b4``."""
    found = re.search(r'_((?:shfnp|shf|np|ffx)-b\d+)(?:-stem)?_', path.stem)
    return found and found[1]


def parts_of(label):
    word, size = label.split('-b')
    return [(kind, int(size)) for kind in WORDS[word]]


def found_parts(cipher):
    cipher = cipher if isinstance(cipher, list | tuple) else [cipher]
    return [(part['type'], part['block_size']) for part in cipher]


def test_names_are_unique():
    names = Counter(path.name for path in FOLDER.rglob('*.py'))
    assert not [name for name, count in names.items() if count > 1]
    assert len(CONFIGS) > 20
    assert len(PROTECTIONS) == 16


@each_config
class TestConfig:
    """One of the configurations that a user trains."""

    def test_sound(self, path, key_file):
        cfg = Config.fromfile(path)
        if label := label_of(path):
            assert check_config(cfg) == []
            (protection,) = find_protections(cfg.to_dict())
            assert found_parts(protection.parts) == parts_of(label)
            assert [hook['type'] for hook in cfg.custom_hooks] == ['KeyGuardHook']
            assert cfg.custom_imports.imports == ['mmseg_keyprotect']
        else:
            assert find_protections(cfg.to_dict()) == []

    def test_sound_with_tta(self, path, key_file):
        """mmseg's tools/test.py wraps the model so for ``--tta``."""
        cfg = Config.fromfile(path)
        if label_of(path):
            cfg.model = dict(type='SegTTAModel', module=cfg.model)
            assert check_config(cfg) == []

    def test_pipelines_build(self, path, key_file):
        pipelines = find_pipelines(Config.fromfile(path).to_dict())
        assert {'test_pipeline', 'tta_pipeline'} < set(pipelines)
        for split in ('train', 'val', 'test'):
            assert any(name.startswith(f'{split}_dataloader.') for name in pipelines)
        for steps in pipelines.values():
            Compose([TRANSFORMS.build(step) for step in steps])

    def test_runs(self, path, key_file):
        one_step(shrink(Config.fromfile(path)))

    def test_inherits(self, path):
        """What is MMSegmentation's stays there; the small ones have models and data of their own."""
        text = path.read_text()
        bases = re.search(r'^_base_ = (\[.*?\]|\S+)$', text, re.DOTALL | re.MULTILINE)[1]
        if '_1xb8-' not in path.name:
            assert 'mmseg::' in bases
        if label := label_of(path):
            assert f'_base_/protections/{label}.py' in bases


@each_protection
class TestProtection:
    """One of the files in ``_base_/protections``."""

    def test_name(self, path):
        protection = Config.fromfile(path).protection
        assert protection.type == PREPROCESSOR
        assert found_parts(protection.cipher) == parts_of(path.stem)

    def test_builds(self, path, key):
        cipher = Config.fromfile(path).protection.cipher
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            build_cipher(cipher, key)
        weak = any('Weak cipher' in str(warning.message) for warning in caught)
        assert weak == (path.stem in WEAK)
        assert weak == ('Weak:' in path.read_text().splitlines()[0])

    def test_hook(self, path):
        cfg = Config.fromfile(path)
        assert cfg.custom_hooks == [dict(type='KeyGuardHook')]
        assert cfg.custom_imports == dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)


def test_default():
    cfg = Config.fromfile(FOLDER / '_base_' / 'protections' / 'shfnp-b4.py').to_dict()
    assert list(cfg['protection']['cipher']) == list(DEFAULT_CIPHER)
