"""Training a block stem on encrypted images equals training it on plain ones, step for step."""

import copy

import pytest
import torch
from mmseg.registry import MODELS

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def pair(tiny):
    """Two models with block stems, one for plain and one for encrypted images, lifted from the same weights."""
    cfg = tiny(PLAIN).model
    torch.manual_seed(0)
    weights = MODELS.build(copy.deepcopy(cfg)).state_dict()
    models = []
    for kind in ('SegDataPreProcessor', 'KeyedSegDataPreProcessor'):
        one = copy.deepcopy(cfg)
        one.update(type='KeyedEncoderDecoder', block_stem=dict(block_size=4))
        one.data_preprocessor.type = kind
        model = MODELS.build(one).double()
        protection = model.state_dict().get('data_preprocessor.protection')
        model.load_state_dict(weights | ({} if protection is None else {'data_preprocessor.protection': protection}))
        models.append(model.train())
    return models


def encrypted(model, image):
    cipher = getattr(model.data_preprocessor, 'keyed_cipher', None)
    image = image if cipher is None else torch.stack([cipher.encrypt(one)[0] for one in image])
    preprocessor = model.data_preprocessor
    return (image[:, [2, 1, 0]].double() - preprocessor.mean) / preprocessor.std


@pytest.mark.parametrize('make', [torch.optim.AdamW, torch.optim.SGD], ids=['adamw', 'sgd'])
def test_same_losses_step_for_step(pair, make):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 4, (4, 2, 8, 8), generator=generator)
    losses = []
    for model in pair:
        optimizer = make(model.parameters(), lr=0.01, weight_decay=0.01)
        losses.append([])
        for step, (image, label) in enumerate(zip(images, labels, strict=True)):
            torch.manual_seed(step)  # dropout
            loss = torch.nn.functional.cross_entropy(model._forward(encrypted(model, image)), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][0] != pytest.approx(losses[0][3], rel=1e-2)
    plain, keyed = (model.stem.weight for model in pair)
    assert not torch.allclose(plain, keyed)
    torch.testing.assert_close(plain.abs().sum(1), keyed.abs().sum(1))
