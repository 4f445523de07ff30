"""The adapters of backbones, their registry, and a new backbone that is one class and one registration."""

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.backbones import (
    BackboneAdapter,
    Chain,
    Link,
    Stage,
    adapter_of,
    base,
    register_backbone,
    registered_backbones,
)
from mmseg_keyprotect.models.backbones.resnet import ResNetAdapter
from mmseg_keyprotect.models.features.binding import bind_features
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.stem.absorber import CENTRE, StemKeyAbsorber
from mmseg_keyprotect.models.stem.replacement import put_block_stem

FEATURES = ['MixVisionTransformer', 'MobileNetV2', 'ResNet', 'VisionTransformer']


@pytest.fixture
def registry(monkeypatch):
    """A copy of the registry, which a test may add to."""
    monkeypatch.setattr(base, '_ADAPTERS', dict(base._ADAPTERS))


class Residual(nn.Module):
    """A residual block of one convolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.conv(x)


class ToyBackbone(nn.Module):
    """A strided convolution, and one stage of a strided convolution and a residual block."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.stage = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), Residual(16))

    def forward(self, x):
        return self.stage(self.first(x).relu())


class ToyAdapter(BackboneAdapter):
    """Describes all of a ToyBackbone."""

    first_convolutions = ('first',)

    def stages(self):
        stage = self.backbone.stage
        return [Stage(stage, list(stage), 16)]

    def chains(self):
        start, block = self.backbone.stage
        first = Link(['stage=0/block=0'], [(start, None)], open=False)
        second = Link(['stage=0/block=1'], [(block.conv, None)], reads=[block.conv])
        return [Chain([first, second], signed=True, tail_places=['stage=0'])]


def test_registered_backbones():
    assert registered_backbones() == sorted([*FEATURES, 'ConvNeXt', 'SwinTransformer'])
    assert registered_backbones('stages') == registered_backbones('chains') == FEATURES


@pytest.mark.parametrize('name', ['ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNeXt'])
def test_classes_that_inherit_a_registered_one(name):
    backbone = MODELS.build(dict(type=name, depth=50))
    assert type(adapter_of(backbone)) is ResNetAdapter
    assert adapter_of(backbone).first_convolution() == ('stem.0' if 'V1' in name else 'conv1')


def test_the_nearest_class_counts(registry):
    """A registered class that inherits another registered one is described by its own adapter."""

    class Derived(ToyBackbone):
        pass

    class DerivedAdapter(ToyAdapter):
        first_convolutions = ('stage.0',)

    register_backbone('ToyBackbone')(ToyAdapter)
    register_backbone('Derived')(DerivedAdapter)
    assert adapter_of(ToyBackbone()).first_convolution() == 'first'
    assert adapter_of(Derived()).first_convolution() == 'stage.0'


class TestUnknown:
    """What a backbone lacks is said, with the backbones that have it and how to add one."""

    @pytest.mark.parametrize(
        ('name', 'options'), [('UNet', dict(base_channels=4)), ('BiSeNetV2', {}), ('FastSCNN', {})]
    )
    def test_no_adapter(self, name, options):
        backbone = MODELS.build(dict(type=name, **options))
        words = f"'MobileNetV2'.*but got {name} \\(its first convolution seems to be '.*with mmseg_.*.register_backbone"
        with pytest.raises(ConfigError, match=words):
            adapter_of(backbone).first_convolution()
        with pytest.raises(ConfigError, match=f"'ResNet'.*but got {name}. .*stages with mmseg_.*.register_backbone"):
            adapter_of(backbone).stages()
        with pytest.raises(ConfigError, match=f"streams of channels of a {name} .*'ResNet'.*register_backbone"):
            adapter_of(backbone).chains()

    def test_no_convolution_at_all(self):
        with pytest.raises(ConfigError, match="got Linear .*'none'"):
            adapter_of(nn.Linear(2, 2)).first_convolution()

    def test_a_first_convolution_of_another_kind(self):
        backbone = MODELS.build(dict(type='MobileNetV2', widen_factor=0.25))
        backbone.conv1.conv = nn.Identity()
        with pytest.raises(ConfigError, match=r"got MobileNetV2 .*seems to be 'layer1.0.conv.0.conv'"):
            adapter_of(backbone).first_convolution()

    def test_a_stem_alone(self):
        backbone = MODELS.build(dict(type='SwinTransformer', embed_dims=12, depths=(1,) * 4, num_heads=(1, 2, 2, 4)))
        assert adapter_of(backbone).first_convolution() == 'patch_embed.projection'
        with pytest.raises(ConfigError, match='feature maps can be encrypted.*but got SwinTransformer'):
            adapter_of(backbone).stages()
        with pytest.raises(ConfigError, match='streams of channels of a SwinTransformer are not known'):
            adapter_of(backbone).chains()


class TestRegistering:
    """One class and one registration give a backbone everything."""

    def test_a_toy_backbone(self, registry, key):
        with pytest.raises(ConfigError, match='but got ToyBackbone'):
            put_block_stem(ToyBackbone(), 4)
        register_backbone('ToyBackbone')(ToyAdapter)
        for having in ('first_convolutions', 'stages', 'chains'):
            assert 'ToyBackbone' in registered_backbones(having)
        torch.manual_seed(0)
        toy, images = ToyBackbone().double(), torch.rand(2, 3, 16, 24, dtype=torch.float64)
        with torch.no_grad():
            expected = toy(images)
            encryption = FeatureEncryption(toy, stages='all', blocks='all', key=key)
            assert [place.name for place in encryption.places] == ['stage=0/block=0', 'stage=0/block=1', 'stage=0']
            assert not torch.allclose(toy(images), expected)
            bind_features(toy, encryption)
            torch.testing.assert_close(toy(images), expected)
            plain = toy.first.state_dict()
            absorber = StemKeyAbsorber(torch.tensor([CENTRE]), torch.tensor([CENTRE]))
            stem = put_block_stem(toy, 4, 'exact', absorber).double()
            stem.load_state_dict(plain)
            assert toy.first is stem
            torch.testing.assert_close(toy(images), expected)

    def test_one_name_twice(self, registry):
        register_backbone('ToyBackbone')(ToyAdapter)
        register_backbone('ToyBackbone')(ToyAdapter)

        class Other(BackboneAdapter):
            first_convolutions = ('stage.0',)

        with pytest.raises(ConfigError, match='one adapter for the backbone ToyBackbone, but got Other beside ToyAda'):
            register_backbone('ToyBackbone')(Other)
        assert type(adapter_of(ToyBackbone())) is ToyAdapter
