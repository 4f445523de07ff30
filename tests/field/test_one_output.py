"""Binary segmentation with one output channel and a threshold."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import mmseg_keyprotect  # noqa: F401
from helpers.small_configs import small_config, write_images
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.estimators.objectives import LabelledLoss, UnlabelledLoss, class_logits, unlabelled_loss
from mmseg_keyprotect.audit.run import run_audit
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.keys import SecretKey

BINARY = dict(
    classes=2,
    out_channels=1,
    threshold=0.4,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
)


def test_one_channel_stands_for_two_classes():
    z = torch.randn(2, 1, 3, 4)
    shares = class_logits(z).softmax(1)
    torch.testing.assert_close(shares[:, 1:], z.sigmoid())
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 3, 4))
    two = torch.randn(2, 2, 3, 4)
    assert class_logits(two) is two


class OneOutput:
    """A model whose single output is large where the image is bright."""

    ignore_index, feature_cipher, feature_places, is_private_side = 255, None, (), False
    model = torch.nn.Identity()

    def __init__(self, cipher):
        self.cipher = cipher

    def logits(self, images, key, features=None):
        guess = self.cipher.with_transform(key)
        seen = [self.cipher.decrypt(guess.encrypt(image)).mean(-1) for image in images]
        return torch.from_numpy((np.stack(seen)[:, None] - 127.5) / 20).float()


@pytest.mark.parametrize('loss', [LabelledLoss, UnlabelledLoss])
def test_objectives_tell_keys_apart(loss):
    bright = np.random.default_rng(0).random((3, 8, 8)).repeat(8, 1).repeat(8, 2) < 0.5
    images = [np.where(one[..., None], 230, 20).repeat(3, -1).astype(np.uint8) for one in bright]
    cipher = build_cipher(dict(type='NegativePositive', block_size=8), SecretKey.from_bytes(bytes(range(32))))
    target = Target(cipher, AttackerData([], images, list(bright.astype(np.uint8))), OneOutput(cipher))
    score = loss(target.view(('weights', 'plain images', 'labels')), 3)
    right = cipher.transform
    wrong = type(right)(right.source, np.zeros_like(right.mask))
    assert score(right) < score(wrong) - 0.1


def test_the_entropy_depends_on_the_output():
    sure = torch.tensor([9.0, -9.0]).reshape(1, 1, 1, 2)
    assert unlabelled_loss(sure, []) < -0.6  # confident and varied
    assert abs(unlabelled_loss(abs(sure), [])) < 0.01  # constant


@pytest.mark.slow
def test_reports(tmp_path, key_file):
    cfg = Config(protected(small_config(write_images(tmp_path, classes=2), **BINARY), block_stem=dict(border='grey')))
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    checkpoint = f'{cfg.work_dir}/iter_1.pth'
    report = evaluate_access(cfg, checkpoint, tmp_path / 'report', 1, known=[50], pictures=2, draws=2)
    assert len(report.classes) == 2
    audit = run_audit(cfg, checkpoint, tmp_path / 'audit', list(ATTACKS), 0.02, 2, held_out=2, steps=2)
    assert [finding.attack for finding in audit.findings] == list(ATTACKS)
