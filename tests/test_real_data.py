"""Tests with real photographs, masks and weights; skipped where the data are missing."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model

from helpers import CIPHERS, ROOT
from mmseg_keyprotect.ciphers import build_cipher, pad_image, padding_to_blocks
from mmseg_keyprotect.config.edit import set_data_root
from mmseg_keyprotect.errors import WrongKeyError

CONFIGS = ROOT / 'configs'


@pytest.mark.parametrize('name', ['shuffle', 'negative-positive', 'ffx', 'shuffle+negative-positive'])
@pytest.mark.filterwarnings('ignore:Weak cipher')
def test_photographs_survive_and_look_different(name, real_data, key):
    cipher = build_cipher(CIPHERS[name], key)
    for path in sorted((real_data('voc2012_val440') / 'JPEGImages').glob('*.jpg'))[:5]:
        image = cv2.imread(str(path))[..., ::-1]
        padded = pad_image(image, padding_to_blocks(*image.shape[:2], 4))
        encrypted = cipher.encrypt(padded)
        np.testing.assert_array_equal(cipher.decrypt(encrypted), padded)
        tensor = torch.from_numpy(np.ascontiguousarray(padded)).permute(2, 0, 1)
        assert torch.equal(cipher.decrypt(cipher.encrypt(tensor)), tensor)
        assert (encrypted != padded).mean() > 0.3


@pytest.mark.parametrize(
    'name', ['segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k', 'pspnet/pspnet_r18-d8_shfnp-b4_1xb8-0.7k']
)
def test_camvid_trains_and_tests(name, real_data, tmp_path, key_file):
    cfg = Config.fromfile(CONFIGS / f'{name}_camvid-160x160.py')
    set_data_root(cfg, str(real_data('camvid')))
    options = dict(work_dir=str(tmp_path), **{'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2})
    options['train_dataloader.batch_size'] = 2
    for split in ('train', 'val', 'test'):
        options.update({f'{split}_dataloader.num_workers': 0, f'{split}_dataloader.persistent_workers': False})
        options[f'{split}_dataloader.dataset.indices'] = 4
    cfg.merge_from_dict(options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    scores = runner.val_loop.run()
    assert 0 < scores['aAcc'] <= 100


def test_a_really_trained_but_unprotected_checkpoint_is_refused(real_data, key_file, tmp_path):
    cfg = Config.fromfile(CONFIGS / 'pspnet' / 'pspnet_mobilenet-v2-d8_shfnp-b4_4xb4-20k_voc12aug-512x512.py')
    cfg.model.backbone.norm_cfg = cfg.model.decode_head.norm_cfg = cfg.model.auxiliary_head.norm_cfg = dict(type='BN')
    with pytest.raises(WrongKeyError, match='names no key'):
        init_model(cfg, str(real_data('weights/deeplabv3_mobilenetv2_voc.pth')), device='cpu')


def test_predictions_on_a_photograph_have_its_size(real_data, key_file):
    path = next(
        path
        for path in sorted((real_data('voc2012_val440') / 'JPEGImages').glob('*.jpg'))
        if any(side % 4 for side in cv2.imread(str(path)).shape[:2])
    )
    model = init_model(CONFIGS / 'segformer' / 'segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160.py', device='cpu')
    model.cfg.test_pipeline.pop(1)  # the image keeps its own size
    assert inference_model(model, str(path)).pred_sem_seg.shape == cv2.imread(str(path)).shape[:2]
