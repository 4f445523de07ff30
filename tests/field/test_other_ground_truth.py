"""Every kind of ground truth is extended by the value that its own loss ignores; unknown kinds are refused."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_keyprotect  # noqa: F401
from helpers.segmentors import IMAGENET, keyed_config, plain_config
from mmseg_keyprotect.config.edit import unprotected
from mmseg_keyprotect.datasets.transforms import KeyedBlockEncrypt
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models import KeyedSegDataPreProcessor

SIZE = (61, 62)
RNG = np.random.default_rng(0)
DEPTH = RNG.uniform(0.5, 10, SIZE).astype(np.float32)
EDGE = RNG.integers(0, 2, SIZE).astype(np.int64)
LABEL = RNG.integers(0, 5, SIZE).astype(np.int64)
IGNORED = {'gt_depth_map': (DEPTH, 0), 'gt_edge_map': (EDGE, 255)}


def encrypt(maps, **options):
    image = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return KeyedBlockEncrypt(**options).transform(dict(img=image, seg_fields=[], **maps))


def prepare(maps, size=(64, 64), **options):
    sample = SegDataSample()
    sample.set_data({name: PixelData(data=torch.from_numpy(value)[None]) for name, value in maps.items()})
    image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
    preprocessor = KeyedSegDataPreProcessor(**IMAGENET, size=size, **options)
    return preprocessor(dict(inputs=[image], data_samples=[sample]), True)['data_samples'][0]


def assert_extended(got, expected, value):
    height, width = SIZE
    np.testing.assert_array_equal(got[..., :height, :width], expected)
    for border in (got[..., height:, :], got[..., width:]):
        assert border.size
        assert (border == value).all()


@pytest.mark.parametrize('seg_pad_val', [255, 0])
@pytest.mark.parametrize('name', IGNORED)
class TestKnownKinds:
    def test_transform(self, name, seg_pad_val, key_file):
        expected, value = IGNORED[name]
        done = encrypt({name: expected, 'gt_seg_map': LABEL}, seg_pad_val=seg_pad_val)
        assert_extended(done[name], expected, value)
        assert_extended(done['gt_seg_map'], LABEL, seg_pad_val)

    @pytest.mark.parametrize('size', [(64, 64), (96, 80)])
    def test_preprocessor(self, name, seg_pad_val, size, key_file):
        """Also where a batch is padded beyond whole blocks."""
        expected, value = IGNORED[name]
        done = prepare({name: expected, 'gt_sem_seg': LABEL}, size, seg_pad_val=seg_pad_val)
        assert done.get(name).shape == size
        assert_extended(done.get(name).data[0].numpy(), expected, value)
        assert_extended(done.gt_sem_seg.data[0].numpy(), LABEL, seg_pad_val)


def test_depth_loss_stays_as_it_is(key_file):
    loss = MODELS.build(dict(type='SiLogLoss'))
    done = prepare(dict(gt_depth_map=DEPTH), size=(96, 80)).gt_depth_map.data[None]
    predicted = torch.rand(1, 1, 96, 80) * 10 + 0.1
    height, width = SIZE
    expected = loss(predicted[..., :height, :width], torch.from_numpy(DEPTH)[None, None])
    torch.testing.assert_close(loss(predicted, done), expected)


def test_boundary_loss_counts_no_border(key_file):
    loss = MODELS.build(dict(type='BoundaryLoss'))
    done = prepare(dict(gt_edge_map=EDGE), size=(96, 80), seg_pad_val=0).gt_edge_map.data[None]
    predicted = torch.zeros(1, 1, 96, 80, requires_grad=True)
    loss(predicted, done).backward()
    border = torch.ones(96, 80, dtype=torch.bool)
    border[: SIZE[0], : SIZE[1]] = False
    assert (predicted.grad[0, 0][border] == 0).all()
    assert (predicted.grad[0, 0][~border] != 0).all()


@pytest.mark.parametrize('run', [encrypt, prepare])
class TestFurtherKinds:
    def test_unknown(self, run, key_file):
        with pytest.raises(ConfigError, match=r'gt_height_map.*label_pad_vals=dict\(gt_height_map=VALUE\)'):
            run(dict(gt_height_map=DEPTH))

    def test_named(self, run, key_file):
        done = run(dict(gt_height_map=DEPTH), label_pad_vals=dict(gt_height_map=-1))
        got = done['gt_height_map'] if run is encrypt else done.gt_height_map.data[0].numpy()
        assert_extended(got, DEPTH, -1)

    def test_another_value_of_a_known_kind(self, run, key_file):
        done = run(dict(gt_depth_map=DEPTH), label_pad_vals=dict(gt_depth_map=-1))
        got = done['gt_depth_map'] if run is encrypt else done.gt_depth_map.data[0].numpy()
        assert_extended(got, DEPTH, -1)


def test_an_unknown_map_that_pipelines_resize(key_file):
    """mmseg's steps treat what `seg_fields` names as a map of the image."""
    image = np.zeros((*SIZE, 3), np.uint8)
    with pytest.raises(ConfigError, match='normals'):
        KeyedBlockEncrypt().transform(dict(img=image, normals=image, seg_fields=['normals']))


def test_maps_of_several_channels(key_file):
    normals = RNG.uniform(-1, 1, (*SIZE, 3)).astype(np.float32)
    done = encrypt(dict(gt_normals=normals), label_pad_vals=dict(gt_normals=0))['gt_normals']
    assert_extended(done.transpose(2, 0, 1), normals.transpose(2, 0, 1), 0)


def test_boxes_are_no_map(key_file):
    boxes = np.zeros((7, 4), np.float32)
    assert encrypt(dict(gt_bboxes=boxes))['gt_bboxes'] is boxes


def test_the_plain_config_has_no_such_argument(key_file):
    from mmengine.config import Config

    model = keyed_config(plain_config(), label_pad_vals=dict(gt_depth_map=-1))
    plain = unprotected(Config(dict(model=model)))
    MODELS.build(plain.model)
