"""MMSegmentation's own data sets read sealed and encrypted data sets: the same batches as from plain files."""

import os
import shutil
from pathlib import Path

import mmseg.datasets  # noqa: F401  registers
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import get, get_text, list_dir_or_file
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from PIL import Image

from helpers import DATA, ROOT
from helpers.data_sets import write_data_set
from mmseg_keyprotect.datasets import META_KEYS
from mmseg_keyprotect.errors import ImageFormatError, MissingFileError, SealedFileError, WrongKeyError
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.shards import encrypt_data_set, seal_data_set

SEALED = [dict(type='LoadSealedImage'), dict(type='LoadSealedAnnotations')]
PLAIN = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
BACKEND = dict(backend='sealed_data_set')
AUGMENTED = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]


def batches(dataset, workers=0, batch_size=2, seed=0):
    loader = dict(
        dataset=dataset, batch_size=batch_size, num_workers=workers, sampler=dict(type='DefaultSampler', shuffle=True)
    )
    np.random.seed(seed)
    torch.manual_seed(seed)
    loader = Runner.build_dataloader(Config(loader), seed=seed)
    return list(loader)


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert all(map(torch.equal, a['inputs'], b['inputs']))
        for x, y in zip(a['data_samples'], b['data_samples'], strict=True):
            assert torch.equal(x.gt_sem_seg.data, y.gt_sem_seg.data)
            assert x.ori_shape == y.ori_shape


@pytest.fixture
def sealed(tmp_path, key, key_file):
    plain = write_data_set(tmp_path / 'plain')
    seal_data_set(plain, tmp_path / 'sealed', [KeyRecipient(key)], shard_bytes=2000)
    return tmp_path / 'sealed'


def config(root, loading, **options):
    prefix = dict(img_path='images/train', seg_map_path='annotations/train')
    found = dict(type='BaseSegDataset', data_root=str(root), data_prefix=prefix, img_suffix='.png')
    return found | dict(pipeline=[*loading, *AUGMENTED]) | options


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_the_same_batches_as_from_plain_files(workers, sealed):
    plain = config(sealed.with_name('plain'), PLAIN)
    shutil.rmtree(sealed / 'nothing', ignore_errors=True)
    assert_same(batches(config(sealed, SEALED, backend_args=BACKEND), workers), batches(plain, workers))


def test_transforms_of_mmseg_read_it_too(sealed):
    loading = [dict(one, backend_args=BACKEND) for one in PLAIN]
    listed = config(sealed, loading, backend_args=BACKEND, ann_file='train.txt')
    assert_same(batches(listed), batches(config(sealed.with_name('plain'), PLAIN)))


def test_the_key_in_the_configuration(sealed, key, other_key, tmp_path, monkeypatch):
    monkeypatch.delenv('KEYPROTECT_KEY_FILE')
    other_key.save(tmp_path / 'other.key')
    for name, error in (('test.key', None), ('other.key', WrongKeyError)):
        named = dict(type='KeyFile', path=str(tmp_path / name))
        loading = [dict(one, key=named) for one in SEALED]
        dataset = config(sealed, loading, backend_args=dict(BACKEND, key=named))
        if error is None:
            assert batches(dataset)
            continue
        with pytest.raises(error):
            batches(dataset)


def test_a_plain_file_is_refused(sealed):
    with pytest.raises(MissingFileError, match='no folder of'):
        batches(config(sealed.with_name('plain'), SEALED))
    with pytest.raises(MissingFileError, match="it has no 'a.png'"):
        get(f'{sealed}/a.png', backend_args=BACKEND)


def test_a_damaged_shard_stops_the_training(sealed):
    for shard in sealed.glob('shard-*'):
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    with pytest.raises(SealedFileError, match='damaged'):
        batches(config(sealed, SEALED, backend_args=BACKEND))


def test_files_and_folders_are_listed_as_plain_ones(sealed):
    plain = sealed.with_name('plain')
    for folder, options in (
        ('', dict()),
        ('', dict(recursive=True)),
        ('images', dict(recursive=True, list_dir=False)),
        ('images/train', dict(suffix='.png', list_dir=False)),
        ('images', dict(list_file=False)),
    ):
        ours = list_dir_or_file(f'{sealed}/{folder}', backend_args=BACKEND, **options)
        assert sorted(ours) == sorted(list_dir_or_file(f'{plain}/{folder}', **options))
    assert get_text(f'{sealed}/train.txt', backend_args=BACKEND) == (plain / 'train.txt').read_text()


@pytest.mark.parametrize('kind', ['cityscapes', 'ade20k', 'voc'])
def test_layouts_of_mmseg(kind, key, key_file, tmp_path):
    """The data set classes of MMSegmentation, by their own layouts."""
    folder, split = tmp_path / kind, 'training' if kind == 'ade20k' else 'train'
    parts = dict(
        cityscapes=(f'leftImg8bit/{split}/aachen', f'gtFine/{split}/aachen'),
        ade20k=(f'images/{split}', f'annotations/{split}'),
        voc=('JPEGImages', 'SegmentationClass'),
    )[kind]
    for part in parts:
        (folder / part).mkdir(parents=True)
    suffixes = dict(cityscapes=('_leftImg8bit.png', '_gtFine_labelTrainIds.png')).get(kind, ('.jpg', '.png'))
    for name in 'ab':
        for part, suffix, mode in zip(parts, suffixes, ('RGB', 'L'), strict=True):
            Image.new(mode, (8, 8), 1 if mode == 'L' else 'red').save(folder / part / f'{name}{suffix}')
    (folder / 'train.txt').write_text('a\nb\n')
    seal_data_set(folder, tmp_path / 'sealed', [KeyRecipient(key)])
    names = dict(cityscapes='CityscapesDataset', ade20k='ADE20KDataset', voc='PascalVOCDataset')
    prefix = dict(zip(('img_path', 'seg_map_path'), parts, strict=True))
    options = dict(ann_file='train.txt') if kind == 'voc' else {}
    dataset = dict(type=names[kind], data_prefix=prefix, **options)
    reduced = [dict(type='LoadAnnotations', reduce_zero_label=kind == 'ade20k'), *AUGMENTED]
    sealed = [SEALED[0], dict(reduced[0], type='LoadSealedAnnotations'), *AUGMENTED]
    plain = dict(dataset, data_root=str(folder), pipeline=[PLAIN[0], *reduced])
    ours = dict(dataset, data_root=str(tmp_path / 'sealed'), pipeline=sealed, backend_args=BACKEND)
    assert_same(batches(ours, batch_size=1), batches(plain, batch_size=1))


def test_encrypted_at_rest_and_on_the_fly(key, key_file, tmp_path):
    plain = write_data_set(tmp_path / 'plain', size=(30, 26))
    size = (22, 13)
    encrypt_data_set(plain, tmp_path / 'encrypted', key, resize=size)
    pack = dict(type='PackSegInputs', meta_keys=META_KEYS)
    cipher = [dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4)]
    resize = dict(type='Resize', scale=size, keep_ratio=False, backend='pillow')
    on_the_fly = [*PLAIN, resize, dict(type='KeyedBlockEncrypt', cipher=cipher), pack]
    at_rest = [dict(type='LoadEncryptedImage'), dict(type='LoadAnnotations'), pack]
    made, found = (
        batches(config(root, (), pipeline=pipeline))
        for root, pipeline in ((plain, on_the_fly), (tmp_path / 'encrypted', at_rest))
    )
    for one, other in zip(made, found, strict=True):
        assert all(map(torch.equal, one['inputs'], other['inputs']))
        for a, b in zip(one['data_samples'], other['data_samples'], strict=True):
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)
            assert (a.padding_size, a.key_id, a.cipher) == (b.padding_size, b.key_id, b.cipher)
    with pytest.raises(ImageFormatError, match='not encrypted|no note'):
        batches(config(plain, (), pipeline=at_rest))


CONFIGS = ['camvid_sealed_240x180', 'camvid_encrypted_240x180']


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / 'camvid').exists(), reason='expected CamVid')
@pytest.mark.parametrize('name', CONFIGS)
def test_the_configs_train_on_camvid(name, key, key_file, tmp_path):
    base = (ROOT / 'configs/segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py').read_text()
    base = base.replace('../_base_', f'{ROOT}/configs/_base_').replace('camvid_240x180', name)
    (tmp_path / 'config.py').write_text(base)
    cfg = Config.fromfile(tmp_path / 'config.py')
    if 'sealed' in name:
        seal_data_set(DATA / 'camvid', tmp_path / 'data', [KeyRecipient(key)])
    else:
        encrypt_data_set(DATA / 'camvid', tmp_path / 'data', key, resize=(240, 180))
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = str(tmp_path / 'data')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.work_dir, cfg.load_from = str(tmp_path / 'work'), None
    cfg.model.backbone.init_cfg = None
    init_default_scope('mmseg')
    Runner.from_cfg(cfg).train()
    assert (Path(cfg.work_dir) / 'iter_2.pth').exists()
    sample = DATASETS.build({**cfg.test_dataloader.dataset, 'pipeline': cfg.tta_pipeline})[0]
    assert len(sample['inputs']) == (4 if 'sealed' in name else 1)
    assert os.environ['KEYPROTECT_KEY_FILE']
