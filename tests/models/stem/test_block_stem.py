"""The block stem alone: exactness, its borders, and how it loads weights."""

import copy
from itertools import product

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from mmseg.registry import MODELS
from torch import nn

from helpers import CIPHERS
from mmseg_keyprotect.ciphers import KeyedCipher, pad_image, padding_to_blocks
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.models import BlockStem
from mmseg_keyprotect.models.stem.absorber import CENTRE, StemKeyAbsorber
from mmseg_keyprotect.models.stem.replacement import put_block_stem

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')

STEMS = {
    'ResNet': (7, 2, 3),
    'MobileNetV2': (3, 2, 1),
    'MiT': (7, 4, 3),
    'ViT-16': (16, 16, 0),
    'ViT-14': (14, 14, 0),
    'Swin': (4, 4, 0),
    'stride-1': (3, 1, 1),
}
PADDED = ['ResNet', 'MobileNetV2', 'MiT', 'stride-1']
ONE_PIXEL = ('stride-1', 1)  # see test_block_size_1
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE = ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0))
TENSORFLOW = ((128.0,) * 3, (128.0,) * 3)
EVERY_CIPHER = ['shuffle', 'negative-positive', 'shuffle+negative-positive', 'negative-positive+shuffle']


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def cipher_of(key, block_size=4, name='shuffle+negative-positive', order='bgr'):
    parts = [CIPHERS[word] for word in name.split('+')]
    return KeyedCipher([dict(p, block_size=block_size, allow_weak=True) for p in parts], key, channel_order=order)


def conv_of(sizes, channels=3, out=4, bias=True):
    k, s, p = sizes
    return nn.Conv2d(channels, out, k, s, p, bias=bias).double()


class Pair:
    """A plain first convolution with its normalisation, and a block stem that has absorbed both and a key.

    Args:
        conv: The plain convolution, float64.
        cipher: A KeyedCipher.
        swap: Whether the preprocessors swap the channels of the images from the pipeline.
        norm: Mean and std of the plain model.
        border: The border of the stem.
    """

    def __init__(self, conv, cipher, swap=True, norm=IMAGENET, border='exact'):
        self.conv, self.cipher, self.swap = conv, cipher, swap
        self.mean, self.std = (torch.tensor(part) for part in norm)
        absorber = StemKeyAbsorber(self.mean, self.std, (cipher.channel_order == 'rgb') != swap, cipher)
        self.stem = BlockStem.replacing(conv, cipher.block_size, border, absorber).double()
        self.stem.load_state_dict(conv.state_dict())

    def swapped(self, image):
        return image.flip(0) if self.swap and len(image) == 3 else image

    def normalised(self, image):
        """Normalise an image, plain or encrypted, as the preprocessor of the plain model does."""
        x = self.swapped(image).double()
        return (x - self.mean.double()[:, None, None]) / self.std.double()[:, None, None]

    def whole(self, image):
        return pad_image(image, padding_to_blocks(*image.shape[-2:], self.cipher.block_size))

    def plain(self, image, pad=0):
        """Apply the plain convolution to the plain image, extended to whole blocks and padded as in a batch."""
        return self.conv(F.pad(self.normalised(self.whole(image)), (0, pad, 0, pad))[None])

    def keyed(self, image, pad=0, cipher=None):
        """Apply the block stem to the encrypted image."""
        x = self.normalised((cipher or self.cipher).encrypt(image)[0])
        return self.stem(F.pad(x, (0, pad, 0, pad), value=float('nan'))[None])

    def difference(self, image, **kwargs):
        with torch.no_grad():
            return (self.keyed(image, **kwargs) - self.plain(image)).abs().max().item()


def photo(size=(37, 53), channels=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8))


def crop_of(path, size=(37, 53), corner=(60, 80)):
    """Return a part of a real photograph, BGR as OpenMMLab loads it."""
    image = cv2.imread(str(path))[corner[0] :, corner[1] :][: size[0], : size[1]]
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


@pytest.fixture
def pictures(real_data):
    """A random image and parts of two photographs."""
    folders = ('camvid/images/val', 'voc2012_val440/JPEGImages')
    return [photo(), *(crop_of(sorted(real_data(folder).glob('*.jpg'))[0]) for folder in folders)]


class TestExact:
    """With the exact border, the output is that of the plain convolution on the plain image."""

    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    @pytest.mark.parametrize(('stem', 'ratio'), [case for case in product(STEMS, [1, 2, 4]) if case != ONE_PIXEL])
    def test_every_stem_cipher_and_block_size(self, stem, cipher, ratio, key, other_key):
        block_size = ratio * STEMS[stem][1]
        pair = Pair(conv_of(STEMS[stem], out=2), cipher_of(key, block_size, cipher))
        image = photo((37, 53) if block_size < 37 else (67, 85))
        assert pair.difference(image) < 1e-9
        assert pair.difference(image, cipher=cipher_of(other_key, block_size, cipher)) > 0.1

    @pytest.mark.parametrize('size', [(4, 4), (5, 4), (37, 53), (40, 56), (41, 7)])
    def test_sizes(self, size, key):
        assert Pair(conv_of((7, 2, 3)), cipher_of(key)).difference(photo(size)) < 1e-9

    @pytest.mark.parametrize('norm', [IMAGENET, CAFFE, TENSORFLOW, ((0.0,) * 3, (1.0,) * 3), ((CENTRE,), (CENTRE,))])
    @pytest.mark.parametrize('swap', [True, False])
    @pytest.mark.parametrize('order', ['bgr', 'rgb'])
    def test_normalisation_and_channel_order(self, order, swap, norm, key):
        pair = Pair(conv_of((7, 4, 3)), cipher_of(key, 8, order=order), swap, norm)
        assert pair.difference(photo()) < 1e-9
        wrong = cipher_of(key, 8, order={'bgr': 'rgb', 'rgb': 'bgr'}[order])
        assert pair.difference(photo(), cipher=wrong) > 0.1

    @pytest.mark.parametrize('norm', [IMAGENET, CAFFE])
    @pytest.mark.parametrize('stem', STEMS)
    def test_photographs(self, stem, norm, pictures, key):
        pair = Pair(conv_of(STEMS[stem]), cipher_of(key, 2 * STEMS[stem][1]), norm=norm)
        for picture in pictures:
            assert pair.difference(picture) < 1e-9

    @pytest.mark.parametrize(('channels', 'swap'), [(1, True), (1, False), (4, True), (4, False)])
    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    def test_channels(self, cipher, channels, swap, key):
        norm = ((100.0,) * channels, (50.0,) * channels)
        pair = Pair(conv_of((3, 2, 1), channels), cipher_of(key, 8, cipher), swap, norm)
        assert pair.difference(photo(channels=channels)) < 1e-9

    @pytest.mark.parametrize('bias', [True, False])
    def test_bias(self, bias, key):
        assert Pair(conv_of((3, 2, 1), bias=bias), cipher_of(key)).difference(photo()) < 1e-9

    @pytest.mark.parametrize('stem', STEMS)
    def test_padding_of_a_batch(self, stem, key):
        """NaN, the padding of the preprocessor, means the same as the zeros of the plain model."""
        block_size = 2 * STEMS[stem][1]
        pair = Pair(conv_of(STEMS[stem]), cipher_of(key, block_size))
        with torch.no_grad():
            torch.testing.assert_close(
                pair.keyed(photo(), pad=2 * block_size), pair.plain(photo(), pad=2 * block_size), atol=1e-9, rtol=0
            )

    def test_what_torch_pads_is_never_seen(self, key):
        """Zeros mean grey, not the mean colour: without the border the outputs differ."""
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key))
        pair.stem.border.zero_()
        assert pair.difference(photo()) > 1e-3

    @pytest.mark.parametrize('block_size', [14, 28])
    def test_a_really_trained_vit(self, block_size, real_data, key, other_key, pictures):
        state = torch.load(real_data('weights/vit_s14_fp16.pth'))
        state = state.get('state_dict', state)
        conv = conv_of((14, 14, 0), out=384)
        conv.load_state_dict({name: state[f'patch_embed.projection.{name}'].double() for name in ('weight', 'bias')})
        pair = Pair(conv, cipher_of(key, block_size))
        for picture in pictures:
            assert pair.difference(picture) < 1e-9
            assert pair.difference(picture, cipher=cipher_of(other_key, block_size)) > 0.1

    @pytest.mark.parametrize('block_size', [2, 4, 8])
    @pytest.mark.parametrize(
        ('file', 'name'),
        [('deeplabv3_mobilenetv2_voc', 'backbone.conv1.conv.weight'), ('mobilenet_v2_imagenet', 'conv1.conv.weight')],
    )
    def test_a_really_trained_mobilenet(self, file, name, block_size, real_data, key, other_key, pictures):
        state = torch.load(real_data(f'weights/{file}.pth'))
        weight = state.get('state_dict', state)[name].double()
        conv = conv_of((3, 2, 1), out=len(weight), bias=False)
        conv.load_state_dict(dict(weight=weight))
        pair = Pair(conv, cipher_of(key, block_size), norm=TENSORFLOW)
        for picture in pictures:
            assert pair.difference(picture) < 1e-9
            assert pair.difference(picture, cipher=cipher_of(other_key, block_size)) > 0.1


def test_block_size_1(key):
    """With stride 1 and blocks of one pixel, absorbed weights would have the shape of plain ones."""
    with pytest.raises(ConfigError, match='blocks of several pixels'):
        Pair(conv_of((3, 1, 1)), cipher_of(key, 1))


def interior(stem, size):
    """Return which output pixels read only the image, and no border."""
    k, s, p = STEMS[stem]
    inside = [torch.tensor([o * s >= p and o * s - p + k <= side for o in range(side // s)]) for side in size]
    return inside[0][:, None] & inside[1]


class TestGrey:
    """With the default border, the output differs near the border only, and shows nothing of the key."""

    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    @pytest.mark.parametrize(('stem', 'ratio'), [case for case in product(PADDED, [1, 2]) if case != ONE_PIXEL])
    def test_only_the_border_differs(self, stem, cipher, ratio, key):
        pair = Pair(conv_of(STEMS[stem]), cipher_of(key, ratio * STEMS[stem][1], cipher), border='grey')
        image = photo((40, 56))
        with torch.no_grad():
            difference = (pair.keyed(image) - pair.plain(image)).abs().amax((0, 1))
        inside = interior(stem, (40, 56))
        assert inside.float().mean() > 0.7
        assert difference[inside].max() < 1e-9
        assert difference[~inside].max() > 1e-2
        assert (difference[~inside] > 1e-6).all()

    @pytest.mark.parametrize('stem', ['ViT-16', 'ViT-14', 'Swin'])
    def test_patches_have_no_border(self, stem, key):
        assert Pair(conv_of(STEMS[stem]), cipher_of(key, STEMS[stem][1]), border='grey').difference(photo()) < 1e-9

    def test_it_is_grey_that_lies_around(self, key):
        """The output is that of the plain convolution on an image with a border of 127.5."""
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key), border='grey')
        image = photo((40, 56))
        x = F.pad(pair.swapped(image).double(), (3, 3, 3, 3), value=CENTRE)
        x = (x - pair.mean.double()[:, None, None]) / pair.std.double()[:, None, None]
        with torch.no_grad():
            expected = F.conv2d(x[None], pair.conv.weight, pair.conv.bias, stride=2)
            torch.testing.assert_close(pair.keyed(image), expected, atol=1e-9, rtol=0)

    def test_no_border_where_grey_is_the_mean(self, key):
        norm = ((CENTRE,) * 3, (60.0,) * 3)
        assert Pair(conv_of((7, 2, 3)), cipher_of(key), norm=norm, border='grey').difference(photo()) < 1e-9

    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    def test_the_bias_is_the_same_for_every_key(self, cipher, key, other_key):
        conv = conv_of((7, 2, 3))
        one, other = (Pair(conv, cipher_of(k, 4, cipher), border='grey').stem.state_dict() for k in (key, other_key))
        assert list(one) == ['weight', 'bias', 'mean', 'std']
        assert torch.equal(one['bias'], other['bias'])
        assert not torch.equal(one['weight'], other['weight'])
        assert torch.equal(one['weight'].abs().sort(1).values, other['weight'].abs().sort(1).values)

    def test_the_exact_border_tells_the_bits_of_negative_positive(self, key, other_key):
        """This is documented: an attacker who reads the weights reads the key bits of negative-positive."""
        conv = conv_of((7, 2, 3))
        states = {}
        for k in (key, other_key):
            cipher = cipher_of(k, 4, 'negative-positive', order='rgb')
            states[k.key_id] = border = Pair(conv, cipher, swap=False).stem.state_dict()['border']
            encrypted, _ = cipher.encrypt(torch.zeros(3, 4, 4, dtype=torch.uint8))
            assert torch.equal(border > 0, F.pixel_unshuffle(encrypted == 255, 4).flatten())  # the mean is below grey
        assert 10 < sum(border > 0 for border in states.values()).eq(1).sum() < 38


class TestLoading:
    """Plain weights are lifted as they are loaded; the weights of a block stem are loaded as they are."""

    def stem(self, key, border='grey'):
        absorber = StemKeyAbsorber(*map(torch.tensor, IMAGENET), True, cipher_of(key))
        return BlockStem.replacing(conv_of((3, 2, 1)), 4, border, absorber)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    @pytest.mark.parametrize('load', [nn.Module.load_state_dict, mmengine_load])
    def test_torch_and_mmengine(self, load, border, key):
        plain, stem = conv_of((3, 2, 1)).state_dict(), self.stem(key, border)
        before = copy.deepcopy(plain)
        assert not stem.lifted
        load(stem, plain, strict=True)
        assert stem.lifted
        assert list(plain) == list(before)  # the caller's weights stay as they are
        assert all(torch.equal(plain[name], before[name]) for name in before)
        weight, bias = stem.absorber.absorb(plain['weight'].float(), plain['bias'], stem.grid)
        assert torch.equal(stem.weight, weight)
        torch.testing.assert_close(stem.bias, bias)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    @pytest.mark.parametrize('load', [nn.Module.load_state_dict, mmengine_load])
    def test_its_own_come_back_bit_for_bit(self, load, border, key, other_key):
        stem, other = self.stem(key, border), self.stem(other_key, border)
        stem.load_state_dict(conv_of((3, 2, 1)).state_dict())
        load(other, stem.state_dict(), strict=True)
        assert not other.lifted
        for name, value in stem.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)

    @pytest.mark.parametrize(('saved', 'wanted'), [('exact', 'grey'), ('grey', 'exact')])
    @pytest.mark.parametrize('strict', [True, False])
    def test_a_checkpoint_with_the_other_border(self, strict, saved, wanted, key):
        match = f"with the border '{wanted}', but got one with '{saved}'.*dict\\(border='{saved}'\\)"
        with pytest.raises(ConfigError, match=match):
            self.stem(key, wanted).load_state_dict(self.stem(key, saved).state_dict(), strict=strict)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_plain_weights_where_nothing_is_known_of_them(self, border):
        stem = BlockStem(3, 4, 3, 2, 1, 4, border)
        with pytest.raises(ConfigError, match='no mean, std and key.*KeyedEncoderDecoder.*`keyprotect protect CONFIG'):
            stem.load_state_dict(conv_of((3, 2, 1)).state_dict())

    def test_weights_of_another_shape(self, key):
        with pytest.raises(RuntimeError, match='size mismatch'):
            self.stem(key).load_state_dict(conv_of((7, 2, 3)).state_dict())

    @pytest.mark.parametrize('state', [{}, dict(bias=torch.zeros(4))])
    def test_no_weights(self, state, key):
        with pytest.raises(RuntimeError, match=r'Missing key.*weight'):
            self.stem(key).load_state_dict(state)

    def test_a_bias_that_the_plain_convolution_has_must_be_there(self, key):
        state = conv_of((3, 2, 1), bias=False).state_dict()
        with pytest.raises(RuntimeError, match='Missing key'):
            self.stem(key).load_state_dict(state)


class TestAsAModule:
    """A block stem is a convolution like any other."""

    def test_from_the_registry(self):
        stem = MODELS.build(
            dict(type='BlockStem', in_channels=3, out_channels=8, kernel_size=7, stride=2, padding=3, block_size=4)
        )
        assert isinstance(stem, BlockStem)
        assert isinstance(stem, nn.Conv2d)
        assert list(stem.state_dict()) == ['weight', 'bias', 'mean', 'std']
        assert stem(torch.randn(2, 3, 16, 24)).shape == (2, 8, 8, 12)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_repr(self, border, key):
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key), border=border)
        grid = 'Grid(kernel_size=7, stride=2, padding=3, block_size=4)'
        assert repr(pair.stem) == f"BlockStem(3, 4, {grid}, border='{border}')"

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_it_learns(self, border, key):
        """It learns from a batch with padding too."""
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key), border=border)
        before = copy.deepcopy(pair.stem.state_dict())
        losses = []
        for _ in range(5):
            pair.stem.zero_grad()
            losses.append(pair.keyed(photo(), pad=8).square().mean())
            losses[-1].backward()
            for parameter in pair.stem.parameters():
                assert torch.isfinite(parameter.grad).all()
                parameter.data -= parameter.grad
        assert losses[-1] < 0.9 * losses[0]
        changed = {name for name, value in pair.stem.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {'weight', 'bias'}

    def test_gradients_of_the_exact_border(self, key):
        """The derivative includes the part of the bias that comes from the border."""
        pair = Pair(conv_of((3, 2, 1), out=1), cipher_of(key, 2))
        x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
        x[..., 2:] = float('nan')

        def run(weight, bias):
            return torch.func.functional_call(pair.stem, dict(weight=weight, bias=bias), (x,))

        assert torch.autograd.gradcheck(run, tuple(p.detach().requires_grad_() for p in pair.stem.parameters()))

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_deepcopy(self, border, key):
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key), border=border)
        expected, pair.stem = pair.keyed(photo()), copy.deepcopy(pair.stem)
        assert torch.equal(pair.keyed(photo()), expected)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_half_precision(self, border, key):
        pair = Pair(conv_of((7, 2, 3)), cipher_of(key), border=border)
        expected = pair.keyed(photo())
        x = pair.normalised(pair.cipher.encrypt(photo())[0])[None].float()  # as from mmseg's preprocessor
        got = pair.stem.bfloat16()(x)
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got.double(), expected, atol=0.1, rtol=0.1)


class TestErrors:
    """Every refusal of a block stem gives its reason."""

    @pytest.mark.parametrize(
        ('stride', 'block_size', 'nearest'), [(2, 3, 4), (2, 5, 6), (4, 5, 4), (4, 6, 8), (16, 4, 16), (14, 24, 28)]
    )
    def test_block_size_in_part_of_a_stride(self, stride, block_size, nearest):
        with pytest.raises(
            BlockAlignmentError, match=f'stride {stride} .*got {block_size}. Use `block_size` {nearest} '
        ):
            BlockStem(3, 8, stride, stride, 0, block_size)

    @pytest.mark.parametrize('block_size', [0, -4, 4.0, '4', True, None])
    def test_no_block_size_at_all(self, block_size):
        with pytest.raises(BlockAlignmentError, match='`block_size`'):
            BlockStem(3, 8, 4, 4, 0, block_size)

    @pytest.mark.parametrize('size', [(8, 10), (6, 8), (3, 3)])
    def test_images_in_part_of_a_block(self, size):
        with pytest.raises(BlockAlignmentError, match=f'blocks of 4 x 4 pixels, but got {size[0]} x {size[1]}'):
            BlockStem(3, 8, 3, 2, 1, 4)(torch.zeros(1, 3, *size))

    @pytest.mark.parametrize('border', ['gray', '', None, True, 0])
    def test_border(self, border):
        with pytest.raises(ConfigError, match=r"`border`.*\('grey', 'exact'\)"):
            BlockStem(3, 8, 3, 2, 1, 4, border)

    @pytest.mark.parametrize('sizes', [(3, 2, 0), (7, 4, 4), (8, 2, 1), (5, 4, 5), (3, 2, 2)])
    def test_padding_that_does_not_keep_the_ratio(self, sizes):
        with pytest.raises(ConfigError, match='its input divided by the stride.*its own stem'):
            BlockStem(3, 8, *sizes, 4 * sizes[1])

    @pytest.mark.parametrize(
        'options',
        [
            dict(groups=3),
            dict(dilation=2, padding=2),
            dict(kernel_size=(3, 5), padding=(1, 2)),
            dict(stride=(2, 1)),
            dict(padding=(1, 0)),
            dict(padding_mode='reflect'),
            dict(stride=1, padding='same'),
        ],
        ids=str,
    )
    def test_convolutions_of_another_kind(self, options):
        conv = nn.Conv2d(**{**dict(in_channels=3, out_channels=6, kernel_size=3, stride=2, padding=1), **options})
        with pytest.raises(ConfigError, match='square, ungrouped, undilated and padded by zeros, but got Conv2d'):
            BlockStem.replacing(conv, 4)

    @pytest.mark.parametrize('name', ['ffx', 'shuffle+ffx'])
    def test_ffx(self, name, key):
        absorber = StemKeyAbsorber(*map(torch.tensor, IMAGENET), True, cipher_of(key, 4, name))
        with pytest.raises(ConfigError, match='but got one that looks values up in a keyed table'):
            BlockStem.replacing(conv_of((7, 2, 3)), 4, 'grey', absorber)


@pytest.mark.parametrize('training', [True, False])
def test_put_block_stem_keeps_the_training_mode(training):
    backbone = MODELS.build(dict(type='MobileNetV2', widen_factor=0.25))
    backbone.train(training)
    stem = put_block_stem(backbone, 4)
    assert backbone.conv1.conv is stem
    assert stem.training == training
