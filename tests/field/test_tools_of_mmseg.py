"""MMSegmentation's tools on a machine with the key, and on one that has encrypted images alone."""

import runpy
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot
from mmseg.registry import MODELS
from PIL import Image

from helpers import CIPHERS
from mmseg_keyprotect.config.view import META_KEYS
from mmseg_keyprotect.errors import ImageFormatError
from mmseg_keyprotect.images import Encryptor, read_for_display

CLASSES, PALETTE = [str(n) for n in range(12)], [[20 * n] * 3 for n in range(12)]
TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
SIZE = (90, 70)
"""The width and the height to which images are resized: no whole blocks, and another size than that of the labels."""


def run_tool(name, *words, monkeypatch):
    """Run a script of MMSegmentation as its users do."""
    monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
    runpy.run_path(str(TOOLS / name), run_name='__main__')


def shown(cfg, tmp_path):
    """Let a configuration draw into a folder of this test."""
    cfg.visualizer = dict(
        cfg.visualizer, name=str(tmp_path / 'drawn'), vis_backends=[dict(type='LocalVisBackend')], alpha=0.5
    )
    return cfg


@pytest.fixture
def keyed(tiny, tmp_path):
    """A protected model on a machine with the key: configuration, checkpoint."""
    cfg = tiny(**{'model.type': 'KeyedEncoderDecoder', 'model.block_stem': dict(border='grey')})
    resize = dict(type='Resize', scale=SIZE, keep_ratio=False, backend='pillow')
    steps = [dict(type='LoadImageFromFile'), resize, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    cfg.test_dataloader.dataset.pipeline = steps
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    cfg.dump(tmp_path / 'keyed.py')
    return tmp_path / 'keyed.py', tmp_path / 'model.pth'


@pytest.mark.filterwarnings('ignore::RuntimeWarning')  # benchmark.py of MMSegmentation averages no runs
def test_benchmark_with_the_key(keyed, tmp_path, monkeypatch):
    """benchmark.py prepares test images as for training, with labels of another size than the resized image."""
    run_tool('analysis_tools/benchmark.py', *keyed, '--work-dir', tmp_path / 'work', monkeypatch=monkeypatch)
    assert list((tmp_path / 'work').glob('fps_*.json'))


@pytest.fixture(params=['shuffle+negative-positive', 'ffx'])
def keyless(request, tiny, scenes, tmp_path, key, key_file, monkeypatch):
    """A machine without the key: the configuration, the checkpoint, the encrypted images, and the masks to expect."""
    cfg = tiny()
    if request.param == 'ffx':
        cfg.model.data_preprocessor.cipher = cfg.data_preprocessor.cipher = CIPHERS['ffx']
    resize = dict(type='Resize', scale=SIZE, keep_ratio=False, backend='pillow')
    cfg.test_pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackSegInputs')]
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    meta = dict(dataset_meta=dict(classes=CLASSES, palette=PALETTE))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'model.pth')
    photos = sorted((scenes / 'images' / 'val').iterdir())
    model = init_model(cfg, str(tmp_path / 'model.pth'), device='cpu')
    masks = [inference_model(model, str(path)).pred_sem_seg.data[0].numpy() for path in photos]

    data = tmp_path / 'secret'
    encryptor = Encryptor(key, CIPHERS['ffx'] if request.param == 'ffx' else cfg.model.data_preprocessor.cipher, SIZE)
    (data / 'images' / 'val').mkdir(parents=True)
    (data / 'annotations').symlink_to(scenes / 'annotations')
    images = [data / 'images' / 'val' / f'{path.stem}{encryptor.suffix}' for path in photos]
    for photo, image in zip(photos, images, strict=True):
        encryptor.encrypt_file(photo, image)
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    key_file.unlink()

    kept = ('mean', 'std', 'bgr_to_rgb', 'pad_val', 'seg_pad_val')
    plain = {name: cfg.model.data_preprocessor[name] for name in kept}
    server = Config(cfg.to_dict())
    server.model.data_preprocessor = server.data_preprocessor = dict(type='SegDataPreProcessor', size=(64, 64), **plain)
    server.test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadEncryptedImage', key_id=key.key_id),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', *META_KEYS)),
    ]
    server.test_dataloader.dataset.update(
        data_root=str(data), pipeline=server.test_pipeline, img_suffix=encryptor.suffix
    )
    server.custom_hooks = []
    server = shown(server, tmp_path)
    server.visualizer.type = 'EncryptedImageVisualizer'
    server.dump(tmp_path / 'keyless.py')
    return tmp_path / 'keyless.py', tmp_path / 'model.pth', images, masks


@pytest.mark.filterwarnings('ignore::RuntimeWarning')  # benchmark.py of MMSegmentation averages no runs
def test_benchmark_without_the_key(keyless, tmp_path, monkeypatch):
    run_tool('analysis_tools/benchmark.py', *keyless[:2], '--work-dir', tmp_path / 'work', monkeypatch=monkeypatch)
    assert list((tmp_path / 'work').glob('fps_*.json'))


def test_show_dir_without_the_key(keyless, tmp_path, monkeypatch):
    """Ground truth and prediction are drawn side by side, at the size of the original."""
    words = ('--show-dir', tmp_path / 'drawn', '--work-dir', tmp_path / 'work', '--cfg-options')
    words += ('default_hooks.visualization.interval=1',)
    run_tool('test.py', *keyless[:2], *words, monkeypatch=monkeypatch)
    drawn = list((tmp_path / 'drawn').rglob('*.png'))
    assert len(drawn) == 3
    assert {Image.open(path).size for path in drawn} == {(2 * 110, 98)}


def test_show_result_pyplot_without_the_key(keyless, tmp_path):
    """It draws over the image that it gets, which must have the size of the prediction."""
    config, checkpoint, images, masks = keyless
    model = init_model(str(config), str(checkpoint), device='cpu')
    result = inference_model(model, str(images[0]))
    np.testing.assert_array_equal(result.pred_sem_seg.data[0].numpy(), masks[0])
    picture = read_for_display(images[0])
    options = dict(show=False, draw_gt=False, with_labels=False)
    drawn = show_result_pyplot(model, picture, result, opacity=1, **options)
    colours = np.array(model.dataset_meta['palette'], np.uint8)[masks[0]]
    # as a picture, since some versions of matplotlib resample what they draw
    np.testing.assert_array_equal(drawn, show_result_pyplot(model, colours, result, opacity=0, **options))
    assert (drawn == colours).mean() > 0.9


def test_inferencer_without_the_key(keyless, tmp_path):
    config, checkpoint, images, masks = keyless
    inferencer = MMSegInferencer(str(config), str(checkpoint), device='cpu')
    results = inferencer([str(path) for path in images], out_dir=str(tmp_path / 'out'), return_vis=True, opacity=1.0)
    for got, expected in zip(results['predictions'], masks, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert {image.shape for image in results['visualization']} == {(98, 110, 3)}
    assert len(list((tmp_path / 'out' / 'vis').iterdir())) == 3
    with pytest.raises(ImageFormatError, match='path of an encrypted image, but got an array'):
        inferencer(np.zeros((72, 92, 3), np.uint8))
