"""Encrypted feature maps in real backbones: places, exact binding, state dicts and refusals."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import convert_sync_batchnorm
from mmseg.registry import MODELS
from torch import nn

from mmseg_keyprotect.errors import ConfigError, LeakedKeyError, WrongKeyError
from mmseg_keyprotect.models.features.binding import bind_features, fold_features, unfold_features
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.features.places import find_places

SHUFFLE, SIGN = dict(type='FeatureShuffle'), dict(type='FeatureSign')
BOTH = [SHUFFLE, SIGN]
BACKBONES = {
    'mit': dict(type='MixVisionTransformer', embed_dims=16, num_layers=[2, 2, 2, 2], num_heads=[1, 2, 5, 8]),
    'mobilenet': dict(type='MobileNetV2', out_indices=(1, 2, 4, 6)),
    'resnet18': dict(type='ResNet', depth=18, base_channels=16, stem_channels=16),
    'resnet18-deep-stem': dict(type='ResNetV1d', depth=18, base_channels=16, stem_channels=16),
    'resnet50': dict(type='ResNetV1c', depth=50, base_channels=8, stem_channels=8, strides=(1, 2, 1, 1)),
    'vit': dict(
        type='VisionTransformer', img_size=64, patch_size=16, embed_dims=48, num_layers=3, num_heads=4, final_norm=True
    ),
}


def backbone(name, **options):
    """Build a backbone in double precision whose statistics and affine parameters all differ."""
    torch.manual_seed(0)
    model = MODELS.build({**BACKBONES[name], **options})
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.double()
    model.eval()
    return model


def outputs(model, x):
    with torch.no_grad():
        out = model(x)
    return torch.cat([one.flatten() for one in (out if isinstance(out, tuple | list) else [out])])


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()


CASES = [
    ('mit', BOTH, dict(stages='all')),
    ('mit', BOTH, dict(stages=(1, 3))),
    ('mit', SHUFFLE, dict(stages='all', blocks='all')),
    ('mobilenet', BOTH, dict(stages='all')),
    ('mobilenet', BOTH, dict(stages=(1,), blocks='all')),
    ('resnet18', SHUFFLE, dict(stages='all', blocks='all')),
    ('resnet18-deep-stem', SHUFFLE, dict(blocks='all')),
    ('resnet50', SHUFFLE, dict(stages=(0, 2))),
    ('resnet50', SHUFFLE, dict(stages='all', blocks='all')),
    ('vit', SHUFFLE, dict(stages='all')),
]


@pytest.mark.parametrize(('name', 'cipher', 'places'), CASES)
def test_binding_is_exact_and_needs_the_key(name, cipher, places, x, key, other_key):
    model = backbone(name)
    plain, before = outputs(model, x), sum(p.abs().sum() for p in model.parameters())
    encryption = FeatureEncryption(model, cipher, key=key, **places)
    assert (outputs(model, x) - plain).abs().max() > 0.1  # the encryption has an effect
    bind_features(model, encryption)
    scale = plain.abs().max()
    assert (outputs(model, x) - plain).abs().max() < 1e-9 * scale
    assert torch.isclose(sum(p.abs().sum() for p in model.parameters()), before)  # only positions and signs changed
    for functions in (encryption.identity_functions, encryption.functions_of(other_key)):
        encryption.use(functions)
        assert (outputs(model, x) - plain).abs().mean() > 0.05 * plain.abs().mean()


@pytest.mark.parametrize(('name', 'cipher', 'places'), CASES)
def test_folded_weights_compute_the_same_without_the_transforms(name, cipher, places, x, key):
    """With any weights, as after a training."""
    model = backbone(name)
    encryption = FeatureEncryption(model, cipher, key=key, **places)
    wanted, functions, before = outputs(model, x), encryption.functions, copy.deepcopy(model.state_dict())
    for _ in range(2):  # what is folded stays so
        fold_features(model, encryption)
        assert encryption.functions == encryption.identity_functions
        assert (outputs(model, x) - wanted).abs().max() < 1e-9 * wanted.abs().max()
    with encryption.using(functions):
        assert (outputs(model, x) - wanted).abs().max() > 0.1
    for _ in range(2):
        unfold_features(model, encryption)
        assert encryption.functions == functions
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_folded_weights_are_no_checkpoint_of_the_model(key):
    """They work without the key of the feature maps, so they must not pass as those of a bound model."""
    model, fresh = backbone('mit'), backbone('mit')
    encryption, other = (FeatureEncryption(one, BOTH, stages='all', key=key) for one in (model, fresh))
    bound = encryption.state_dict()
    fold_features(model, encryption)
    with pytest.raises(WrongKeyError, match='folded'):
        other.load_state_dict(encryption.state_dict())
    with pytest.raises(WrongKeyError, match='folded'):
        encryption.load_state_dict(bound)
    with pytest.raises(ConfigError, match=r'unfold\(\)'):
        bind_features(model, encryption)
    unfold_features(model, encryption)
    other.load_state_dict(encryption.state_dict())


def test_binding_in_training_mode(x, key):
    """Gradients are those of the plain model at other positions, so training continues as it would have."""
    plain, bound = backbone('mobilenet'), backbone('mobilenet')
    encryption = FeatureEncryption(bound, BOTH, stages='all', key=key)
    bind_features(bound, encryption)
    losses = {}
    for name, model in dict(plain=plain, bound=bound).items():
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        losses[name] = []
        for _ in range(3):
            loss = sum(one.square().mean() for one in model(x))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
    assert losses['bound'] == pytest.approx(losses['plain'], rel=1e-6)
    assert len(set(losses['plain'])) == 3


@pytest.mark.parametrize(
    ('name', 'options', 'cipher', 'places', 'words'),
    [
        ('resnet18', {}, BOTH, dict(stages='all'), 'before a ReLU'),
        ('mit', {}, BOTH, dict(blocks='all'), 'inside a LayerNorm'),
        ('vit', dict(out_indices=(1, 2)), SHUFFLE, dict(stages='all'), 'several out_indices'),
        ('mit', {}, dict(type='FeatureBlockShuffle', block_size=2), dict(stages='all'), 'mixes positions'),
    ],
)
def test_what_cannot_be_bound_is_refused_and_left_alone(name, options, cipher, places, words, x, key):
    model = backbone(name, **options)
    encryption = FeatureEncryption(model, cipher, key=key, **places)
    before = copy.deepcopy(model.state_dict())
    functions = encryption.functions
    for rewrite in (bind_features, fold_features):
        with pytest.raises(ConfigError, match=words):
            rewrite(model, encryption)
    assert encryption.functions == functions
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize('name', BACKBONES)
def test_block_shuffle_runs_everywhere(name, x, key):
    """It also runs with a class token, and where the map is no whole number of blocks."""
    model = backbone(name)
    x = x[..., :48, :]
    plain = outputs(model, x)
    FeatureEncryption(model, dict(type='FeatureBlockShuffle', block_size=2), stages=(0,), key=key)
    changed = outputs(model, x)
    assert changed.shape == plain.shape
    assert (changed - plain).abs().max() > 1e-3


def test_block_shuffle_of_a_map_smaller_than_a_block(x, key):
    model = backbone('resnet18')
    plain = outputs(model, x[..., :16, :])
    FeatureEncryption(model, dict(type='FeatureBlockShuffle', block_size=2), stages=(3,), key=key)
    assert torch.equal(outputs(model, x[..., :16, :]), plain)


def test_a_single_stage_is_undone_by_its_inverse(x, key):
    model = backbone('resnet18')
    plain = outputs(model, x)
    encryption = FeatureEncryption(model, BOTH, stages=(3,), key=key)
    (step,) = encryption.functions['stage=3'].steps
    source, sign = step.transform.inverse().signed_permutation()
    got = model(x)[3].detach().numpy()
    undone = got[:, source] * sign[:, None, None]
    np.testing.assert_array_equal(undone.ravel(), plain[-undone.size :].numpy())


def test_a_backbone_is_encrypted_once(key):
    model = backbone('resnet18')
    FeatureEncryption(model, dict(SHUFFLE, allow_weak=True), stages=(0,), key=key)
    with pytest.raises(ConfigError, match='encrypted at stage=0 already'):
        FeatureEncryption(model, SHUFFLE, stages=(0, 1), key=key)


def test_modules_at_places_copy_and_pickle_without_a_key(x, key):
    """Copies and pickles keep the kind of their modules; a part of a stage is plain."""
    model = backbone('mit')
    encryption = FeatureEncryption(model, dict(type='FeatureBlockShuffle', block_size=2), stages='all', key=key)
    encryption.use(encryption.identity_functions)
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(outputs(again, x), outputs(model, x))
    assert [type(module) for module in again.modules()] == [type(module) for module in model.modules()]
    mobilenet = backbone('mobilenet')
    FeatureEncryption(mobilenet, BOTH, stages=(6,), key=key)
    maps = torch.randn(1, 160, 4, 4).double()
    assert torch.equal(mobilenet.layer7[:1](maps), mobilenet.layer7[0](maps))


def test_use_needs_a_function_for_every_place(x, key):
    """A mapping that lacks a place is refused, and changes nothing."""
    model = backbone('mit')
    encryption = FeatureEncryption(model, stages='all', key=key)
    functions, before = encryption.functions, outputs(model, x)
    incomplete = {name: value for name, value in encryption.identity_functions.items() if name != 'stage=3'}
    with pytest.raises(KeyError, match='stage=3'):
        encryption.use(incomplete)
    with pytest.raises(KeyError, match='stage=3'), encryption.using(incomplete):
        pass
    assert encryption.functions == functions
    with encryption.using(encryption.identity_functions):
        assert not torch.equal(outputs(model, x), before)
    assert encryption.functions == functions
    assert torch.equal(outputs(model, x), before)


class TestPlaces:
    def test_names_and_channels(self):
        found = find_places(backbone('mit'), stages=(0, 3), blocks='all')
        assert [(place.name, place.channels) for place in found][:4] == [
            ('stage=0/block=0', 16),
            ('stage=0/block=1', 16),
            ('stage=0', 16),
            ('stage=1/block=0', 32),
        ]
        assert len(found) == 8 + 2
        assert [place.name for place in find_places(backbone('vit'), stages=(1,), blocks='all')] == [
            'stage=0/block=0',
            'stage=1',
            'stage=2/block=0',
        ]

    @pytest.mark.parametrize(
        ('places', 'words'),
        [
            (dict(stages=(0, 4)), r'out of 0 to 3, which the backbone has, but got \[4\]'),
            (dict(stages=(-1,)), r'but got \[-1\]'),
            (dict(stages=(1, 1)), 'encrypted twice'),
            (dict(stages='every'), "'every'"),
            (dict(stages=(0.5,)), 'numbers'),
            (dict(), 'stages=None and blocks=None'),
            (dict(blocks=(0,)), 'blocks='),
        ],
    )
    def test_bad_places(self, places, words, key):
        with pytest.raises(ConfigError, match=words):
            FeatureEncryption(backbone('mit'), key=key, **places)

    def test_another_backbone(self, key):
        with pytest.raises(ConfigError, match='but got BiSeNetV1'):
            FeatureEncryption(MODELS.build(SMALL_BISENET), stages='all', key=key)


SMALL_BISENET = dict(
    type='BiSeNetV1',
    backbone_cfg=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    context_channels=(16, 32, 64),
    spatial_channels=(8, 8, 8, 16),
    out_channels=32,
)


def model_config(image_key, images=True, **features):
    """Return a small SegFormer with encrypted feature maps."""
    kind = dict(type='KeyedSegDataPreProcessor', key=image_key) if images else dict(type='SegDataPreProcessor')
    return dict(
        type='KeyedEncoderDecoder',
        data_preprocessor=dict(**kind, mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=True, size=(64, 64), pad_val=0),
        backbone=BACKBONES['mit'],
        decode_head=dict(
            type='SegformerHead',
            in_channels=[16, 32, 80, 128],
            in_index=[0, 1, 2, 3],
            channels=32,
            num_classes=4,
            norm_cfg=dict(type='BN'),
            dropout_ratio=0.0,
        ),
        feature_encryption=features,
        test_cfg=dict(mode='whole'),
    )


def build(*args, **kwargs):
    return MODELS.build(Config(dict(model=model_config(*args, **kwargs))).model)


class TestSegmentor:
    def test_the_state_dict_has_the_public_text_alone(self, key):
        model = build(key, stages='all')
        assert model.stem is None
        plain = MODELS.build(strip(model_config(key)))
        assert set(model.state_dict()) - set(plain.state_dict()) == {'feature_encryption.protection'}
        text = bytes(model.state_dict()['feature_encryption.protection'].tolist()).decode()
        assert text == f'1:{key.key_id}:feature-shuffle+feature-sign/stages=all/C=16-32-80-128'

    def test_key_of_the_preprocessor_is_taken(self, key, other_key):
        assert build(key, stages='all').feature_encryption.identity.key_id == key.key_id
        with pytest.raises(WrongKeyError, match='one key for images and feature maps'):
            build(key, stages='all', key=other_key)
        assert (
            build(None, images=False, stages='all', key=other_key).feature_encryption.identity.key_id
            == other_key.key_id
        )
        with pytest.raises(WrongKeyError, match='feature_encryption names'):
            build(key, stages='all', key_id='0' * 16)

    def test_checkpoints_of_another_key_cipher_place_or_width(self, key, other_key):
        state = build(key, stages='all').state_dict()
        build(key, stages='all').load_state_dict(state)
        for other in (
            build(other_key, stages='all'),
            build(key, stages=(0, 1, 2)),
            build(key, stages='all', cipher=SHUFFLE),
        ):
            with pytest.raises(WrongKeyError, match='Expected a checkpoint'):
                other.load_state_dict(state)
        wide = model_config(key, stages='all')
        wide['backbone'] = dict(wide['backbone'], embed_dims=8)
        wide['decode_head']['in_channels'] = [8, 16, 40, 64]
        with pytest.raises(WrongKeyError, match='C=8-16-40-64, but got'):
            MODELS.build(wide).load_state_dict(state)

    def test_no_pickle_but_deep_copies(self, key):
        model = build(key, stages='all').eval()
        with pytest.raises(LeakedKeyError):
            pickle.dumps(model)
        twin = copy.deepcopy(model)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            before = model.backbone(x)[3]
            twin.feature_encryption.use(twin.feature_encryption.identity_functions)
            assert torch.equal(model.backbone(x)[3], before)  # the copy has its own functions
            assert not torch.equal(twin.backbone(x)[3], before)

    def test_sync_bn_checkpointing_half_precision_and_compile(self, key):
        cfg = model_config(key, stages='all', blocks='all')
        torch.manual_seed(0)
        model = MODELS.build(cfg)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            expected = model.eval().backbone(x)[3]
            model = convert_sync_batchnorm(model)
            assert torch.equal(model.backbone(x)[3], expected)
            compiled = torch.compile(model.backbone, backend='eager')
            assert torch.allclose(compiled(x)[3], expected, atol=1e-5)
            with torch.autocast('cpu', dtype=torch.bfloat16):
                assert torch.allclose(model.backbone(x)[3].float(), expected, atol=0.3)
        cfg['backbone'] = dict(cfg['backbone'], with_cp=True)
        checkpointed = MODELS.build(cfg)
        checkpointed.load_state_dict(model.state_dict())
        x.requires_grad_()
        gradients = []
        for one in (model, checkpointed):
            one.eval().backbone(x)[3].square().sum().backward()
            gradients.append(x.grad.clone())
            x.grad = None
        assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)

    def test_exported_programs_have_the_key_in_them(self, key):
        model = build(key, stages='all').eval()
        x = torch.randn(1, 3, 64, 64)
        program = torch.export.export(model.backbone, (x,))
        with torch.no_grad():
            assert torch.allclose(program.module()(x)[3], model.backbone(x)[3], atol=1e-5)

    def test_together_with_a_block_stem(self, key):
        cfg = model_config(key, stages='all')
        cfg['block_stem'] = dict(border='grey')
        model = MODELS.build(cfg)
        assert model.stem is not None
        assert set(model.state_dict()) >= {'feature_encryption.protection', 'data_preprocessor.protection'}

    def test_not_a_dict(self, key):
        with pytest.raises(ConfigError, match='as a dict'):
            MODELS.build({**model_config(key), 'feature_encryption': 'all'})


def strip(cfg):
    """Return the same segmentor without encrypted feature maps."""
    return {**{name: value for name, value in cfg.items() if name != 'feature_encryption'}, 'type': 'EncoderDecoder'}
