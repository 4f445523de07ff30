"""A segmentor with a block stem in MMSegmentation's own functions."""

import cv2
import pytest
import torch
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

from mmseg_keyprotect.errors import WrongKeyError
from mmseg_keyprotect.models import BlockStem, KeyedEncoderDecoder


class TestApis:
    """The functions take a configuration file and a checkpoint."""

    @pytest.fixture
    def files(self, tiny, tmp_path):
        cfg = tiny(**{'model.type': 'KeyedEncoderDecoder', 'model.block_stem': dict(border='exact')})
        cfg.dump(tmp_path / 'keyed.py')
        model = MODELS.build(cfg.model)
        meta = dict(dataset_meta=dict(classes=[str(n) for n in range(model.num_classes)], palette=None))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'keyed.pth')
        return str(tmp_path / 'keyed.py'), str(tmp_path / 'keyed.pth')

    def test_init_model_and_inference(self, files, scenes, other_key_file, monkeypatch):
        path = str(scenes / 'images' / 'val' / '0000.png')
        model = init_model(*files, device='cpu')
        assert isinstance(model, KeyedEncoderDecoder)
        assert isinstance(model.stem, BlockStem)
        result = inference_model(model, path)
        assert result.pred_sem_seg.shape == (98, 110)
        assert len(result.pred_sem_seg.data.unique()) > 1
        again = inference_model(init_model(*files, device='cpu'), [cv2.imread(path)] * 2)
        assert torch.equal(again[1].pred_sem_seg.data, result.pred_sem_seg.data)
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        with pytest.raises(WrongKeyError):
            init_model(*files, device='cpu')
