"""Every configuration of the project loads, passes the checks, trains and predicts."""

import copy
import functools
import re
import warnings
from collections import Counter

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.registry import MODELS, TRANSFORMS

import mmseg_keyprotect  # noqa: F401
from helpers import ROOT
from helpers.small_models import one_step, shrink, train_step
from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, build_cipher
from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.view import find_pipelines, find_protections
from mmseg_keyprotect.registered import PREPROCESSOR

FOLDER = ROOT / 'configs'
CONFIGS = sorted(path for path in FOLDER.glob('*/*.py') if path.parent.name != '_base_')
PROTECTIONS = sorted((FOLDER / '_base_' / 'protections').glob('*-b*.py'))
WORDS = {
    'shf': ['Shuffle'],
    'np': ['NegativePositive'],
    'ffx': ['FFX'],
    'shfnp': ['Shuffle', 'NegativePositive'],
}
WEAK = {'shf-b2', 'np-b2', 'np-b4', 'shfnp-b2'}
# one for each way to name pretrained weights, and a ViT, which loads them differently
PRETRAINED = {
    'pspnet/pspnet_r50-d8_shfnp-b4-stem_4xb4-20k_voc12aug-512x512.py': 'pretrained',
    'segformer/segformer_mit-b0_shfnp-b4-stem_8xb2-20k_voc12aug-512x512.py': 'Pretrained',
    'setr/setr_vit-l_naive_shfnp-b16-stem_8xb2-160k_ade20k-512x512.py': 'Pretrained',
    'deeplabv3plus/deeplabv3plus_mobilenet-v2-d16_shfnp-b4-stem_1xb8-0.3k_camvid-160x160.py': 'KeyedPretrained',
}

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')
each_config = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
each_protection = pytest.mark.parametrize('path', PROTECTIONS, ids=lambda path: path.stem)


@functools.cache
def load_once(path):
    """Load a configuration; each ``mmseg::`` base of it reads all metafiles of mmseg, which is slow."""
    return Config.fromfile(path)


def load(path):
    return copy.deepcopy(load_once(path))


def label_of(path):
    """Return the cipher and block size in a configuration's name, such as ``shfnp-b4``."""
    found = re.search(r'_((?:shfnp|shf|np|ffx)-b\d+)(?:-stem)?(?:-features)?(?:-denial|-unkey)?_', path.stem)
    return found and found[1]


def has_stem(path):
    return '-stem_' in path.name or '-stem-' in path.name


def has_features(path):
    return 'features_' in path.name or 'features-' in path.name


def bases_of(path):
    """Return the bases of a configuration as text, with those of bases in its own folder."""
    bases = re.search(r'^_base_ = (\[.*?\]|\S+)$', path.read_text(), re.DOTALL | re.MULTILINE)[1]
    return bases + ''.join(bases_of(path.with_name(name)) for name in re.findall(r"'\./(\S+?)'", bases))


def without_types(cfg):
    """Return a configuration as a dict without what a block stem changes."""
    cfg = cfg.to_dict()
    del cfg['model']['type']
    (cfg['model']['backbone'].get('init_cfg') or {}).pop('type', None)
    return cfg


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
        cfg = load(path)
        keyed = 'KeyedEncoderDecoder' if has_stem(path) or has_features(path) else 'EncoderDecoder'
        assert cfg.model.type == ('PrivateSideSegmentor' if path.parent.name == 'private_side' else keyed)
        assert has_features(path) == bool(cfg.model.get('feature_encryption'))
        if has_features(path):
            assert check_config(cfg) == []
            assert [hook['type'] for hook in cfg.custom_hooks] == ['KeyGuardHook']
        if label := label_of(path):
            assert check_config(cfg) == []
            (protection,) = find_protections(cfg.to_dict())
            assert found_parts(protection.parts) == parts_of(label)
            assert [hook['type'] for hook in cfg.custom_hooks] == ['KeyGuardHook']
            assert cfg.custom_imports.imports == ['mmseg_keyprotect']
        else:
            assert find_protections(cfg.to_dict()) == []

    def test_sound_with_tta(self, path, key_file):
        """The configuration passes the checks as mmseg wraps its model for ``--tta``."""
        cfg = load(path)
        if label_of(path):
            cfg.model = dict(type='SegTTAModel', module=cfg.model)
            assert check_config(cfg) == []

    def test_pipelines_build(self, path, key_file):
        cfg = load(path).to_dict()
        pipelines = find_pipelines(cfg)
        assert {'test_pipeline', 'tta_pipeline'} < set(pipelines)
        assert cfg['test_dataloader']
        for split in ('train', 'val', 'test'):
            assert not cfg[f'{split}_dataloader'] or any(name.startswith(f'{split}_dataloader.') for name in pipelines)
        for steps in pipelines.values():
            Compose([TRANSFORMS.build(step) for step in steps])

    def test_runs(self, path, key_file):
        one_step(shrink(load(path)))

    def test_inherits(self, path):
        """Large configurations inherit MMSegmentation's; the small ones have their own models and data."""
        bases = bases_of(path)
        if '_1xb8-' not in path.name:
            assert 'mmseg::' in bases
        if label := label_of(path):
            assert f'_base_/protections/{label}.py' in bases


@pytest.mark.parametrize(
    'path', [path for path in CONFIGS if path.parent.name == 'private_side'], ids=lambda path: path.stem
)
def test_every_private_weight_is_trained(path):
    """DistributedDataParallel refuses weights that get no gradient."""
    cfg = shrink(load(path))
    model = MODELS.build(cfg.model)
    train_step(model, cfg)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (not name.startswith('backbone.')), name


@pytest.mark.parametrize('path', list(filter(has_features, CONFIGS)), ids=lambda path: path.stem)
def test_features_are_the_only_difference(path):
    cfg, without = load(path), load(path.with_name(re.sub('[_-]features(-denial|-unkey)?_', '_', path.name)))
    del cfg.model.feature_encryption
    denial = cfg.model.pop('denial', {})
    assert bool(denial) == ('-denial_' in path.name or '-unkey_' in path.name)
    assert ('un_key' in denial) == ('-unkey_' in path.name)
    assert cfg.model.pop('block_stem', None) in (None, dict(border='grey'))  # the default, but not beside features
    for one in (cfg, without):
        one.model.type = None
        for name in ('custom_hooks', 'custom_imports', 'feature_encryption'):
            one.pop(name, None)
    assert cfg.to_dict() == without.to_dict()


@pytest.mark.parametrize('path', [path for path in CONFIGS if '-stem_' in path.name], ids=lambda path: path.stem)
def test_stem_is_the_only_difference(path):
    label = label_of(path)
    protected = path.with_name(path.name.replace('-stem_', '_'))
    unprotected = path.with_name(re.sub(r'_(?:\w+-)?b\d+-stem_', '_', path.name))
    if label and protected.is_file():
        assert without_types(load(path)) == without_types(load(protected))
    else:
        assert load(path).optim_wrapper == load(unprotected).optim_wrapper
        assert without_types(load(path))['model']['backbone'] == without_types(load(unprotected))['model']['backbone']


@pytest.mark.parametrize(('name', 'way'), PRETRAINED.items(), ids=[name.split('/')[0] for name in PRETRAINED])
def test_stem_takes_pretrained_weights(name, way, tmp_path, key_file):
    cfg = load(FOLDER / name)
    small = shrink(cfg)
    plain = MODELS.build(small.model.backbone).state_dict()
    checkpoint = str(tmp_path / 'plain.pth')
    torch.save(dict(state_dict=plain), checkpoint)
    if way == 'pretrained':
        assert cfg.model.pretrained
        small.model.pretrained = checkpoint
    else:
        assert cfg.model.backbone.init_cfg.type == way
        small.model.backbone.init_cfg = dict(type=way, checkpoint=checkpoint)
    model = MODELS.build(small.model)
    model.init_weights()
    assert model.stem.lifted
    loaded = model.backbone.state_dict()
    others = [other for other in plain if not other.startswith(f'{model.block_stem}.')]
    assert len(others) > 20
    assert all(torch.equal(loaded[other], plain[other]) for other in others)


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
