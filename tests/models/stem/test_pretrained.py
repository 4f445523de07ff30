"""Backbones with a block stem that start from pretrained weights, compared with plain backbones that do."""

import copy

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import Runner
from mmseg.models.backbones.resnet import BasicBlock
from mmseg.registry import MODELS
from torch import nn

from helpers.segmentors import (
    STRIDES,
    build,
    cipher_config,
    keyed_config,
    need,
    photo,
    photographs,
    plain_config,
    plain_of,
    whole,
)
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.errors import ConfigError, MissingFileError

TENSORFLOW = dict(mean=[128.0] * 3, std=[128.0] * 3, bgr_to_rgb=True)
WAYS = ['KeyedPretrained', 'Pretrained', 'pretrained', 'backbone.pretrained']


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Stop mmengine from printing a line for each parameter that it initialises."""
    monkeypatch.setattr(BaseModule, '_dump_init_info', lambda self: None)


def with_weights(cfg, way, checkpoint, **options):
    """Name the pretrained weights of the backbone in one of the ways that mmseg has."""
    cfg = copy.deepcopy(cfg)
    if way == 'pretrained':
        cfg['pretrained'] = str(checkpoint)
    elif way == 'backbone.pretrained':
        cfg['backbone']['pretrained'] = str(checkpoint)
    else:
        cfg['backbone']['init_cfg'] = dict(type=way, checkpoint=str(checkpoint), **options)
    return cfg


def started(cfg):
    """Build a model in float64 and initialise it."""
    model = build(cfg)
    model.init_weights()
    return model.eval()


def features(model, image, encryption=None):
    """Return the feature maps of an image, with the correct key or as a user with another encryption."""
    preprocessor, batch = model.data_preprocessor, dict(inputs=[image])
    prepared = preprocessor(batch) if encryption is None else preprocessor.prepare(batch, False, encryption)
    with torch.no_grad():
        return model.backbone(prepared['inputs'])


def assert_same(plain, keyed, *images, atol=1e-9):
    assert keyed.stem.lifted
    for image in images or [photo()]:
        for got, expected in zip(features(keyed, image), features(plain, whole(keyed, image)), strict=True):
            assert expected.std() > 1e-3
            torch.testing.assert_close(got, expected, atol=atol, rtol=0)


def saved(state, path, **meta):
    torch.save(dict(state_dict=state, **meta), path)
    return path


@pytest.fixture
def resnet(tmp_path):
    """A checkpoint of a ResNet-18 with the names and the form of torchvision."""
    state = plain_of('ResNet').backbone.state_dict()
    torch.save({**state, 'fc.weight': torch.zeros(10, 64), 'fc.bias': torch.zeros(10)}, tmp_path / 'resnet18.pth')
    return tmp_path / 'resnet18.pth'


class TestSameStart:
    """The model with a block stem starts from the function of the plain model."""

    @pytest.mark.parametrize('way', WAYS)
    @pytest.mark.filterwarnings('ignore:.*pretrained')
    def test_torchvision_names_and_every_way(self, way, resnet, key_file, other_key):
        cfg = plain_config()
        plain = started(with_weights(cfg, way.removeprefix('Keyed'), resnet))
        keyed = started(with_weights(keyed_config(cfg), way, resnet))
        assert torch.equal(plain.backbone.conv1.weight, plain_of('ResNet').backbone.conv1.weight)
        assert_same(plain, keyed)
        right = features(keyed, photo())[0]
        wrong = KeyedCipher(cipher_config(), other_key)
        assert (features(keyed, photo(), wrong)[0] - right).abs().max() > 0.1

    @pytest.mark.parametrize('name', ['ResNetV1c-18', 'MiT', 'ViT', 'Swin', 'ConvNeXt'])
    def test_every_kind_of_backbone(self, name, tmp_path, key_file):
        need(name)
        checkpoint = saved(plain_of(name).backbone.state_dict(), tmp_path / 'plain.pth')
        cfg = plain_config(name)
        cipher = cipher_config(block_size=max(4, STRIDES.get(name, 2)))
        plain = started(with_weights(cfg, 'Pretrained', checkpoint))
        keyed = started(with_weights(keyed_config(cfg, cipher), 'KeyedPretrained', checkpoint))
        assert_same(plain, keyed)

    def test_real_mobilenet_of_imagenet(self, real_data, key_file):
        weights = real_data('weights/mobilenet_v2_imagenet.pth')
        cfg = plain_config('MobileNetV2', TENSORFLOW, widen_factor=1.0)
        cfg['decode_head']['in_channels'] = 320
        plain = started(with_weights(cfg, 'Pretrained', weights))
        exact = started(with_weights(keyed_config(cfg), 'KeyedPretrained', weights))
        images = photographs(real_data('camvid/images/val'), (64, 96))
        assert_same(plain, exact, *images)
        grey = started(with_weights(keyed_config(cfg, border='grey'), 'KeyedPretrained', weights))
        for name, value in plain.backbone.state_dict().items():
            assert name == 'conv1.conv.weight' or torch.equal(grey.backbone.state_dict()[name], value)
        inputs = [model.data_preprocessor(dict(inputs=images))['inputs'] for model in (grey, plain)]
        got, expected = (model.backbone.conv1.conv(x) for model, x in zip((grey, plain), inputs, strict=True))
        torch.testing.assert_close(got[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-9, rtol=0)

    def test_real_mobilenet_of_a_whole_segmentor(self, real_data, key_file):
        weights = real_data('weights/deeplabv3_mobilenetv2_voc.pth')
        cfg = plain_config('MobileNetV2', TENSORFLOW, widen_factor=1.0)
        cfg['decode_head']['in_channels'] = 320
        plain = started(with_weights(cfg, 'Pretrained', weights, prefix='backbone.'))
        keyed = started(with_weights(keyed_config(cfg), 'KeyedPretrained', weights, prefix='backbone.'))
        assert_same(plain, keyed, *photographs(real_data('voc2012_val440/JPEGImages'), (96, 128)))

    def test_prefix(self, tmp_path, key_file):
        checkpoint = saved(plain_of('ResNet').state_dict(), tmp_path / 'segmentor.pth')
        keyed = started(with_weights(keyed_config(plain_config()), 'KeyedPretrained', checkpoint, prefix='backbone.'))
        plain = started(with_weights(plain_config(), 'Pretrained', checkpoint, prefix='backbone.'))
        assert_same(plain, keyed)

    def test_vit_of_another_image_size(self, tmp_path, key_file):
        """mmseg resizes the position embeddings of a checkpoint."""
        checkpoint = saved(plain_of('ViT').backbone.state_dict(), tmp_path / 'vit.pth')
        cfg = plain_config('ViT', img_size=96)
        plain = started(with_weights(cfg, 'Pretrained', checkpoint))
        keyed = started(with_weights(keyed_config(cfg, cipher_config(block_size=16)), 'KeyedPretrained', checkpoint))
        assert keyed.backbone.pos_embed.shape[1] == 37
        assert torch.equal(keyed.backbone.pos_embed, plain.backbone.pos_embed)
        assert_same(plain, keyed)

    def test_swin_with_other_windows(self, tmp_path, key_file):
        """mmseg resizes the tables of relative positions of a checkpoint."""
        state = plain_of('Swin').backbone.state_dict()
        state = {f'backbone.{name}': value for name, value in state.items() if 'position_index' not in name}
        checkpoint = saved(state, tmp_path / 'swin.pth')
        cfg = plain_config('Swin', window_size=5)
        plain = started(with_weights(cfg, 'Pretrained', checkpoint))
        keyed = started(with_weights(keyed_config(cfg), 'KeyedPretrained', checkpoint))
        assert_same(plain, keyed)

    def test_children_do_not_initialise_it_anew(self, resnet, key_file, monkeypatch):
        """mmengine calls ``init_weights`` of blocks and stages before it loads ``Pretrained``."""
        called = []

        def init_weights(block):
            called.append(block)
            for parameter in block.parameters():
                nn.init.zeros_(parameter)

        monkeypatch.setattr(BasicBlock, 'init_weights', init_weights)
        keyed = started(with_weights(keyed_config(plain_config()), 'KeyedPretrained', resnet))
        assert len(called) == 8
        assert_same(plain_of('ResNet'), keyed)

    @pytest.mark.parametrize('way', ['Pretrained', 'KeyedPretrained'])
    def test_in_a_list_of_initialisations(self, way, resnet, key_file):
        cfg = with_weights(keyed_config(plain_config()), way, resnet)
        cfg['backbone']['init_cfg'] = [cfg['backbone']['init_cfg'], dict(type='Kaiming', layer='Conv2d')]
        assert_same(plain_of('ResNet'), started(cfg))

    def test_a_second_time_changes_nothing(self, resnet, key_file):
        keyed = started(with_weights(keyed_config(plain_config()), 'KeyedPretrained', resnet))
        before = copy.deepcopy(keyed.state_dict())
        keyed.init_weights()
        assert all(torch.equal(value, before[name]) for name, value in keyed.state_dict().items())

    def test_other_initialisations_beside_it(self, resnet, key_file):
        """The heads keep their own initialisation."""
        cfg = with_weights(keyed_config(plain_config()), 'KeyedPretrained', resnet)
        cfg['decode_head']['init_cfg'] = dict(type='Constant', val=0.5, override=dict(name='conv_seg'))
        keyed = started(cfg)
        assert (keyed.decode_head.conv_seg.weight == 0.5).all()
        assert_same(plain_of('ResNet'), keyed)

    def test_without_a_key(self, resnet):
        """A block stem for plain images is lifted as well."""
        cfg = dict(plain_config(), type='KeyedEncoderDecoder', block_stem=dict(block_size=4, border='exact'))
        assert_same(plain_of('ResNet'), started(with_weights(cfg, 'KeyedPretrained', resnet)), photo((40, 56)))

    def test_in_a_runner(self, tiny, tmp_path, key_file):
        """Training starts from these weights: with a learning rate of 0 they are unchanged at its end."""
        options = {
            'model.type': 'KeyedEncoderDecoder',
            'model.block_stem': dict(border='exact'),
            'optim_wrapper.optimizer.lr': 0.0,
            'train_cfg.max_iters': 1,
            'train_cfg.val_interval': 10,
            'default_hooks.checkpoint': None,
        }
        cfg = tiny(**options)
        plain_cfg = copy.deepcopy(cfg.model)
        plain_cfg.type = plain_cfg.type.removeprefix('Keyed')
        plain_cfg.data_preprocessor.type = 'SegDataPreProcessor'
        del plain_cfg['block_stem'], plain_cfg.data_preprocessor['cipher']
        plain = MODELS.build(plain_cfg)
        checkpoint = saved(plain.backbone.state_dict(), tmp_path / 'mit.pth')
        cfg.model.backbone.init_cfg = dict(type='KeyedPretrained', checkpoint=str(checkpoint))
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert_same(plain.eval(), runner.model.eval(), atol=1e-4)


class TestErrors:
    """A checkpoint without a fitting first convolution is refused, with the reason."""

    def keyed(self, checkpoint, **options):
        return with_weights(keyed_config(plain_config()), 'KeyedPretrained', checkpoint, **options)

    def test_no_first_convolution(self, tmp_path, key_file):
        state = plain_of('ResNet').backbone.state_dict()
        del state['conv1.weight']
        checkpoint = saved(state, tmp_path / 'headless.pth')
        with pytest.raises(ConfigError, match=r'headless.pth to hold conv1.weight of shape \(8, 3, 7, 7\)'):
            started(self.keyed(checkpoint))
        started(with_weights(keyed_config(plain_config()), 'Pretrained', checkpoint))  # which mmengine accepts

    def test_one_of_another_shape(self, tmp_path, key_file):
        state = plain_of('ResNet').backbone.state_dict()
        state['conv1.weight'] = torch.zeros(8, 3, 3, 3)
        with pytest.raises(ConfigError, match=r'of shape \(8, 3, 7, 7\), but it does not'):
            started(self.keyed(saved(state, tmp_path / 'other.pth')))

    def test_another_backbone(self, tmp_path, key_file):
        checkpoint = saved(plain_of('ResNetV1c-18').backbone.state_dict(), tmp_path / 'other.pth')
        with pytest.raises(ConfigError, match='Give a checkpoint of this backbone'):
            started(self.keyed(checkpoint))

    def test_no_prefix(self, tmp_path, key_file):
        checkpoint = saved(plain_of('ResNet').state_dict(), tmp_path / 'segmentor.pth')
        with pytest.raises(ConfigError, match="init_cfg needs prefix='backbone.'"):
            started(self.keyed(checkpoint))

    def test_a_backbone_that_ignores_the_prefix(self, tmp_path, key_file):
        """The VisionTransformer of mmseg ignores it silently; with KeyedPretrained it is an error."""
        checkpoint = saved(plain_of('ViT').state_dict(), tmp_path / 'segmentor.pth')
        cfg = keyed_config(plain_config('ViT'), cipher_config(block_size=16))
        with pytest.raises(ConfigError, match='patch_embed.projection.weight'):
            started(with_weights(cfg, 'KeyedPretrained', checkpoint, prefix='backbone.'))

    def test_weights_that_are_lifted_already(self, resnet, tmp_path, key_file):
        state = started(self.keyed(resnet)).backbone.state_dict()
        with pytest.raises(ConfigError, match=r'of shape \(8, 3, 7, 7\), but it does not'):
            started(self.keyed(saved(state, tmp_path / 'lifted.pth')))

    @pytest.mark.parametrize('name', ['ResNet', 'MiT', 'ViT'])
    def test_a_plain_segmentor(self, name, tmp_path):
        checkpoint = saved(plain_of(name).backbone.state_dict(), tmp_path / 'plain.pth')
        with pytest.raises(
            ConfigError, match='a block stem for KeyedPretrained, but got a plain .*KeyedEncoderDecoder'
        ):
            started(with_weights(plain_config(name), 'KeyedPretrained', checkpoint))

    def test_no_such_file(self, tmp_path, key_file):
        with pytest.raises(MissingFileError, match='nowhere.pth'):
            started(self.keyed(tmp_path / 'nowhere.pth'))
