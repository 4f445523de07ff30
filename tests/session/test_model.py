"""A protected model as several users see it, and its copy in the hands of an attacker."""

import weakref

import pytest
import torch

from mmseg_keyprotect.ciphers import PlainImages
from mmseg_keyprotect.errors import WrongKeyError
from mmseg_keyprotect.models.stem.tied_stem import TiedBlockStem
from mmseg_keyprotect.protection.checkpoints import build_model
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel

OWN_PREPROCESSOR = dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=(64, 64), pad_val=0, seg_pad_val=255)
EVERYWHERE = dict(type='KeyedEncoderDecoder', feature_encryption=dict(stages='all'), block_stem=dict(tied=True))
MODELS = {
    'images': {},
    'images and feature maps': EVERYWHERE,
    'denial': dict(EVERYWHERE, denial=dict(weight=1.0)),
    'feature maps': dict(
        type='KeyedEncoderDecoder', feature_encryption=dict(stages='all'), data_preprocessor=OWN_PREPROCESSOR
    ),
}


@pytest.fixture
def opened(tiny, tmp_path):
    """A function that opens an untrained protected model, with its test images."""

    def open_(kind='images', **preprocessor):
        cfg = tiny()
        for name, value in MODELS[kind].items():
            cfg.model[name] = value
        cfg.model.data_preprocessor.update(preprocessor)
        cfg.data_preprocessor = cfg.model.data_preprocessor
        torch.manual_seed(0)
        model = build_model(cfg)
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'untrained.pth')
        protected = ProtectedModel(cfg, str(tmp_path / 'untrained.pth'))
        return protected, TestImages(protected.cfg)

    return open_


def logits(protected, user, batch):
    return protected.predict(user, batch).seg_logits.data


@pytest.mark.parametrize('kind', MODELS)
def test_users_get_different_predictions(opened, kind):
    protected, images = opened(kind)
    users, batch = protected.users, images.batch(0)
    said = [
        logits(protected, user, batch)
        for user in (users.correct(), users.without_key(), users.wrong(bytes(16), 1), users.partly_right(bytes(16), 50))
    ]
    for index, one in enumerate(said):
        for other in said[index + 1 :]:
            assert not torch.allclose(one, other, atol=1e-4)
    everything = users.partly_right(bytes(16), 100)
    torch.testing.assert_close(logits(protected, everything, batch), said[0])
    torch.testing.assert_close(logits(protected, users.correct(), batch), said[0], rtol=0, atol=0)


@pytest.mark.parametrize('kind', MODELS)
def test_a_stolen_copy_predicts_as_a_user_without_a_key(opened, kind):
    protected, images = opened(kind)
    stolen = protected.stolen()
    assert stolen is not protected.stolen()
    with torch.no_grad():
        said = stolen.test_step(images.batch(0))[0].seg_logits.data
    expected = logits(protected, protected.users.without_key(), images.batch(0))
    torch.testing.assert_close(said, expected, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, TiedBlockStem) for module in stolen.modules())
    assert stolen.state_dict().keys() == protected.model.state_dict().keys()
    assert getattr(stolen, 'denial', None) is None
    assert getattr(protected.model, 'denial', None) is None


def test_images_are_padded_to_the_test_size_on_demand(opened):
    protected, images = opened('images and feature maps', test_cfg=dict(size=(128, 128)))
    user, batch = protected.users.correct(), images.batch(0)
    height, width = batch['inputs'][0].shape[-2:]
    assert protected.prepare(user, batch)['inputs'].shape[-2:] == (128, 128)
    inputs = protected.prepare(user, dict(inputs=images.batch(0)['inputs']), padded=False)['inputs']
    assert inputs.shape[-2:] == (-(-height // 4) * 4, -(-width // 4) * 4)
    assert protected.model.data_preprocessor.test_cfg == dict(size=(128, 128))


def test_without_a_cipher_of_images_everybody_sends_plain_ones(opened):
    protected, _ = opened('feature maps')
    assert protected.cipher is None
    assert protected.channel_order == 'bgr'
    for user in (protected.users.correct(), protected.users.wrong(bytes(16), 1)):
        assert isinstance(user.encryption, PlainImages)
        assert set(user.features) == set(protected.features.functions)
    assert protected.key_space_bits > 80


def test_another_key_is_refused(opened, other_key_file, tmp_path):
    protected, _ = opened()
    protected.cfg.model.data_preprocessor.key = dict(type='KeyFile', path=str(other_key_file))
    with pytest.raises(WrongKeyError):
        ProtectedModel(protected.cfg, str(tmp_path / 'untrained.pth'))


class TestOnePass:
    """Predictions for several users and images at once."""

    @pytest.mark.parametrize('kind', MODELS)
    def test_the_predictions_of_each_alone(self, opened, kind):
        protected, images = opened(kind)
        users = protected.users
        asked = [users.without_key(), users.correct(), users.wrong(bytes(16), 1), users.partly_right(bytes(16), 50)]
        questions = [(user, images.batch(index)) for index in range(2) for user in asked]
        alone = [logits(protected, *question) for question in questions]
        together = list(protected.predict_each(questions))
        for one, other in zip(alone, together, strict=True):
            assert torch.allclose(one, other.seg_logits.data, rtol=1e-4, atol=1e-5)
        labels = [sample.gt_sem_seg.data for sample in together]
        assert torch.equal(labels[0], labels[3])
        assert not torch.equal(labels[0], labels[4])

    @pytest.fixture
    def passes(self, opened, monkeypatch):
        """A protected model, a batch, and the sizes of its forward passes; memory holds two predictions and one more.

        The caller may still hold one when the next pass begins.
        """
        protected, images = opened()
        sizes, forward, alive = [], protected.model.forward, weakref.WeakSet()

        def counting(inputs, *arguments, **options):
            sizes.append(len(inputs))
            if len(inputs) + len(alive) > 3 or len(inputs) > 2:
                raise torch.cuda.OutOfMemoryError
            found = forward(inputs, *arguments, **options)
            alive.update(found)
            return found

        monkeypatch.setattr(protected.model, 'forward', counting)
        return protected, images.batch(0), sizes

    def test_a_pass_is_halved_where_memory_ends(self, passes):
        protected, batch, sizes = passes
        questions = [(protected.users.wrong(bytes(16), number), batch) for number in range(1, 8)]
        alone = [protected.predict(*question).seg_logits.data.sum().item() for question in questions]
        del sizes[:]
        sums = [one.seg_logits.data.sum().item() for one in protected.predict_each(questions)]
        assert sums == pytest.approx(alone, rel=1e-4)
        assert sizes == [7, 3, 1, 2, 4, 2, 2]
        assert len({round(one, 3) for one in alone}) == 7
        del sizes[:]
        assert sum(1 for _ in protected.predict_each(questions)) == 7
        assert sizes == [2, 2, 2, 1]

    def test_a_pass_takes_no_more_pixels_than_help(self, passes):
        protected, batch, sizes = passes
        question = (protected.users.without_key(), batch)
        protected._pass_pixels = 2 * protected.prepare(*question)['inputs'][0, 0].numel()
        assert sum(1 for _ in protected.predict_each([question] * 5)) == 5
        assert sizes == [2, 2, 1]

    def test_an_image_that_does_not_fit_alone(self, opened, monkeypatch):
        protected, images = opened()

        def full(*arguments, **options):
            raise torch.cuda.OutOfMemoryError

        monkeypatch.setattr(protected.model, 'forward', full)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            list(protected.predict_each([(protected.users.without_key(), images.batch(0))] * 2))
