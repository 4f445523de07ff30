"""Labels of other values than 0 to 254: what extends them must be what the loss ignores."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

from helpers.pairs import labelled, tied_pair
from helpers.segmentors import keyed_config, photo, plain_config, whole
from mmseg_keyprotect.config.checks.labels import check_labels
from mmseg_keyprotect.errors import ConfigError

SIZE = (62, 63)
LOSSES = {
    'CrossEntropyLoss': dict(type='CrossEntropyLoss'),
    'sigmoid': dict(type='CrossEntropyLoss', use_sigmoid=True),
}


def models(loss, ignore_index, seg_pad_val):
    """Return the plain model, and the protected one with its weights, that learn by a loss."""
    cfg = plain_config()
    cfg['decode_head'].update(loss_decode=LOSSES[loss], ignore_index=ignore_index)
    cfg['data_preprocessor'].update(size=None, size_divisor=1, seg_pad_val=seg_pad_val)
    plain, keyed = (MODELS.build(Config(dict(model=c)).model).double() for c in (cfg, keyed_config(cfg)))
    keyed.load_state_dict({**plain.state_dict(), 'data_preprocessor.protection': keyed.data_preprocessor.protection})
    return plain.eval(), keyed.eval()


def labels(low=0):
    return torch.from_numpy(np.random.default_rng(3).integers(low, 5, (1, *SIZE)))


def expected_loss(plain, keyed, label, ignore_index):
    """Return the plain model's loss on the image in whole blocks, whose added pixels do not count."""
    image = whole(keyed, photo(SIZE))
    extended = torch.full((1, *image.shape[-2:]), ignore_index)
    extended[..., : SIZE[0], : SIZE[1]] = label
    return plain(**labelled(plain, [image], [extended]), mode='loss')


@pytest.mark.parametrize('loss', LOSSES)
def test_an_ignore_index_that_the_preprocessor_knows(loss, key_file):
    """open-mmlab/mmsegmentation#147: label 0 is the background, and does not count."""
    plain, keyed = models(loss, ignore_index=0, seg_pad_val=0)
    torch.manual_seed(0)
    expected = expected_loss(plain, keyed, labels(), 0)
    torch.manual_seed(0)
    got = keyed(**labelled(keyed, [photo(SIZE)], [labels()]), mode='loss')
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name])


@pytest.mark.parametrize('loss', LOSSES)
def test_an_ignore_index_that_the_preprocessor_does_not_know(loss, key_file):
    """open-mmlab/mmsegmentation#1955 and #3732: `ignore_index=0` alone, on images that are not whole blocks.

    The plain model trains, since nothing is padded. The protected one would learn from the added pixels.
    """
    with pytest.raises(ConfigError, match=r'model\.decode_head, 0, but got 255\. Set .*seg_pad_val = 0'):
        models(loss, ignore_index=0, seg_pad_val=255)


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
@pytest.mark.parametrize('several', [False, True])
def test_the_checks_find_it_in_the_config(several, head):
    """Where a transform encrypts, the model does not know it."""
    part = dict(type='FCNHead', ignore_index=0)
    transform = dict(type='KeyedBlockEncrypt')
    cfg = dict(model={head: [part] if several else part}, train_dataloader=dict(dataset=dict(pipeline=[transform])))
    (problem,) = check_labels(cfg)
    assert f'model.{head}, 0, but got 255' in str(problem)
    transform['seg_pad_val'] = 0
    assert not list(check_labels(cfg))


def test_labels_of_minus_one(key_file):
    """CSAILVision/semantic-segmentation-pytorch#76: label -1 does not count, `ignore_index=-1`, `seg_pad_val=-1`."""
    plain, keyed = models('CrossEntropyLoss', ignore_index=-1, seg_pad_val=-1)
    label = labels(low=-1)
    assert (label == -1).any()
    torch.manual_seed(0)
    expected = expected_loss(plain, keyed, label, -1)
    torch.manual_seed(0)
    got = keyed(**labelled(keyed, [photo(SIZE)], [label]), mode='loss')
    torch.testing.assert_close(got, expected)


def test_reduce_zero_label(key_file, tmp_path):
    """open-mmlab/mmsegmentation#1714 and #1485: labels are reduced before they are extended, and 0 becomes 255."""
    label = np.random.default_rng(0).integers(0, 4, SIZE, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'label.png'), label)
    image = photo(SIZE).permute(1, 2, 0).numpy()
    results = dict(img=image, seg_map_path=str(tmp_path / 'label.png'), reduce_zero_label=True, seg_fields=[])
    for step in (dict(type='LoadAnnotations', reduce_zero_label=True), dict(type='KeyedBlockEncrypt')):
        results = TRANSFORMS.build(step).transform(results)
    reduced = np.where(label == 0, 255, label - 1)
    expected = np.pad(reduced, ((0, 2), (0, 1)), constant_values=255)
    np.testing.assert_array_equal(results['gt_seg_map'], expected)


def test_a_batch_of_one_image_and_one_value_per_channel(key_file):
    """open-mmlab/mmsegmentation#272 and #2149: batch norm refuses it, with and without protection."""
    for model in tied_pair():
        model.train()
        label = torch.zeros(1, 32, 32, dtype=torch.long)
        model.data_preprocessor.size = None
        model.data_preprocessor.size_divisor = 4
        batch = labelled(model, [photo((32, 32))], [label])
        with pytest.raises(ValueError, match='more than 1 value per channel'):
            model(**batch, mode='loss')
