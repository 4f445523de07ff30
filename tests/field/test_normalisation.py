"""A model with a block stem is fed as the plain model is: images normalised by mean and std of its configuration."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from helpers.segmentors import IMAGENET, NORMS, build, cipher_config, keyed_config, logits, pair, photo, plain_config
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.denial.free_layers import FreeLayers

STEM = 'backbone.conv1.'


class Wrapper(BaseModel):
    """A model around a segmentor, as those that distil or prune: it owns the preprocessor, and prepares images."""

    def __init__(self, segmentor, data_preprocessor):
        super().__init__(data_preprocessor)
        self.segmentor = segmentor

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.segmentor(inputs, data_samples, mode)


def wrapped(segmentor, norm, kind='SegDataPreProcessor', **options):
    preprocessor = MODELS.build(dict(type=kind, **norm, **options)).double()
    return Wrapper(segmentor, preprocessor).eval()


@pytest.mark.parametrize('norm', ['imagenet', 'tensorflow', 'bgr model', 'none'])
@pytest.mark.parametrize('border', ['grey', 'exact'])
def test_a_wrapper_that_owns_the_preprocessor(border, norm, key_file):
    """It encrypts images or gets encrypted ones, and normalises them as the plain model's preprocessor does."""
    plain, bound = pair(norm=NORMS[norm], border=border)
    image = photo((64, 64))
    data = dict(inputs=[image], data_samples=[SegDataSample()])
    cipher = bound.data_preprocessor.keyed_cipher
    secret = dict(data, inputs=[cipher.encrypt(image)[0]])
    with torch.no_grad():
        expected = bound(**bound.data_preprocessor(copy.deepcopy(data)), mode='tensor')
        got = [
            wrapper(**wrapper.data_preprocessor(copy.deepcopy(batch)))
            for wrapper, batch in (
                (wrapped(bound, NORMS[norm]), secret),
                (wrapped(bound, NORMS[norm], 'KeyedSegDataPreProcessor', cipher=cipher_config()), data),
            )
        ]
        original = plain(**plain.data_preprocessor(copy.deepcopy(data)), mode='tensor')
    for one in got:
        torch.testing.assert_close(one, expected)
    if border == 'exact':
        torch.testing.assert_close(expected, original)


def test_the_contract_is_written_in_the_checkpoint(key_file):
    _, bound = pair()
    state = bound.state_dict()
    torch.testing.assert_close(state[f'{STEM}mean'], torch.tensor(IMAGENET['mean']).double())
    torch.testing.assert_close(state[f'{STEM}std'], torch.tensor(IMAGENET['std']).double())


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('change', [dict(mean=[0.0] * 3), dict(std=[57.375, 57.12, 58.395]), dict(mean=None, std=None)])
def test_a_configuration_with_another_mean_or_std(change, tied, key_file):
    """It would feed the model wrongly, as it would the plain one; here it is refused by name."""
    _, bound = pair()
    cfg = keyed_config(plain_config(norm={**IMAGENET, **change}))
    cfg['block_stem']['tied'] = tied
    with pytest.raises(ConfigError, match=r'Expected a checkpoint for images normalised with \w+ \[.*Set data_prep'):
        build(cfg).load_state_dict(bound.state_dict())


@pytest.mark.parametrize('tied', [False, True])
def test_an_older_checkpoint(tied, key_file):
    """Checkpoints of version 0.1 have no mean and std. Their weights are those of today."""
    _, bound = pair()
    state = {name: value for name, value in bound.state_dict().items() if name not in (f'{STEM}mean', f'{STEM}std')}
    cfg = keyed_config(plain_config())
    cfg['block_stem']['tied'] = tied
    model = build(cfg)
    model.load_state_dict(state)
    torch.testing.assert_close(logits(model, [photo()]), logits(bound, [photo()]))


def test_an_exported_model_is_fed_as_the_plain_one(key_file):
    """The reader of an exported program knows mean and std of the configuration, and nothing of the plugin."""
    plain, bound = pair()
    image = photo((64, 64))
    secret = bound.data_preprocessor.keyed_cipher.encrypt(image)[0]
    mean, std = (torch.tensor(IMAGENET[name]).double()[:, None, None] for name in ('mean', 'std'))
    x, expected = (((one.flip(0).double() - mean) / std)[None] for one in (secret, image))
    program = torch.export.export(bound.backbone, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(program(x)[0], plain.backbone(expected)[0])


@pytest.mark.parametrize('norm', ['imagenet', 'bgr model', 'none'])
def test_an_attacker_finds_the_key_before_a_stem(norm, key_file):
    """The free layers of un-key attacks work where a key is a signed permutation, whatever mean and std are."""
    _, bound = pair(norm=NORMS[norm])
    image = photo((64, 64))
    layers = FreeLayers(4, None)
    layers.double().requires_grad_(False)
    source, sign = bound.stem.absorber.transform(3, 4)
    layers.blocks.weight.copy_((torch.eye(48)[source] * sign[:, None])[:, :, None, None])
    prepare = bound.data_preprocessor
    secret = prepare(dict(inputs=[image]))['inputs']
    plain = prepare.without_key()(dict(inputs=[image]))['inputs'].double()
    with torch.no_grad(), layers.before(bound.backbone):
        got = bound.backbone(plain)[0]
    torch.testing.assert_close(got, bound.backbone(secret.double())[0])


def test_an_empty_model_takes_the_normalisation_of_the_checkpoint(key_file):
    _, bound = pair()
    with torch.device('meta'):
        stem = type(bound.stem)(3, 8, 7, 2, 3, 4, border='exact')
    stem.load_state_dict(bound.stem.state_dict(), assign=True)
    torch.testing.assert_close(stem.mean, bound.stem.mean)
