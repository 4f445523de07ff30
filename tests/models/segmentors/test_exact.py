"""A block stem with the exact border gives the logits of the plain model, from image to prediction."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import load_checkpoint
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from helpers.segmentors import (
    BACKBONES,
    EVERY_CIPHER,
    IMAGENET,
    NORMS,
    STRIDES,
    assert_same,
    build,
    cipher_config,
    keyed_config,
    logits,
    pair,
    photo,
    photographs,
    plain_config,
    plain_of,
    whole,
)
from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.ciphers.checksum import image_checksum
from mmseg_keyprotect.errors import ConfigError, WrongKeyError

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


class TestExact:
    """The plain model and the one with a block stem agree to 1e-9."""

    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    @pytest.mark.parametrize('name', BACKBONES)
    def test_every_backbone_and_cipher(self, name, cipher, key_file, other_key):
        cipher = cipher_config(cipher, max(4, STRIDES.get(name, 2)))
        plain, keyed = pair(name, cipher)
        spread = assert_same(plain, keyed, photo(), photo(seed=1))
        right = logits(keyed, [photo()])
        for wrong in (KeyedCipher(cipher, other_key), PlainImages(keyed.stem.grid.block_size)):
            assert (logits(keyed, [photo()], wrong) - right).abs().max() > 0.1 * spread

    @pytest.mark.parametrize(
        ('name', 'ratio'), [(name, ratio) for name in BACKBONES for ratio in ((2, 4) if name in STRIDES else (1, 4))]
    )
    def test_other_block_sizes(self, name, ratio, key_file):
        block_size = ratio * STRIDES.get(name, 2)
        plain, keyed = pair(name, cipher_config(block_size=block_size))
        assert keyed.stem.grid.ratio == ratio
        assert_same(plain, keyed, photo((67, 85) if block_size > 37 else (37, 53)))

    @pytest.mark.parametrize('name', BACKBONES)
    def test_photographs(self, name, real_data, key_file):
        plain, keyed = pair(name, cipher_config(block_size=max(4, STRIDES.get(name, 2))))
        for folder in ('camvid/images/val', 'voc2012_val440/JPEGImages'):
            assert_same(plain, keyed, *photographs(real_data(folder)))

    @pytest.mark.parametrize('norm', NORMS)
    def test_every_normalisation_and_channel_order(self, norm, key_file):
        assert_same(*pair(norm=NORMS[norm]), photo())

    @pytest.mark.parametrize(('name', 'channels'), [('ResNet', 4), ('ResNetV1c-18', 1), ('MiT', 1)])
    def test_other_channels(self, name, channels, key_file):
        norm = dict(mean=[100.0] * channels, std=[50.0] * channels)
        assert_same(*pair(name, cipher_config(block_size=8), norm=norm, in_channels=channels), photo(channels=channels))

    @pytest.mark.parametrize('size', [(33, 41), (64, 35), (64, 64), (90, 61)])
    def test_sizes(self, size, key_file):
        assert_same(*pair('MiT'), photo(size))

    @pytest.mark.parametrize('name', ['ResNetV1d', 'MobileNetV2', 'MiT'])
    def test_slide_and_padding(self, name, key_file):
        plain, keyed = map(copy.deepcopy, pair(name))
        slide = dict(mode='slide', crop_size=(32, 40), stride=(16, 24))
        paddings = (None, dict(size=(64, 72)), dict(size_divisor=32))
        for test_cfg, padding in list(product((dict(mode='whole'), slide), paddings))[1:]:
            for model in (plain, keyed):
                model.test_cfg, model.data_preprocessor.test_cfg = ConfigDict(test_cfg), padding
            assert_same(plain, keyed, photo(), photo(seed=1))

    def test_slide_and_padding_from_the_configuration(self, key_file):
        test_cfg = dict(mode='slide', crop_size=(32, 40), stride=(16, 24))
        assert_same(*pair(test_cfg=test_cfg, padding=dict(size=(64, 72))), photo())

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_padding_with_another_value(self, border, key_file):
        with pytest.raises(ConfigError, match='pad_val 0, which means the border'):
            pair(norm=dict(IMAGENET, pad_val=1.0), border=border, padding=dict(size=(64, 72)))

    def test_the_images_are_padded_as_asked_for(self, key_file):
        _, keyed = pair(padding=dict(size=(64, 72)))
        batch = keyed.data_preprocessor(dict(inputs=[photo()], data_samples=[SegDataSample()]))
        assert batch['inputs'].shape == (1, 3, 64, 72)
        assert batch['inputs'].isnan()[:, :, 40:].all()
        assert not batch['inputs'].isnan()[:, :, :40, :56].any()

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_every_mode(self, border, key_file):
        _, keyed = pair(border=border)
        with torch.no_grad():
            batch = keyed.data_preprocessor(dict(inputs=[photo()]))
            raw = keyed(**batch, mode='tensor')
            (predicted,) = keyed(**batch, mode='predict')
        assert raw.dtype == torch.float64
        assert predicted.seg_logits.shape == (40, 56)
        assert torch.equal(predicted.seg_logits.data[:, :37, :53], logits(keyed, [photo()])[0])

    def test_losses_and_gradients(self, key_file):
        """Losses and gradients are the same too, with images of different sizes in a batch."""
        plain, keyed = map(copy.deepcopy, pair('MiT'))
        losses = []
        for model in (plain, keyed):
            images = [photo(), photo((48, 61), seed=1)]
            if model is plain:
                images = [whole(keyed, image) for image in images]
            samples = []
            for image in images:
                label = torch.from_numpy(np.random.default_rng(3).integers(0, 5, (1, 64, 64)))
                label = label[:, : image.shape[-2], : image.shape[-1]].clone()
                label[:, :, 53:] = label[:, 37:] = 255  # as the extension is labelled
                samples.append(SegDataSample(gt_sem_seg=PixelData(data=label)))
            batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
            loss, _ = model.parse_losses(model.eval()(**batch, mode='loss'))
            loss.backward()
            losses.append(loss)
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-9)
        gradients = [dict((n, p.grad) for n, p in model.named_parameters()) for model in (plain, keyed)]
        assert all(gradient.isfinite().all() for gradient in gradients[1].values() if gradient is not None)
        stem = 'backbone.layers.0.0.projection.'
        assert gradients[1][f'{stem}weight'].abs().max() > 0
        for name, gradient in gradients[0].items():
            if gradient is not None and not name.startswith(stem):
                torch.testing.assert_close(gradients[1][name], gradient, atol=1e-9, rtol=0)

    def test_a_checkpoint_file(self, key_file, tmp_path):
        """mmengine loads and lifts a plain checkpoint to which the public identity of the key was added."""
        plain, keyed = pair()
        fresh = build(keyed_config(plain_config()))
        state = {**plain.state_dict(), 'data_preprocessor.protection': fresh.data_preprocessor.protection}
        torch.save(dict(state_dict=state, meta={}), tmp_path / 'plain.pth')
        load_checkpoint(fresh, str(tmp_path / 'plain.pth'), strict=True)
        assert_same(plain, fresh, photo())
        torch.save(dict(state_dict=fresh.state_dict(), meta={}), tmp_path / 'keyed.pth')
        again = build(keyed_config(plain_config()))
        load_checkpoint(again, str(tmp_path / 'keyed.pth'), strict=True)
        assert torch.equal(logits(again, [photo()]), logits(keyed, [photo()]))

    def test_a_plain_checkpoint_alone_is_refused(self, key_file):
        plain, keyed = pair()
        with pytest.raises(WrongKeyError, match='names no key'):
            keyed.load_state_dict(plain.state_dict())

    def test_without_encryption(self):
        """A block stem for plain images, for example as a baseline."""
        plain = plain_of('ResNet')
        keyed = build(dict(plain_config(), type='KeyedEncoderDecoder', block_stem=dict(block_size=4, border='exact')))
        keyed.load_state_dict(plain.state_dict())
        assert (logits(keyed, [photo((40, 56))]) - logits(plain, [photo((40, 56))])).abs().max() < 1e-9

    def test_images_that_the_pipeline_encrypted(self, key_file, key):
        """Images that the transform has encrypted pass through the preprocessor."""
        plain, keyed = pair()
        cipher = keyed.data_preprocessor.keyed_cipher
        image, padding = cipher.encrypt(photo())
        meta = dict(ori_shape=(37, 53), img_shape=(40, 56), padding_size=padding, key_id=key.key_id, cipher=cipher.name)
        meta['encrypted_checksum'] = image_checksum(image)
        with torch.no_grad():
            (got,) = keyed.test_step(dict(inputs=[image], data_samples=[SegDataSample(metainfo=meta)]))
        expected = logits(plain, [whole(keyed, photo())])[0, :, :37, :53]
        assert (got.seg_logits.data - expected).abs().max() < 1e-9
