"""Quantised and pruned models, and layers with low-rank adapters."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from helpers.pairs import PAIRS, as_float32, tied_pair
from helpers.segmentors import assert_same, build, cipher_config, keyed_config, logits, need, pair, photo, plain_config
from mmseg_keyprotect.errors import ConfigError

IMAGES = [photo((64, 64), seed=1), photo((64, 64), seed=2)]
NOISE = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')


@NOISE
@pytest.mark.parametrize('kind', PAIRS)
def test_linear_layers_with_8_bits(kind, key_file):
    """huggingface/transformers#16211 and #38119: `quantize_dynamic`; the stem, a convolution, stays as it is."""
    plain, keyed = (as_float32(model) for model in PAIRS[kind]('Swin'))
    before = logits(plain, IMAGES)
    quantised = [torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8) for model in (plain, keyed)]
    expected, got = (logits(model, IMAGES) for model in quantised)
    error = (expected - before).abs().max()
    assert error > 0
    assert (got - expected).abs().mean() < 0.3 * error
    assert type(quantised[1].stem) is type(keyed.stem)


class TestPruned:
    """open-mmlab/mmrazor#354 and open-mmlab/mmdetection#10332: `torch.nn.utils.prune` on the first convolution."""

    def models(self):
        models = [copy.deepcopy(model) for model in tied_pair()]
        for model in models:
            prune.l1_unstructured(model.backbone.conv1, 'weight', amount=0.5)
        return models

    def test_a_tied_stem_is_pruned_as_the_plain_convolution(self, key_file):
        plain, keyed = self.models()
        assert_same(plain, keyed, *IMAGES)
        for model in (plain, keyed):
            prune.remove(model.backbone.conv1, 'weight')
        assert_same(plain, keyed, *IMAGES)
        _, fresh = tied_pair()
        fresh.load_state_dict(keyed.state_dict())
        assert_same(plain, fresh, *IMAGES)

    def test_no_checkpoint_is_made_with_masks(self, key_file):
        """It would hold the plain weights beside those that have absorbed the key."""
        _, keyed = self.models()
        with pytest.raises(ConfigError, match='pruned by a mask.*prune.remove'):
            keyed.state_dict()


def test_no_checkpoint_is_made_of_normalised_weights(key_file):
    """pytorch/pytorch#21251: a parametrisation of the weight, removed before the state dict is loaded again."""
    plain, keyed = (copy.deepcopy(model) for model in tied_pair())
    for model in (plain, keyed):
        parametrizations.weight_norm(model.backbone.conv1)
    assert_same(plain, keyed, *IMAGES)
    with pytest.raises(ConfigError, match='parametrize.remove_parametrizations'):
        keyed.state_dict()
    parametrize.remove_parametrizations(keyed.backbone.conv1, 'weight')
    keyed.load_state_dict(keyed.state_dict())
    assert_same(plain, keyed, *IMAGES)


class TestAdapters:
    """Low-rank adapters."""

    def test_a_wrapped_backbone_is_refused_by_name(self, key_file):
        """open-mmlab/mmpretrain#1687: LoRAModel hides the backbone, so that its first convolution is not found."""
        need('ConvNeXt')
        cfg = plain_config('ViT')
        module = dict(cfg['backbone'], type='mmseg.VisionTransformer')
        cfg['backbone'] = dict(
            type='mmpretrain.LoRAModel',
            module=module,
            alpha=4,
            rank=4,
            drop_rate=0,
            targets=[dict(type='ffn.layers.1')],
        )
        with pytest.raises(ConfigError, match=r'got LoRAModel .*module\.patch_embed\.projection'):
            build(keyed_config(cfg, cipher_config(block_size=16)))

    def test_an_adapter_of_a_linear_layer(self, key_file):
        """open-mmlab/mmdetection#10932: adapters are put into a model after it is built."""
        need('ConvNeXt')
        from mmpretrain.models.peft.lora import LoRALinear

        models = [copy.deepcopy(model) for model in pair('ViT', cipher_config(block_size=16))]
        for model in models:
            torch.manual_seed(0)
            layers = model.backbone.layers[0].ffn.layers[0]
            index = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear))
            adapter = LoRALinear(layers[index], 4, 4, 0.0).double()
            nn.init.normal_(adapter.lora_up.weight)
            layers[index] = adapter
        assert_same(*models, *IMAGES)

    @pytest.mark.parametrize('kind', PAIRS)
    def test_an_adapter_of_the_first_convolution(self, kind, key_file):
        """roboflow/rf-detr#469 and ariG23498/gemma3-object-detection#10: PEFT wraps convolutions by their attributes.

        Those of a block stem are not the sizes of its input; the compatibility page says to leave it out.
        """
        plain, keyed = (copy.deepcopy(model) for model in PAIRS[kind]())
        plain.backbone.conv1 = ConvAdapter(plain.backbone.conv1)
        logits(plain, IMAGES)
        keyed.backbone.conv1 = ConvAdapter(keyed.backbone.conv1)
        with pytest.raises(RuntimeError, match='channels|size of tensor'):
            logits(keyed, IMAGES)


class ConvAdapter(nn.Module):
    """A low-rank adapter beside a convolution, of the sizes that the convolution names."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        sizes = (base.kernel_size, base.stride, base.padding)
        self.down = nn.Conv2d(base.in_channels, 2, *sizes, bias=False).double()
        self.up = nn.Conv2d(2, base.out_channels, 1, bias=False).double()

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))
