"""Parameters that are sharded or shared over processes."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from helpers.pairs import PAIRS, prepared
from helpers.segmentors import photo
from helpers.versions import TORCH


@pytest.fixture
def process(tmp_path):
    """A group of this process alone."""
    if not dist.is_gloo_available():
        pytest.skip('gloo is not available')
    dist.init_process_group('gloo', init_method=f'file://{tmp_path / "store"}', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize('kind', PAIRS)
class TestSharded:
    """open-mmlab/mmengine#1213 and #1039: FSDP."""

    def sharded(self, kind):
        fsdp = pytest.importorskip('torch.distributed.fsdp')
        if not hasattr(fsdp, 'fully_shard'):
            pytest.skip('this torch has no fully_shard')
        _, keyed = PAIRS[kind]()
        model = copy.deepcopy(keyed)
        fsdp.fully_shard(model, mesh=dist.device_mesh.init_device_mesh('cpu', (1,)))
        return keyed, model

    @pytest.mark.skipif(TORCH < (2, 7), reason='fully_shard of torch 2.6 trains on a GPU alone')
    def test_training(self, kind, process, key_file):
        keyed, model = self.sharded(kind)
        x = prepared(keyed, [photo((64, 64))])
        got = model(x)
        torch.testing.assert_close(got, keyed(x))
        got.sum().backward()
        keyed(x).sum().backward()
        torch.testing.assert_close(model.stem.weight.grad.full_tensor(), keyed.stem.weight.grad)

    def test_checkpoint(self, kind, process, key_file):
        """As of the plain model: whole tensors are gathered from the state dict."""
        keyed, model = self.sharded(kind)
        state = {n: v.full_tensor() if hasattr(v, 'full_tensor') else v for n, v in model.state_dict().items()}
        torch.testing.assert_close(state, dict(keyed.state_dict()))


@pytest.mark.parametrize('kind', PAIRS)
def test_unused_parameters(kind, process, key_file):
    """open-mmlab/mmsegmentation#1427: DistributedDataParallel with `find_unused_parameters=True`."""
    _, keyed = PAIRS[kind]()
    model = DistributedDataParallel(copy.deepcopy(keyed), find_unused_parameters=True)
    x = prepared(keyed, [photo((64, 64))])
    for one in (model, keyed):
        one(x).sum().backward()
    torch.testing.assert_close(model.module.stem.weight.grad, keyed.stem.weight.grad)
