"""Whole models that are saved, copied to other processes, or sealed and opened in memory."""

import copy
import io
import pickle

import pytest
import torch
from mmseg.apis import inference_model, init_model

from helpers.pairs import PAIRS, as_float32, features_pair, tied_pair, zeroed
from helpers.segmentors import assert_same, pair, photo, spellings
from mmseg_keyprotect.errors import LeakedKeyError, SealedFileError, WrongKeyError
from mmseg_keyprotect.sealing import KeyRecipient, open_sealed
from mmseg_keyprotect.sealing.sealed_files import seal_file

IMAGES = [photo((64, 64), seed=1), photo((64, 64), seed=2)]


def saved(model):
    model.backbone._forward_pre_hooks.clear()
    file = io.BytesIO()
    torch.save(model, file)
    return file.getvalue()


@pytest.mark.parametrize('kind', PAIRS)
def test_the_whole_model(kind, key, key_file):
    """open-mmlab/mmsegmentation#1384: `torch.save(model)` and `torch.load`; the file holds no key."""
    plain, keyed = PAIRS[kind]()
    keyed = copy.deepcopy(keyed)
    if kind == 'tied':
        with pytest.raises(LeakedKeyError, match=r'untie\(\)'):
            saved(keyed)
        keyed.untie()
    file = saved(keyed)
    assert not any(text in file for text in spellings(key))
    loaded = torch.load(io.BytesIO(file), weights_only=False)
    assert_same(plain, loaded, *IMAGES)


def test_the_whole_model_without_its_key_file(key_file, other_key_file, monkeypatch):
    """open-mmlab/mmdetection#7070: whoever loads the file needs the key, and the file with another key is refused."""
    _, keyed = pair()
    file = saved(copy.deepcopy(keyed))
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
    with pytest.raises(WrongKeyError):
        torch.load(io.BytesIO(file), weights_only=False)


def test_the_whole_model_with_encrypted_feature_maps(key_file):
    """facebookresearch/Mask2Former#70: it would hold the key, and is refused; the message says what to do."""
    _, keyed = features_pair()
    with pytest.raises(LeakedKeyError, match='Save its state dict'):
        saved(keyed)


class TestSealed:
    """Weights for a customer: one file that opens in memory alone."""

    def seal(self, content, folder, key):
        (folder / 'plain').write_bytes(content)
        seal_file(folder / 'plain', folder / 'sealed', [KeyRecipient(key)], key.key_id)
        (folder / 'plain').unlink()
        return folder / 'sealed'

    def test_weights(self, key, key_file, tmp_path):
        """ultralytics/yolov5#8204 and open-mmlab/mmdetection#11761: decrypted in memory, then loaded."""
        plain, keyed = tied_pair()
        file = io.BytesIO()
        torch.save(keyed.state_dict(), file)
        sealed = self.seal(file.getvalue(), tmp_path, key)
        fresh = zeroed(keyed)
        with open_sealed(sealed, key) as reader:
            fresh.load_state_dict(torch.load(reader))
        assert_same(plain, fresh, *IMAGES)

    def test_bytes_from_a_server(self, key, key_file, tmp_path):
        """ultralytics/ultralytics#4795: the sealed file came over the network, and is no file on this machine."""
        _, keyed = pair()
        file = io.BytesIO()
        torch.save(keyed.state_dict(), file)
        sealed = self.seal(file.getvalue(), tmp_path, key).read_bytes()
        with open_sealed(io.BytesIO(sealed), key) as reader:
            assert reader.read() == file.getvalue()

    @pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
    def test_a_program(self, key, key_file, tmp_path):
        """microsoft/onnxruntime#3556 and #2984: an exported program is sealed, and loaded from bytes."""
        _, keyed = pair()
        model, x = as_float32(keyed), torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            traced = torch.jit.trace(model, x)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        with open_sealed(self.seal(file.getvalue(), tmp_path, key), key) as reader:
            loaded = torch.jit.load(io.BytesIO(reader.read()))
        torch.testing.assert_close(loaded(x), model(x))

    def test_damaged_on_the_way(self, key, key_file, tmp_path):
        """open-mmlab/mmdeploy#2238: nothing of a changed file is used."""
        sealed = self.seal(bytes(range(256)) * 4096, tmp_path, key)
        content = bytearray(sealed.read_bytes())
        content[-100] ^= 1
        sealed.write_bytes(content)
        with pytest.raises(SealedFileError), open_sealed(sealed, key) as reader:
            reader.read()


def test_a_model_in_another_process(tiny, tmp_path):
    """MIC-DKFZ/nnUNet#2671: a process gets a model by pickle, and opens the key file itself."""
    model = init_model(tiny(), device='cpu')
    image = photo((128, 128)).permute(1, 2, 0).numpy()
    expected = inference_model(model, image).seg_logits.data
    other = pickle.loads(pickle.dumps(model))
    assert torch.equal(inference_model(other, image).seg_logits.data, expected)
