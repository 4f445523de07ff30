"""Training with denial: what the loss does, and what it leaves as it is."""

import copy
import io
import itertools
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.denial.attacker import UnKeyAttacker
from mmseg_keyprotect.models.denial.denial import Denial

UN_KEY = dict(lr=0.01, restart=3)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def model_config(key, images=True, features=True, stem=True, **denial):
    """Return a small SegFormer with encrypted images, feature maps, or both."""
    cfg = dict(
        type='KeyedEncoderDecoder',
        data_preprocessor=dict(
            **(dict(type='KeyedSegDataPreProcessor', key=key) if images else dict(type='SegDataPreProcessor')),
            mean=[120.0] * 3,
            std=[60.0] * 3,
            bgr_to_rgb=True,
            size=(32, 32),
        ),
        backbone=dict(type='MixVisionTransformer', embed_dims=16, num_layers=[1] * 4, num_heads=[1, 2, 5, 8]),
        decode_head=dict(
            type='SegformerHead',
            in_channels=[16, 32, 80, 128],
            in_index=[0, 1, 2, 3],
            channels=16,
            num_classes=3,
            norm_cfg=dict(type='BN'),
            dropout_ratio=0.1,
        ),
        test_cfg=dict(mode='whole'),
    )
    if features:
        cfg.update(feature_encryption=dict(stages='all', key=key))
    if images and stem:
        cfg.update(block_stem=dict(border='exact'))  # whose padding is NaN
    return dict(cfg, denial=denial) if denial else cfg


def build(*args, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(Config(dict(model=model_config(*args, **kwargs))).model)
    model.init_weights()
    return model.train()


def batch(size=32, seed=0):
    """Return images with a dark left and a light right half, labelled 0 and 2, and two rows that are ignored."""
    generator = torch.Generator().manual_seed(seed)
    data = dict(inputs=[], data_samples=[])
    for index in range(2):
        height = size - 3 * index  # the second is extended to whole blocks, and then to the size of the batch
        label = torch.zeros(1, height, size, dtype=torch.int64)
        label[..., 12:] = 2
        image = label * 80 + torch.randint(40, (3, height, size), generator=generator)
        label[:, :2] = 255
        data['inputs'].append(image.byte())
        data['data_samples'].append(SegDataSample(gt_sem_seg=PixelData(data=label)))
    return data


def losses_of(model, data=None):
    return model(**model.data_preprocessor(data or batch(), True), mode='loss')


FORMS = {
    'images': dict(features=False),
    'images-and-features': {},
    'features': dict(images=False),
    'images-without-stem': dict(stem=False),
}


QUICK = ('images-and-features', 'images-without-stem')


@pytest.mark.parametrize(
    'form',
    [pytest.param(form, id=name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, form in FORMS.items()],
)
class TestEachForm:
    """The model encrypts images, feature maps, or both."""

    def test_nothing_but_gradients_changes(self, form, key):
        model, without = build(key, **form, weight=0.5, un_key=UN_KEY), build(key, **form)
        assert set(model.state_dict()) == set(without.state_dict())
        functions = model.feature_encryption.functions if 'features' not in form else {}
        cipher = getattr(model.data_preprocessor, 'keyed_cipher', None)
        for _ in range(3):  # no key and wrong keys
            random = torch.get_rng_state()
            expected = losses_of(without)
            data = batch()
            before = copy.deepcopy(data)
            prepared = model.data_preprocessor(data, True)
            assert all(torch.equal(one, other) for one, other in zip(data['inputs'], before['inputs'], strict=True))
            torch.set_rng_state(random)
            losses = model(**prepared, mode='loss')
            assert all(torch.equal(losses[name], value) for name, value in expected.items())
            assert set(losses) - set(expected) == {'loss_denial', 'loss_denial_un_key', 'un_key_own'}
            assert all(parameter.grad is None for parameter in model.parameters())
        assert all(torch.equal(value, without.state_dict()[name]) for name, value in model.state_dict().items())
        assert all(module.training for module in model.modules())
        assert getattr(model.data_preprocessor, 'keyed_cipher', None) is cipher
        if functions:
            assert model.feature_encryption.functions == functions
        assert not any(parameter.requires_grad for parameter in model.denial.attacker.layers.parameters())
        loss, _ = model.parse_losses(losses)
        loss.backward()
        assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)
        assert model.denial.iteration == 3

    def test_users_without_the_key_are_denied(self, form, key):
        """In training on one batch, their loss falls to the entropy of the classes; without denial it stays above."""
        entropy = 0.66
        for weight in (1.0, 1e-6):
            model = build(key, **form, weight=weight)
            optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
            own, denied = [], []
            for _ in range(35):
                losses = losses_of(model)
                own.append(losses['decode.loss_ce'].item())
                denied.append(losses['loss_denial'].item() / weight)
                loss, _ = model.parse_losses(losses)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            assert own[-1] < 0.85 * own[0]  # the correct key learns
            assert denied[0] > entropy + 0.3
            last = sorted(denied[-9:])[4]
            assert last < entropy + 0.1 if weight == 1 else last > entropy + 0.15

    def test_an_un_key_learns(self, form, key):
        """While the weights of the model are kept, the attacker's own loss falls, until their layers restart."""
        model = build(key, **form, weight=1.0, un_key=dict(lr=0.01, restart=6))
        own = [losses_of(model)['un_key_own'].item() for _ in range(7)]
        assert own[5] < own[2] < own[0]
        assert own[6] == pytest.approx(own[0], rel=0.05)
        assert model.denial.attacker.layers.blocks is None or 'images' not in form
        assert len(model.denial.attacker.layers.maps) == (0 if 'features' in form else 4)


def test_each_image_has_a_user_of_its_own(key):
    """One in four has no key, the others wrong ones that are new each time; the un-key attacker sends plain images."""
    model = build(key, weight=1.0, un_key=UN_KEY)
    plain = build(key)
    plain.data_preprocessor = plain.data_preprocessor.without_key()
    expected = plain.data_preprocessor(batch(), True)['inputs'].nan_to_num(9)
    seen = []
    for turn in range(4):
        prepared = model.data_preprocessor(batch(), True)
        users, attacker = (one.nan_to_num(9) for one in prepared['denied'])
        assert torch.equal(attacker, expected)
        without = [torch.equal(*pair) for pair in zip(users, expected, strict=True)]
        assert without == [turn == 0, turn == 3]
        correct = prepared['inputs'].nan_to_num(9)
        assert not any(torch.equal(*pair) for pair in zip(users, correct, strict=True))
        seen += [user for user, plain in zip(users, without, strict=True) if not plain]
        model(**prepared, mode='loss')
    assert not any(
        torch.equal(one, other) for one, other in itertools.combinations(seen, 2) if one.shape == other.shape
    )


@pytest.mark.parametrize(
    ('share', 'images', 'denied'), [(1.0, 2, 2), (0.5, 2, 1), (0.1, 2, 1), (0.5, 1, 1), (0.6, 2, 2)]
)
def test_a_share_of_the_batch(share, images, denied, key):
    model = build(key, weight=1.0, share=share)
    data = {name: values[:images] for name, values in batch().items()}
    prepared = model.data_preprocessor(data, True)
    assert [len(one) for one in prepared['denied']] == [denied]
    if images > 1:  # the batch norms of this small model need two images for the correct key
        assert model(**prepared, mode='loss')['loss_denial'] > 0


@pytest.mark.parametrize('stages', ['all', (1,)])
def test_feature_maps_of_each_image(stages, key, other_key):
    features = build(key, images=False).feature_encryption
    keys = [key, None, other_key]
    for name, function in features.functions_of_each(keys).items():
        channels = next(place.channels for place in features.places if place.name == name)
        for x, dim in ((torch.rand(3, channels, 4, 5), 1), (torch.rand(3, 20, channels), -1)):
            got = function(x, dim)
            assert torch.equal(got[1], x[1])
            for index in (0, 2):
                expected = features.functions_of(keys[index])[name](x[index : index + 1], dim)
                assert torch.equal(got[index : index + 1], expected)
                assert not torch.equal(got[index], x[index])


def test_mixed_precision(key):
    model = build(key, weight=1.0)
    prepared = model.data_preprocessor(batch(), True)
    expected = model(**prepared, mode='loss')['loss_denial']
    model.denial.iteration = 0
    with torch.autocast('cpu', torch.bfloat16):
        got = model(**prepared, mode='loss')['loss_denial']
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(expected.item(), rel=0.2)  # with other wrong keys for the feature maps


class TestOtherHeads:
    """An attacker can read the auxiliary heads as well."""

    def with_heads(self, key, cascade):
        cfg = model_config(key, weight=1.0)
        aux = dict(type='FCNHead', in_channels=128, in_index=3, channels=8, num_classes=3, norm_cfg=dict(type='BN'))
        edges = dict(aux, num_classes=4)
        if cascade:
            ocr = dict(aux, type='OCRHead', in_channels=128, ocr_channels=8)
            cfg.update(type='KeyedCascadeEncoderDecoder', num_stages=2, decode_head=[aux, ocr])
        else:
            cfg.update(auxiliary_head=[aux, edges])
        torch.manual_seed(0)
        return MODELS.build(cfg).train()

    @pytest.mark.parametrize('cascade', [False, True])
    def test_they_are_denied(self, cascade, key):
        model = self.with_heads(key, cascade)
        head = model.decode_head[0] if cascade else model.auxiliary_head[0]
        losses = losses_of(model)
        gradient = torch.autograd.grad(losses['loss_denial_aux'], head.conv_seg.weight, retain_graph=True)[0]
        assert gradient.abs().max() > 0
        total, _ = model.parse_losses(losses)
        assert total > losses['loss_denial'] + losses['loss_denial_aux']
        assert not (model.neck if model.with_neck else model.backbone)._forward_hooks

    def test_a_head_of_other_classes_is_left_out(self, key):
        model = self.with_heads(key, cascade=False)
        losses = losses_of(model)
        edges = model.auxiliary_head[1].conv_seg.weight
        assert torch.autograd.grad(losses['loss_denial_aux'], edges, allow_unused=True)[0] is None


def test_loss_is_the_cross_entropy_against_the_shares(key, other_key, monkeypatch):
    monkeypatch.setattr('mmseg_keyprotect.models.denial.denial._wrong_key', lambda: other_key)
    model = build(key, images=False, weight=2.0)
    prepared = model.data_preprocessor(batch(), True)
    got = losses_of(model)['loss_denial']
    model.feature_encryption.use(model.feature_encryption.functions_of_each([None, other_key]))
    with torch.no_grad():
        logits = model.eval().encode_decode(prepared['inputs'], [dict(img_shape=(32, 32))] * 2)
    labels = torch.cat([sample.gt_sem_seg.data for sample in prepared['data_samples']])
    shares = torch.stack([(labels == one).sum() for one in range(3)]) / (labels != 255).sum()
    expected = torch.nn.functional.cross_entropy(logits, shares.view(1, 3, 1, 1).expand_as(logits))
    # the running statistics moved in between, once
    assert got.item() == pytest.approx(2 * expected.item(), rel=1e-4)
    for sample in prepared['data_samples']:
        sample.gt_sem_seg.data.fill_(255)
    assert model.denial._loss(model, logits, prepared['data_samples']) == 0  # nothing is labelled


def test_the_correct_key_is_back_after_an_error(key, monkeypatch):
    model = build(key, weight=1.0, un_key=UN_KEY)
    cipher, functions = model.data_preprocessor.keyed_cipher, model.feature_encryption.functions
    model.denial.iteration = 1
    with monkeypatch.context() as patch:
        patch.setattr(type(model.data_preprocessor), 'prepare', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.data_preprocessor(batch(), True)
    assert model.data_preprocessor.keyed_cipher is cipher
    prepared = model.data_preprocessor(batch(), True)
    for owner, name in ((Denial, '_loss'), (UnKeyAttacker, 'step')):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                model(**prepared, mode='loss')
        assert model.feature_encryption.functions == functions
        assert all(module.training for module in model.modules())
        assert not model.backbone._forward_pre_hooks


def test_not_in_eval_mode(key):
    """An audit trains with the model in eval mode, and so without denial."""
    model = build(key, weight=1.0).eval()
    prepared = model.data_preprocessor(batch(), True)
    assert 'denied' not in prepared
    assert 'loss_denial' not in model(**prepared, mode='loss')


def test_seeded_and_copied(key):
    model = build(key, weight=1.0, un_key=UN_KEY)
    losses_of(model)
    twin = copy.deepcopy(model)
    results = []
    for one in (model, twin):
        torch.manual_seed(1)
        results.append([losses_of(one)['loss_denial'].item() for _ in range(2)])
    assert results[0] == results[1]
    assert model.denial.attacker.layers is not twin.denial.attacker.layers


def test_what_the_pipeline_has_encrypted_is_refused(key):
    data = batch()
    for sample in data['data_samples']:
        sample.set_metainfo(dict(key_id=key.key_id, cipher='shuffle'))
    for images in (True, False):
        with pytest.raises(AlreadyEncryptedError, match='Expected plain images'):
            losses_of(build(key, images=images, weight=1.0), data)
    model = build(key, weight=1.0)
    prepared = model.data_preprocessor(batch(), True)
    del prepared['denied']
    with pytest.raises(ConfigError, match='Expected `denied`'):
        model(**prepared, mode='loss')


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(weight=0), r'denial.weight as a number above 0, but got 0\.'),
        (dict(weight=True), 'but got True'),
        (dict(weight=float('nan')), 'but got nan'),
        (dict(wieght=1.0), r"\['share', 'un_key', 'weight'\], but got \['wieght'\]"),
        (dict(share=0), r'denial.share as a number above 0 and at most 1, but got 0\.'),
        (dict(share=1.5), 'but got 1.5'),
        (dict(un_key=True), '`denial.un_key` as a dict'),
        (dict(un_key=dict(steps=3)), r"\['lr', 'restart'\], but got \['steps'\]"),
        (dict(un_key=dict(lr=-0.1)), 'denial.un_key.lr'),
        (dict(un_key=dict(restart=0)), 'denial.un_key.restart as a whole number from 1, but got 0'),
        (dict(un_key=dict(restart=1.5)), r'but got 1\.5'),
    ],
)
def test_bad_options(options, words, key):
    with pytest.raises(ConfigError, match=words):
        build(key, **options)


def test_models_that_cannot(key):
    cfg = model_config(key, images=False, features=False, weight=1.0)
    with pytest.raises(ConfigError, match='encrypted images or feature maps for `denial`, but got neither'):
        MODELS.build({**cfg, 'block_stem': dict(block_size=4)})
    cfg = model_config(key, weight=1.0)
    with pytest.raises(ConfigError, match='with_cp=True'):
        MODELS.build({**cfg, 'backbone': dict(cfg['backbone'], with_cp=True)})
    cfg = model_config(key, weight=1.0)
    cfg['decode_head'].update(num_classes=2, out_channels=1, threshold=0.5)
    with pytest.raises(ConfigError, match='an output for each of the 2 classes'):
        MODELS.build(cfg)
    with pytest.raises(ConfigError, match="as a dict with some of .*, but got 'yes'"):
        MODELS.build({**model_config(key), 'denial': 'yes'})


@pytest.mark.filterwarnings('ignore:ReferenceCipher')
def test_same_cipher_with_another_key(key_file, other_key):
    for cipher in (dict(type='FFX', block_size=4), dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=1)):
        correct = KeyedCipher(cipher, channel_order='rgb')
        wrong = correct.with_key(other_key)
        assert (wrong.name, wrong.channel_order) == (correct.name, 'rgb')
        image = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
        assert (wrong.encrypt(image)[0] == correct.encrypt(image)[0]).float().mean() < 0.8


def test_a_training_is_resumed_and_tells_no_key(tiny, tmp_path, monkeypatch, caplog):
    """The log, configuration and checkpoint of mmengine's runner hold neither a wrong key nor the attacker's layers."""
    drawn = []
    monkeypatch.setattr(
        'mmseg_keyprotect.models.denial.denial._wrong_key', lambda: drawn.append(SecretKey.generate()) or drawn[-1]
    )
    name = 'segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'
    options = {'model.type': 'KeyedEncoderDecoder', 'model.feature_encryption': dict(stages='all')}
    cfg = tiny(
        name, **options, **{'model.denial': dict(weight=1.0, un_key=UN_KEY), 'model.backbone.num_layers': [1] * 4}
    )
    with caplog.at_level(logging.DEBUG):
        Runner.from_cfg(copy.deepcopy(cfg)).train()
        saved = (tmp_path / 'work' / 'iter_2.pth').read_bytes()
        state = torch.load(io.BytesIO(saved), weights_only=False)['state_dict']
        cfg.update(resume=True, experiment_name='resumed')
        cfg.train_cfg.max_iters = 3
        runner = Runner.from_cfg(cfg)
        runner.train()
    assert runner.iter == 3
    # of two images, one has no key at first and none in the second iteration; a resumed training counts anew
    assert len(drawn) == 1 + 2 + 1
    text = caplog.text + ''.join(
        path.read_text() for path in (tmp_path / 'work').rglob('*.[lpj]*') if path.is_file() and path.suffix != '.pth'
    )
    assert 'loss_denial_un_key' in text
    for key in drawn:
        assert key.key_id not in text
        assert key.key_id.encode() not in saved
    assert not [name for name in state if 'attacker' in name or 'denial' in name]


def test_one_step_of_mmengine(key):
    """The sum of mmengine's training step holds the losses of denial, and not the attacker's own."""
    model = build(key, weight=1.0, un_key=UN_KEY)
    logged = model.train_step(batch(), OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    parts = [logged[name] for name in ('decode.loss_ce', 'loss_denial', 'loss_denial_un_key')]
    assert logged['loss'].item() == pytest.approx(sum(parts).item())
    assert logged['un_key_own'] > 0
