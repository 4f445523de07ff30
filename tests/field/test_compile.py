"""Protected models that are compiled, exported and traced, beside a plain model in the same process."""

import copy

import pytest
import torch

from helpers.segmentors import build, cipher_config, keyed_config, plain_config

PROTECTIONS = ['images', 'features', 'images and features', 'blocks of features']
BACKBONES = ['ResNet', 'MiT', 'ViT']
QUICK = ['ResNet', *(pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES[1:])]


@pytest.fixture(autouse=True)
def no_programs():
    """Each test starts without compiled programs."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def protected_config(name, protection, key):
    """Return the configuration of a small protected model."""
    block_size = 16 if name == 'ViT' else 4
    cfg = keyed_config(plain_config(name), cipher_config(block_size=block_size), border='grey', key=key)
    if 'images' not in protection:
        del cfg['block_stem']
    if 'features' in protection:
        cipher = [dict(type='FeatureShuffle', allow_weak=True)]
        if protection == 'blocks of features':
            cipher = [dict(type='FeatureBlockShuffle', block_size=2)]
        cfg['feature_encryption'] = dict(stages='all', cipher=cipher)
    return cfg


def plain_and_protected(name, protection, key):
    """Return a plain model, a protected one with the same weights, and an input of the network."""
    torch.manual_seed(0)
    plain = build(plain_config(name))
    protected = build(protected_config(name, protection, key))
    public = {name: value for name, value in protected.state_dict().items() if name.endswith('.protection')}
    protected.load_state_dict({**plain.state_dict(), **public})
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    return plain, protected, x


@pytest.mark.parametrize('plain_first', [True, False], ids=['after a plain model', 'before a plain model'])
@pytest.mark.parametrize('protection', PROTECTIONS)
@pytest.mark.parametrize('name', QUICK)
def test_compiled(name, protection, plain_first, key, other_key):
    """Every compiled backbone computes its own function, whichever was compiled first."""
    plain, protected, x = plain_and_protected(name, protection, key)
    _, other, _ = plain_and_protected(name, protection, other_key)
    models = [plain, protected, other] if plain_first else [protected, other, plain]
    with torch.no_grad():
        expected = [model.backbone(x)[-1] for model in models]
        got = [torch.compile(model.backbone, backend='eager')(x)[-1] for model in models]
    for one, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(one, wanted)
    assert not torch.allclose(got[0], got[1])
    assert not torch.allclose(got[1], got[2])


@pytest.mark.parametrize('name', QUICK)
def test_functions_that_change_after_compiling(name, key, other_key):
    """A compiled model follows the functions in use, such as those of a user without the key."""
    _, protected, x = plain_and_protected(name, 'features', key)
    encryption = protected.feature_encryption
    compiled = torch.compile(protected, backend='eager')
    with torch.no_grad():
        for functions in (encryption.functions, encryption.identity_functions, encryption.functions_of(other_key)):
            encryption.use(functions)
            torch.testing.assert_close(compiled(x), protected(x))


@pytest.mark.parametrize('name', QUICK)
def test_compiled_before_a_copy_is_changed(name, key):
    """A deep copy has functions of its own, compiled or not."""
    _, protected, x = plain_and_protected(name, 'blocks of features', key)
    with torch.no_grad():
        before = torch.compile(protected, backend='eager')(x)
        twin = copy.deepcopy(protected)
        twin.feature_encryption.use(twin.feature_encryption.identity_functions)
        got = torch.compile(twin, backend='eager')(x)
        torch.testing.assert_close(got, twin(x))
        torch.testing.assert_close(torch.compile(protected, backend='eager')(x), before)
    assert not torch.allclose(got, before)


@pytest.mark.parametrize('strict', [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize('protection', PROTECTIONS[2:])
@pytest.mark.parametrize('name', QUICK)
@pytest.mark.filterwarnings('ignore:While compiling, we found certain side effects')
def test_exported(name, protection, strict, key):
    plain, protected, x = plain_and_protected(name, protection, key)
    with torch.no_grad():
        for model in (plain, protected):
            program = torch.export.export(model, (x,), strict=strict)
            torch.testing.assert_close(program.module()(x), model(x))
        assert not torch.allclose(plain(x), protected(x))


@pytest.mark.parametrize('protection', PROTECTIONS)
@pytest.mark.parametrize('name', QUICK)
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
def test_traced(name, protection, key):
    plain, protected, x = plain_and_protected(name, protection, key)
    with torch.no_grad():
        for model in (plain, protected):
            traced = torch.jit.trace(model, x)
            torch.testing.assert_close(traced(x), model(x))
