"""The kernel in Triton gives the samples of torch's operators: on a GPU, or in Triton's interpreter without one."""

import importlib

import numpy as np
import pytest
import torch

from helpers import CIPHERS, NEGATIVE, SHUFFLE
from helpers.sizes import sized
from mmseg_keyprotect.ciphers import build_cipher, torch_kernels
from mmseg_keyprotect.errors import WrongKeyError

pytest.importorskip('triton', reason='Triton comes with the GPU builds of torch; the extra "test" brings it too')
pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
ALL = CIPHERS | {'shuffle+negative-positive+ffx': [SHUFFLE, NEGATIVE, CIPHERS['ffx']]}


@pytest.fixture(autouse=True, scope='module')
def interpreter():
    """Interpret the kernel where there is no GPU. Triton reads the variable when the module of the kernel is loaded."""
    module = importlib.import_module('mmseg_keyprotect.ciphers.triton_kernels')
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == 'cpu':
            patch.setenv('TRITON_INTERPRET', '1')
        importlib.reload(module)  # another test may have loaded it
        yield
    importlib.reload(module)


def kernel_of(name, block_size, channels, key):
    return build_cipher(sized(ALL[name], block_size), key, channels)._torch_kernel


def images_of(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)).to(DEVICE)


@pytest.mark.parametrize('block_size', [1, 2, 4, 6, 7])
@pytest.mark.parametrize('name', ALL)
def test_the_samples_of_the_operators(name, block_size, key):
    kernel, images = kernel_of(name, block_size, 3, key), images_of(2, 3, 2 * block_size, 3 * block_size)
    encrypted = kernel.encrypt_at_once(images)
    assert torch.equal(encrypted, kernel.encrypt_blocks(images))
    assert torch.equal(kernel.decrypt_at_once(encrypted), images)


@pytest.mark.parametrize('channels', [1, 4])
def test_other_numbers_of_channels(channels, key):
    kernel, images = kernel_of('shuffle', 4, channels, key), images_of(1, channels, 8, 12)
    assert torch.equal(kernel.encrypt_at_once(images), kernel.encrypt_blocks(images))


def test_more_blocks_than_one_program_takes(key):
    """300 columns of blocks and 768 places in a block: several programs in each direction, the last not full."""
    kernel, images = kernel_of('shuffle', 16, 3, key), images_of(1, 3, 16, 16 * 70)
    assert torch.equal(kernel.encrypt_at_once(images), kernel.encrypt_blocks(images))
    kernel, images = kernel_of('shuffle', 2, 3, key), images_of(1, 3, 2, 600)
    assert torch.equal(kernel.encrypt_at_once(images), kernel.encrypt_blocks(images))


def test_views_and_empty_batches(key):
    kernel, images = kernel_of('shuffle', 4, 3, key), images_of(2, 3, 12, 16)
    view = images[:, [2, 1, 0], 4:].flip(-1)
    assert torch.equal(kernel.encrypt_at_once(view), kernel.encrypt_blocks(view))
    assert kernel.encrypt_at_once(images[:0]).shape == (0, 3, 12, 16)


def test_one_channel_with_other_strides(key):
    """Images from mmseg's pipeline, and channels_last: contiguous only because there is one channel."""
    kernel, images = kernel_of('shuffle', 4, 1, key), images_of(2, 1, 8, 12)
    packed = images[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)[None]
    for other in (packed, images.to(memory_format=torch.channels_last)):
        assert torch.equal(kernel.encrypt_at_once(other), kernel.encrypt_blocks(other))


@pytest.mark.parametrize('value', [-1, 1000, 32767])
def test_a_value_that_no_key_gives(value, key):
    kernel = kernel_of('ffx', 4, 3, key)
    encrypted = kernel.encrypt_at_once(images_of(1, 3, 8, 8))
    encrypted[0, 1, 5, 6] = value
    with pytest.raises(WrongKeyError):
        kernel.decrypt_at_once(encrypted)


def test_another_key(key, other_key):
    encrypted = kernel_of('ffx', 4, 3, key).encrypt_at_once(images_of(1, 3, 64, 64))
    with pytest.raises(WrongKeyError):
        kernel_of('ffx', 4, 3, other_key).decrypt_at_once(encrypted)


@pytest.mark.skipif(DEVICE == 'cpu', reason='expected a GPU')
def test_ciphers_use_it_on_a_gpu(key, monkeypatch):
    kernel = kernel_of('shuffle', 4, 3, key)
    monkeypatch.setattr(kernel, 'encrypt_blocks', None)
    images = images_of(1, 3, 8, 8)
    assert torch.equal(kernel.decrypt(kernel.encrypt(images)), images)


class TestWhereTritonServes:
    @pytest.fixture(autouse=True)
    def asked_anew(self):
        torch_kernels._one_kernel.cache_clear()
        yield
        torch_kernels._one_kernel.cache_clear()

    @pytest.fixture
    def failing(self, monkeypatch):
        """A function that lets the kernel fail with an error."""
        from mmseg_keyprotect.ciphers import triton_kernels

        def fail(error):
            def transform_blocks(*arguments):
                raise error

            monkeypatch.setattr(triton_kernels, 'transform_blocks', transform_blocks)
            monkeypatch.setattr(torch_kernels.torch, 'zeros', lambda *size, **options: None)  # there may be no GPU

        return fail

    def test_not_on_other_devices(self):
        assert not torch_kernels._one_kernel(torch.device('cpu'))
        assert not torch_kernels._one_kernel(torch.device('mps'))

    @pytest.mark.parametrize('error', [RuntimeError('Failed to find C compiler.'), ImportError()])
    def test_a_kernel_that_cannot_be_built(self, error, failing):
        failing(error)
        with pytest.warns(UserWarning, match=f'cannot build a kernel.*{type(error).__name__}'):
            assert not torch_kernels._one_kernel(torch.device('cuda'))

    def test_a_full_device_is_no_reason(self, failing):
        failing(torch.cuda.OutOfMemoryError())
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch_kernels._one_kernel(torch.device('cuda'))
