"""Segmentors with a block stem, beside the plain ones that they were made from."""

import copy
import io
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import load_checkpoint
from mmengine.structures import PixelData
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

import mmseg_keyprotect  # noqa: F401
from helpers import CIPHERS
from helpers.segmentors import (
    BACKBONES,
    EVERY_CIPHER,
    IMAGENET,
    NORMS,
    STRIDES,
    assert_same,
    bind,
    build,
    cipher_config,
    keyed_config,
    logits,
    loss_of,
    pair,
    photo,
    photographs,
    plain_config,
    plain_of,
    spellings,
    stir,
    tables,
    unzip,
    whole,
)
from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, WrongKeyError
from mmseg_keyprotect.models import BlockStem, KeyedCascadeEncoderDecoder, KeyedEncoderDecoder

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class TestExact:
    """With the exact border the keyed model gives the plain model's logits, from image to prediction."""

    @pytest.mark.parametrize('cipher', EVERY_CIPHER)
    @pytest.mark.parametrize('name', BACKBONES)
    def test_every_backbone_and_cipher(self, name, cipher, key_file, other_key):
        cipher = cipher_config(cipher, max(4, STRIDES.get(name, 2)))
        plain, keyed = pair(name, cipher)
        spread = assert_same(plain, keyed, photo(), photo(seed=1))
        right = logits(keyed, [photo()])
        for wrong in (KeyedCipher(cipher, other_key), PlainImages(keyed.stem.grid.block_size)):
            keyed.data_preprocessor.encryption = wrong
            assert (logits(keyed, [photo()]) - right).abs().max() > 0.1 * spread

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

    def test_padding_with_another_value(self, key_file):
        with pytest.raises(ConfigError, match='pad_val 0, the mean colour'):
            pair(norm=dict(IMAGENET, pad_val=1.0), padding=dict(size=(64, 72)))

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
        """In training too, with images of different sizes in a batch."""
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
        """mmengine loads a plain checkpoint, to which the key's public identity was added, and lifts it."""
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
        """A block stem for plain images, for instance to compare with."""
        plain = plain_of('ResNet')
        keyed = build(dict(plain_config(), type='KeyedEncoderDecoder', block_stem=dict(block_size=4, border='exact')))
        keyed.load_state_dict(plain.state_dict())
        assert (logits(keyed, [photo((40, 56))]) - logits(plain, [photo((40, 56))])).abs().max() < 1e-9

    def test_images_that_the_pipeline_encrypted(self, key_file, key):
        """The keyed preprocessor lets them pass."""
        plain, keyed = pair()
        cipher = keyed.data_preprocessor.keyed_cipher
        image, padding = cipher.encrypt(photo())
        meta = dict(ori_shape=(37, 53), img_shape=(40, 56), padding_size=padding, key_id=key.key_id, cipher=cipher.name)
        with torch.no_grad():
            (got,) = keyed.test_step(dict(inputs=[image], data_samples=[SegDataSample(metainfo=meta)]))
        expected = logits(plain, [whole(keyed, photo())])[0, :, :37, :53]
        assert (got.seg_logits.data - expected).abs().max() < 1e-9


class TestGrey:
    """With the default border the difference stays near the image's border."""

    def test_default(self, key_file):
        cfg = keyed_config(plain_config())
        del cfg['block_stem']
        keyed = build(cfg)
        assert keyed.stem.border is None
        assert not [name for name in keyed.state_dict() if 'border' in name]

    @pytest.mark.parametrize('name', ['ViT', 'Swin', 'ConvNeXt'])
    def test_patches_have_no_border(self, name, key_file):
        assert_same(*pair(name, cipher_config(block_size=max(4, STRIDES[name])), border='grey'), photo())

    @pytest.mark.parametrize(('name', 'last'), [('ResNet', 3), ('MobileNetV2', 6)])
    def test_only_near_the_border(self, name, last, key_file):
        """The features of the first stage, whose receptive field is small."""
        plain, keyed = pair(name, border='grey', out_indices=(0, last))
        image = photo((96, 96))
        with torch.no_grad():
            got, expected = (
                model.backbone(model.data_preprocessor(dict(inputs=[image]))['inputs'])[0] for model in (keyed, plain)
            )
        difference = (got - expected).abs().amax((0, 1))
        side = len(difference)
        inside = slice(side // 3, side - side // 3)
        assert difference[inside, inside].max() < 1e-9
        assert all(edge.max() > 1e-3 for edge in (difference[0], difference[-1], difference[:, 0], difference[:, -1]))

    def test_images_are_padded_with_grey(self, key_file):
        _, keyed = pair(border='grey', padding=dict(size=(64, 64)))
        inputs = keyed.data_preprocessor(dict(inputs=[photo()], data_samples=[SegDataSample()]))['inputs']
        assert (inputs[:, :, 40:] == 0).all()
        assert inputs.abs().max() == 1


class TestSecrecy:
    """What a keyed model shows of its key."""

    @pytest.fixture
    def keyed(self, key_file):
        return pair(border='grey')[1].float()

    def test_state_dict(self, keyed, other_key_file, monkeypatch):
        """Nothing but the stem's weights and the public identity depends on the key."""
        state = keyed.state_dict()
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        torch.manual_seed(0)
        other = pair(border='grey')[1].float().state_dict()
        assert list(state) == list(other)
        differing = {name for name in state if not torch.equal(state[name], other[name])}
        assert differing == {'data_preprocessor.protection', 'backbone.conv1.weight'}
        assert set(state) - set(build(plain_config()).state_dict()) == {
            'data_preprocessor.protection',
            'backbone.conv1.bias',
        }

    def test_repr(self, keyed, key):
        assert not [text for text in spellings(key) if text in repr(keyed).encode()]
        assert 'BlockStem(3, 8, ' in repr(keyed)

    def test_deepcopy(self, keyed):
        expected = logits(keyed, [photo()])
        copied = copy.deepcopy(keyed)
        assert torch.equal(logits(copied, [photo()]), expected)
        copied.stem.weight.data.zero_()
        assert torch.equal(logits(keyed, [photo()]), expected)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_pickle(self, border, key_file, key):
        """The whole model, pickled after it was used, holds neither key nor permutation."""
        keyed = pair(border=border)[1].float()
        expected = logits(keyed, [photo()])
        file = io.BytesIO()
        torch.save(keyed, file)
        parts = unzip(file)
        samples = keyed.data_preprocessor.keyed_cipher.cipher_for(3).samples
        for part in parts.values():
            assert not [text for text in spellings(key) if text in part]
        assert not tables(parts, samples)
        file.seek(0)
        again = torch.load(file, weights_only=False)
        assert torch.equal(logits(again, [photo()]), expected)

    @pytest.mark.parametrize('as_tensor', [True, False])
    def test_the_search_finds_a_table(self, as_tensor, keyed):
        order = keyed.data_preprocessor.keyed_cipher.cipher_for(3).transform.source
        for leak in (order, order.astype(np.int32), order.astype(np.float32), list(map(int, order))):
            file = io.BytesIO()
            torch.save(dict(keyed=nn.Linear(2, 2), leak=torch.tensor(leak) if as_tensor else leak), file)
            assert tables(unzip(file), len(order))


class TestTraining:
    """A keyed model is trained like any other."""

    @pytest.mark.parametrize(
        ('name', 'border'), [('ResNet', 'exact'), ('ResNetV1c-18', 'grey'), ('MobileNetV2', 'exact'), ('MiT', 'grey')]
    )
    def test_one_step(self, name, border, key_file):
        keyed = build(keyed_config(plain_config(name), border=border)).float().train()
        before = copy.deepcopy(keyed.state_dict())
        assert torch.isfinite(loss_of(keyed))
        for parameter in keyed.parameters():
            assert parameter.requires_grad
            parameter.data -= 0.1 * parameter.grad
        after = keyed.state_dict()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        prefix = f'backbone.{keyed.block_stem}.'
        assert f'{prefix}weight' in changed
        assert f'{prefix}border' not in changed
        assert all(value.isfinite().all() for value in after.values())

    @pytest.mark.parametrize(('name', 'frozen'), [('ResNet', 0), ('ResNetV1c-18', 1), ('MobileNetV2', 0), ('Swin', 0)])
    def test_frozen_stages(self, name, frozen, key_file):
        keyed = build(keyed_config(plain_config(name, frozen_stages=frozen))).float().train()
        assert not any(parameter.requires_grad for parameter in keyed.stem.parameters())
        loss_of(keyed)
        assert keyed.stem.weight.grad is None
        assert keyed.decode_head.conv_seg.weight.grad is not None

    def test_a_frozen_vit(self, key_file):
        cfg = plain_config('ViT', frozen_exclude=['layers'])
        keyed = build(keyed_config(cfg, cipher_config(block_size=16))).float().train()
        assert not any(parameter.requires_grad for parameter in keyed.stem.parameters())


class TestCascade:
    """Segmentors of several heads."""

    def config(self, kind):
        cfg = plain_config()
        head = dict(cfg['decode_head'], in_channels=64)
        if kind == 'OCRNet':
            ocr = dict(head, type='OCRHead', channels=16, ocr_channels=8)
            for part in (ocr,):
                del part['num_convs'], part['concat_input']
            heads = [head, ocr]
        else:
            point = dict(type='PointHead', in_channels=[8], in_index=[0], channels=8, num_fcs=1, num_classes=5)
            heads = [head, dict(point, coarse_pred_each_layer=True, dropout_ratio=0)]
        test_cfg = dict(mode='whole', subdivision_steps=1, subdivision_num_points=10000, scale_factor=2)
        train_cfg = dict(num_points=50, oversample_ratio=3, importance_sample_ratio=0.75)
        return dict(
            cfg, type='CascadeEncoderDecoder', num_stages=2, decode_head=heads, test_cfg=test_cfg, train_cfg=train_cfg
        )

    @pytest.mark.parametrize('kind', ['OCRNet', 'PointRend'])
    def test_exact_and_trains(self, kind, key_file):
        plain = build(self.config(kind))
        if kind == 'PointRend':  # mmseg draws its points in float32
            plain.float()
        stir(plain)
        keyed = bind(build(keyed_config(self.config(kind))), plain.state_dict())
        assert isinstance(keyed, KeyedCascadeEncoderDecoder)
        if kind == 'OCRNet':
            assert_same(plain, keyed, photo())
        else:
            expected = logits(plain, [whole(keyed, photo())])[..., :37, :53]
            torch.testing.assert_close(logits(keyed.float(), [photo()]), expected, atol=1e-4, rtol=0)
        assert torch.isfinite(loss_of(keyed.float().train()))
        assert keyed.stem.weight.grad.abs().max() > 0


class TestErrors:
    """What cannot be built, and why."""

    def test_a_backbone_of_another_kind(self, key_file):
        cfg = keyed_config(dict(plain_config(), backbone=dict(type='UNet', base_channels=4)))
        with pytest.raises(ConfigError, match='but got UNet .*its own stem, or describe it with'):
            build(cfg)

    @pytest.mark.parametrize(
        ('name', 'block_size', 'nearest'), [('ResNet', 5, 6), ('MiT', 6, 8), ('ViT', 4, 16), ('Swin', 2, 4)]
    )
    def test_block_size_in_part_of_a_stride(self, name, block_size, nearest, key_file):
        with pytest.raises(BlockAlignmentError, match=f'got {block_size}. Use `block_size` {nearest} for every cipher'):
            build(keyed_config(plain_config(name), cipher_config(block_size=block_size)))

    def test_padding_in_part_of_a_block(self, key_file):
        _, keyed = pair(padding=dict(size_divisor=6))
        with pytest.raises(BlockAlignmentError, match='blocks of 4 x 4 pixels, but got 42 x 60'):
            logits(keyed, [photo()])

    def test_slide_windows_in_part_of_a_block(self, key_file):
        _, keyed = pair(test_cfg=dict(mode='slide', crop_size=(30, 32), stride=(16, 16)))
        with pytest.raises(BlockAlignmentError, match='blocks of 4 x 4 pixels, but got 30 x 32'):
            logits(keyed, [photo()])

    @pytest.mark.parametrize('name', ['ffx', 'shuffle+ffx', 'reference-FFX'])
    def test_ffx(self, name, key_file):
        if name == 'reference-FFX':
            pytest.importorskip('pyffx')
        with pytest.raises(ConfigError, match='a block stem can absorb.*but got ffx: it looks values up.*its own stem'):
            build(keyed_config(plain_config(), CIPHERS[name]))

    @pytest.mark.parametrize('name', ['reference-SHF', 'reference-NP'])
    def test_the_reference_ciphers_can(self, name):
        assert_same(*pair(cipher=CIPHERS[name]), photo())

    @pytest.mark.parametrize('border', ['gray', None, True])
    def test_border(self, border, key_file):
        with pytest.raises(ConfigError, match=r"`border`.*\('grey', 'exact'\)"):
            build(keyed_config(plain_config(), border=border))

    @pytest.mark.parametrize('block_size', [8, 2, '4', None])
    def test_block_size_of_the_cipher(self, block_size, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['block_size'] = block_size
        with pytest.raises(BlockAlignmentError, match=f'that of the cipher, 4, but got {block_size}. Leave it out'):
            build(cfg)

    def test_block_size_of_the_cipher_may_be_repeated(self, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['block_size'] = 4
        assert build(cfg).stem.grid.block_size == 4

    def test_unknown_option(self, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['colour'] = 'grey'
        with pytest.raises(ConfigError, match="`block_stem` with border.*got .*'colour'"):
            build(cfg)

    @pytest.mark.parametrize('block_stem', [None, {}, dict(border='exact')])
    def test_no_block_size_without_encryption(self, block_stem):
        with pytest.raises(ConfigError, match='block_size where data_preprocessor does not encrypt'):
            build(dict(plain_config(), type='KeyedEncoderDecoder', block_stem=block_stem))

    def test_no_dict(self, key_file):
        with pytest.raises(ConfigError, match="as a dict.*but got 'exact'"):
            build(dict(keyed_config(plain_config()), block_stem='exact'))

    def test_mean_of_other_channels(self, key_file):
        with pytest.raises(ConfigError, match='mean and std of 1 channels.*but got 3'):
            build(keyed_config(plain_config(in_channels=1)))

    @pytest.mark.parametrize('preprocessor', [None, dict(type='mmengine.ImgDataPreprocessor')])
    def test_another_preprocessor(self, preprocessor):
        cfg = dict(plain_config(), type='KeyedEncoderDecoder', data_preprocessor=preprocessor)
        with pytest.raises(ConfigError, match='Expected a KeyedSegDataPreProcessor.*Set model.data_preprocessor'):
            build(cfg)

    @pytest.mark.parametrize(('saved', 'wanted'), [('exact', 'grey'), ('grey', 'exact')])
    def test_a_checkpoint_with_the_other_border(self, saved, wanted, key_file, tmp_path):
        state = pair(border=saved)[1].state_dict()
        keyed = build(keyed_config(plain_config(), border=wanted))
        match = f"with the border '{wanted}', but got one with '{saved}'"
        with pytest.raises(ConfigError, match=match):
            keyed.load_state_dict(state)
        torch.save(dict(state_dict=state), tmp_path / 'saved.pth')
        with pytest.raises(ConfigError, match=match):
            load_checkpoint(keyed, str(tmp_path / 'saved.pth'))

    def test_a_checkpoint_of_another_key(self, key_file, other_key_file, monkeypatch):
        state = pair()[1].state_dict()
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        with pytest.raises(WrongKeyError):
            build(keyed_config(plain_config())).load_state_dict(state)

    def test_plain_weights_without_the_stem(self, key_file):
        plain, keyed = pair()
        state = plain.state_dict()
        del state['backbone.conv1.weight']
        with pytest.raises(RuntimeError, match='Missing key.*backbone.conv1.weight'):
            bind(keyed, state)


class TestApis:
    """MMSegmentation's own functions, with a configuration file and a checkpoint."""

    @pytest.fixture
    def files(self, tiny, tmp_path):
        cfg = tiny(**{'model.type': 'KeyedEncoderDecoder', 'model.block_stem': dict(border='exact')})
        cfg.dump(tmp_path / 'keyed.py')
        model = MODELS.build(cfg.model)
        meta = dict(dataset_meta=dict(classes=[str(n) for n in range(model.num_classes)], palette=None))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'keyed.pth')
        return str(tmp_path / 'keyed.py'), str(tmp_path / 'keyed.pth')

    def test_init_model_and_inference(self, files, scenes, other_key_file, monkeypatch):
        path = str(scenes / 'images' / 'val' / '0000.png')
        model = init_model(*files, device='cpu')
        assert isinstance(model, KeyedEncoderDecoder)
        assert isinstance(model.stem, BlockStem)
        result = inference_model(model, path)
        assert result.pred_sem_seg.shape == (98, 110)
        assert len(result.pred_sem_seg.data.unique()) > 1
        again = inference_model(init_model(*files, device='cpu'), [cv2.imread(path)] * 2)
        assert torch.equal(again[1].pred_sem_seg.data, result.pred_sem_seg.data)
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        with pytest.raises(WrongKeyError):
            init_model(*files, device='cpu')
