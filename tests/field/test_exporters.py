"""Programs made from a model: ONNX, torch.export, TorchScript and torch.fx, of any size."""

import io

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn

from helpers.pairs import PAIRS, as_float32, features_pair, prepared, tied_pair
from helpers.segmentors import logits, pair, photo, tables, unzip
from mmseg_keyprotect.errors import BlockAlignmentError
from mmseg_keyprotect.models import BlockStem

SIZES = [(64, 64), (96, 128)]
NOISE = (
    'ignore::torch.jit.TracerWarning',
    'ignore::DeprecationWarning',
    'ignore::FutureWarning',
    'ignore::UserWarning',
)
pytestmark = [pytest.mark.filterwarnings(noise) for noise in NOISE]


def protected(kind):
    """Return a protected model from which a program can be made; a tied block stem is replaced by a free one."""
    model = as_float32(features_pair()[1] if kind == 'features' else PAIRS[kind]()[1])
    model.untie()
    return model


MAKERS = {
    'torch.export': lambda model, x: torch.export.export(model, (x,)),
    'torch.jit.trace': torch.jit.trace,
    'torch.fx': lambda model, x: torch.fx.symbolic_trace(model.backbone),
    'FLOPs': lambda model, x: get_model_complexity_info(model, inputs=(x,), show_table=False, show_arch=False),
}


@pytest.mark.parametrize('maker', MAKERS)
def test_no_program_is_made_of_a_tied_stem(maker, key_file):
    """It would hold the plain weights, or the key, or both."""
    if maker == 'torch.export' and not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip('this torch does not say that it exports')
    model = as_float32(tied_pair()[1])
    with pytest.raises(Exception, match=r'Expected a free block stem to trace or export.*untie\(\)'):
        MAKERS[maker](model, torch.randn(1, 3, 64, 64))


def test_an_untied_stem_computes_the_same(key_file):
    for border in ('grey', 'exact'):
        model = tied_pair(border=border)[1]
        before, state = logits(model, [photo((64, 64))]), model.state_dict()
        model.untie()
        assert type(model.stem) is BlockStem
        torch.testing.assert_close(logits(model, [photo((64, 64))]), before)
        torch.testing.assert_close(dict(model.state_dict()), dict(state))
        model.untie()  # nothing is left to do


@pytest.mark.parametrize('kind', [*PAIRS, 'features'])
class TestOnnx:
    """Needs onnx and onnxruntime, and the second test onnxscript."""

    def check(self, model, file, sizes):
        runtime = pytest.importorskip('onnxruntime')
        session = runtime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
        (name,) = (one.name for one in session.get_inputs())
        for size in sizes:
            x = torch.randn(1, 3, *size)
            (got,) = session.run(None, {name: x.numpy()})
            np.testing.assert_allclose(got, model(x).detach().numpy(), atol=1e-3)

    @pytest.mark.parametrize('axes', [None, {'input': {2: 'height', 3: 'width'}}], ids=['one size', 'any size'])
    def test_the_exporter_of_mmdeploy(self, axes, kind, key_file):
        """open-mmlab/mmdeploy#777 and open-mmlab/mmsegmentation#136: by tracing, opset 11, one size or any."""
        pytest.importorskip('onnx')
        model, file = protected(kind), io.BytesIO()
        torch.onnx.export(
            model, (torch.randn(1, 3, 64, 64),), file, opset_version=11, dynamo=False, input_names=['input'],
            dynamic_axes=axes,
        )  # fmt: skip
        self.check(model, file, SIZES if axes else SIZES[:1])

    @pytest.mark.slow
    def test_the_exporter_of_torch(self, kind, key_file):
        """open-mmlab/mmsegmentation#3856: `torch.onnx.export` itself, by torch.export."""
        pytest.importorskip('onnxscript')
        model, file = protected(kind), io.BytesIO()
        sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
        program = torch.onnx.export(model, (torch.randn(1, 3, 64, 64),), dynamo=True, dynamic_shapes=(sizes,))
        file.write(program.model_proto.SerializeToString())
        self.check(model, file, SIZES)


@pytest.mark.parametrize('kind', PAIRS)
def test_exported_for_every_size_of_whole_blocks(kind, key_file):
    """open-mmlab/mmdeploy#2680: one program for images of several sizes, which are multiples of the block size."""
    model = protected(kind)
    height, width = (torch.export.Dim(name, min=8, max=64) for name in ('height', 'width'))
    shapes = {'inputs': {2: 4 * height, 3: 4 * width}}
    program = torch.export.export(model, (torch.randn(1, 3, 64, 64),), dynamic_shapes=shapes).module()
    for size in SIZES:
        x = torch.randn(1, 3, *size)
        torch.testing.assert_close(program(x), model(x))


@pytest.mark.parametrize('kind', PAIRS)
def test_what_a_program_tells_of_the_key(kind, key_file, tmp_path):
    """alibaba/MNN#577 and tensorflow/tensorflow#47549: a program is shipped in an application, where it can be read.

    As in a checkpoint, the weights have absorbed the key, and the key itself is not in the file.
    """
    model, x = protected(kind).requires_grad_(False), torch.randn(1, 3, 64, 64)
    torch.jit.save(torch.jit.trace(model, x), str(tmp_path / 'traced.pt'))
    torch.export.save(torch.export.export(model, (x,)), str(tmp_path / 'exported.pt2'))
    samples = model.stem.absorbed()[0].shape[1]
    assert [name for file in tmp_path.glob('*.pt*') for name in tables(unzip(file), samples)] == []


@pytest.mark.parametrize('kind', PAIRS)
def test_what_a_program_tells_of_the_plain_model(kind, key_file, tmp_path):
    """ultralytics/yolov5#6642: a copy of the program must not hold the plain first convolution either."""
    model, x = protected(kind).requires_grad_(False), torch.randn(1, 3, 64, 64)
    torch.jit.save(torch.jit.trace(model, x), str(tmp_path / 'traced.pt'))
    plain = model.stem.absorber.release(*model.stem.absorbed(), model.stem.plain_shape, model.stem.grid)[0]
    shapes = [value.shape for value in torch.jit.load(str(tmp_path / 'traced.pt')).state_dict().values()]
    assert plain.shape not in shapes


@pytest.mark.parametrize('kind', [*PAIRS, 'features'])
def test_traced_symbolically(kind, key_file):
    """open-mmlab/mmrazor#621 and #354, pytorch/pytorch#118634: quantisers trace a backbone by torch.fx."""
    assert torch.fx.symbolic_trace(as_float32(pair()[0]).backbone).graph
    model = protected(kind)
    x = torch.randn(1, 3, 64, 64)
    graph = torch.fx.symbolic_trace(model.backbone)
    for got, expected in zip(graph(x), model.backbone(x), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('kind', PAIRS)
def test_the_network_alone(kind, key_file):
    """open-mmlab/mmsegmentation#3699: `model(x)` on a tensor of the user's own, without the test loop."""
    plain, keyed = PAIRS[kind]()
    images = [photo((64, 96), seed=1)]
    with torch.no_grad():
        expected, got = (model(prepared(model, images)) for model in (plain, keyed))
        assert expected.shape[-2:] == (2, 3)
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
        plain(torch.randn(1, 3, 61, 62).double())
        with pytest.raises(BlockAlignmentError, match='whole blocks'):
            keyed(torch.randn(1, 3, 61, 62).double())


def test_shared_by_a_larger_program(key_file):
    """liming-ai/ControlNet_Plus_Plus#12: a segmentor as a reward model gives gradients to its normalised input."""
    gradients = []
    for model in pair():
        x = prepared(model, [photo((64, 64))]).requires_grad_()
        nn.functional.softmax(model(x), 1)[:, 1].sum().backward()
        gradients.append(x.grad)
    plain, keyed = gradients
    assert plain.abs().max() > 0
    torch.testing.assert_close(keyed.abs().sum(), plain.abs().sum(), atol=0, rtol=1e-3)
