"""Training a tied block stem on encrypted images equals training the plain model on plain ones, step for step."""

import copy

import pytest
import torch
from mmseg.registry import MODELS
from torch.nn.functional import cross_entropy

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models import BlockStem, TiedBlockStem

CONFIGS = {
    'segformer': 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py',
    'resnet': 'pspnet/pspnet_r18-d8_1xb8-0.4k_demo-128x128.py',
}


def build(tiny, name, **stem):
    """Build a plain model, or one with a block stem and encryption, with the same weights."""
    cfg = tiny(CONFIGS[name]).model
    torch.manual_seed(0)
    weights = MODELS.build(copy.deepcopy(cfg)).state_dict()
    if stem:
        cfg.update(type='KeyedEncoderDecoder', block_stem=stem)
        cfg.data_preprocessor.type = 'KeyedSegDataPreProcessor'
    model = MODELS.build(cfg).double()
    identity = {key: value for key, value in model.state_dict().items() if key.endswith('protection')}
    model.load_state_dict({**weights, **identity})
    return model.train()


def inputs_of(model, batch):
    """Encrypt and normalise a batch in float64, since float32 errors make two runs of AdamW diverge."""
    preprocessor = model.data_preprocessor
    cipher = getattr(preprocessor, 'keyed_cipher', None)
    batch = batch if cipher is None else torch.stack([cipher.encrypt(image)[0] for image in batch])
    return (batch[:, [2, 1, 0]].double() - preprocessor.mean.double()) / preprocessor.std.double()


def losses_of(model, make, steps=4):
    """Train on fixed images, and return the losses."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps, 2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    optimizer, losses = make(model.parameters(), lr=0.01, weight_decay=0.01), []
    for step, batch in enumerate(images):
        torch.manual_seed(step)  # dropout
        logits = model._forward(inputs_of(model, batch))
        loss = cross_entropy(
            logits, torch.arange(logits[0, 0].numel()).reshape(logits.shape[2:]).remainder(4)[None].expand(2, -1, -1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ('name', 'make'),
    [  # no AdamW for ResNet: batch norm over few pixels amplifies rounding errors of its gradients
        ('segformer', torch.optim.AdamW),
        ('segformer', torch.optim.SGD),
        ('resnet', torch.optim.SGD),
    ],
)
def test_same_losses_as_the_plain_model_step_for_step(tiny, name, make):
    """The weights, mean, std and border are those of the plain model; a free stem learns something else."""
    expected = losses_of(build(tiny, name), make)
    assert losses_of(build(tiny, name, tied=True, border='exact'), make) == pytest.approx(expected, rel=1e-6)
    free = losses_of(build(tiny, name, tied=False, border='exact'), make)
    assert free[0] == pytest.approx(expected[0], rel=1e-6)
    assert free[-1] != pytest.approx(expected[-1], rel=1e-6)


@pytest.mark.parametrize('border', [pytest.param('grey', marks=pytest.mark.slow), 'exact'])
@pytest.mark.parametrize('name', CONFIGS)
def test_tied_and_free_load_each_other(tiny, name, border):
    tied = build(tiny, name, tied=True, border=border)
    losses_of(tied, torch.optim.AdamW)
    state = tied.state_dict()
    assert state[f'backbone.{tied.block_stem}.weight'].shape == torch.Size(tied.stem.absorbed_shape)
    free = build(tiny, name, tied=False, border=border)
    free.load_state_dict(state)
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(free.eval()._forward(image), tied.eval()._forward(image))
    again = build(tiny, name, tied=True, border=border)
    again.load_state_dict(free.state_dict())
    torch.testing.assert_close(again.stem.weight, tied.stem.weight)
    losses_of(free.train(), torch.optim.AdamW)
    with pytest.raises(ConfigError, match='trained free'):
        again.load_state_dict(free.state_dict())


def test_pretrained_models_are_tied_and_others_are_free(tiny, tmp_path):
    cfg = tiny(CONFIGS['segformer']).model
    cfg.update(type='KeyedEncoderDecoder')
    cfg.data_preprocessor.type = 'KeyedSegDataPreProcessor'
    assert type(MODELS.build(copy.deepcopy(cfg)).stem) is BlockStem
    cfg.backbone.init_cfg = dict(type='KeyedPretrained', checkpoint='none.pth')
    assert type(MODELS.build(copy.deepcopy(cfg)).stem) is TiedBlockStem
    cfg.block_stem = dict(tied=False)
    assert type(MODELS.build(cfg).stem) is BlockStem
