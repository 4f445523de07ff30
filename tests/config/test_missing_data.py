"""Data that is not there is named with its folder, its setting, and the page that says where it comes from."""

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

from mmseg_keyprotect.config.missing_data import OWN_PAGE, PAGE, naming_missing_data
from mmseg_keyprotect.errors import MissingFileError

PIPELINE = [dict(type='LoadImageFromFile')]


def data(root, **more):
    return dict(
        type='BaseSegDataset', data_root=str(root), data_prefix=dict(img_path='images'), pipeline=PIPELINE, **more
    )


def build(dataset, read):
    cfg = Config(dict(val_dataloader=None, train_dataloader=dict(dataset=dataset)))
    with naming_missing_data(cfg, ['val_dataloader', 'train_dataloader']):
        read(DATASETS.build(cfg.train_dataloader.dataset))


def refused(dataset, read=len):
    with pytest.raises(MissingFileError) as caught:
        build(dataset, read)
    assert PAGE in str(caught.value)
    assert str(OWN_PAGE) in str(caught.value)
    assert '## Data' in OWN_PAGE.read_text()
    return str(caught.value)


def test_no_root(tmp_path):
    text = refused(data(tmp_path / 'none'))
    assert f'Expected the data of train_dataloader.dataset, but {tmp_path}/none does not exist' in text
    assert f"(train_dataloader.dataset.data_root = '{tmp_path}/none')" in text


def test_no_folder_of_images_inside_of_a_wrapper(tmp_path):
    text = refused(dict(type='RepeatDataset', times=2, dataset=data(tmp_path)))
    assert f'data of train_dataloader.dataset.dataset, but {tmp_path}/images does not exist' in text


def test_a_folder_without_images_of_that_suffix(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'a.png').touch()
    assert f'{tmp_path}/images holds no images *.jpg' in refused(data(tmp_path, img_suffix='.jpg'))


def test_no_list_of_images(tmp_path):
    (tmp_path / 'images').mkdir()
    assert f'{tmp_path}/val.txt does not exist' in refused(data(tmp_path, ann_file='val.txt'))


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'a.jpg').write_text('text')
    text = refused(data(tmp_path), read=lambda dataset: next(iter(DataLoader(dataset, num_workers=1))))
    assert f'{tmp_path}/images/a.jpg cannot be read as an image' in text


def test_of_several_data_sets_in_one_folder_the_one_that_is_read(tmp_path):
    train, val = data(tmp_path / 'none'), data(tmp_path / 'none')
    val['data_prefix'] = dict(img_path='others')
    cfg = Config(dict(train_dataloader=dict(dataset=train), val_dataloader=dict(dataset=val)))
    refused_here = pytest.raises(MissingFileError, match='data of val_dataloader')
    with refused_here, naming_missing_data(cfg, ['train_dataloader', 'val_dataloader']):
        DATASETS.build(cfg.val_dataloader.dataset)


@pytest.mark.parametrize(
    'error', [FileNotFoundError(2, 'No such file', '/elsewhere'), ValueError('x'), AssertionError()]
)
def test_other_errors_stay(error, tmp_path):
    cfg = dict(train_dataloader=dict(dataset=data(tmp_path)))
    with pytest.raises(type(error)) as caught, naming_missing_data(cfg, list(cfg)):
        raise error
    assert caught.value is error
