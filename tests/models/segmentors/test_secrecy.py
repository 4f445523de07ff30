"""What a model with a block stem shows of its key in its state dict, text, copies and pickles."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from helpers.segmentors import (
    build,
    logits,
    pair,
    photo,
    plain_config,
    spellings,
    tables,
    unzip,
)


class TestSecrecy:
    """A model shows the public identity of its key, and no key material in the open."""

    @pytest.fixture
    def keyed(self, key_file):
        return pair(border='grey')[1].float()

    def test_state_dict(self, keyed, other_key_file, monkeypatch):
        """Only the weights of the stem and the public identity depend on the key."""
        state = keyed.state_dict()
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        torch.manual_seed(0)
        other = pair(border='grey')[1].float().state_dict()
        assert list(state) == list(other)
        differing = {name for name in state if not torch.equal(state[name], other[name])}
        assert differing == {'data_preprocessor.protection', 'backbone.conv1.weight'}
        assert set(state) - set(build(plain_config()).state_dict()) == {
            'data_preprocessor.protection',
            'backbone.conv1.bias',
            'backbone.conv1.mean',
            'backbone.conv1.std',
        }

    def test_repr(self, keyed, key):
        assert not [text for text in spellings(key) if text in repr(keyed).encode()]
        assert 'BlockStem(3, 8, ' in repr(keyed)

    def test_deepcopy(self, keyed):
        expected = logits(keyed, [photo()])
        copied = copy.deepcopy(keyed)
        assert torch.equal(logits(copied, [photo()]), expected)
        copied.stem.weight.data.zero_()
        assert torch.equal(logits(keyed, [photo()]), expected)

    @pytest.mark.parametrize('border', ['grey', 'exact'])
    def test_pickle(self, border, key_file, key):
        """A whole model that is pickled after use holds neither the key nor a permutation."""
        keyed = pair(border=border)[1].float()
        expected = logits(keyed, [photo()])
        file = io.BytesIO()
        torch.save(keyed, file)
        parts = unzip(file)
        samples = keyed.data_preprocessor.keyed_cipher.cipher_for(3).samples
        for part in parts.values():
            assert not [text for text in spellings(key) if text in part]
        assert not tables(parts, samples)
        file.seek(0)
        again = torch.load(file, weights_only=False)
        assert torch.equal(logits(again, [photo()]), expected)

    @pytest.mark.parametrize('as_tensor', [True, False])
    def test_the_search_finds_a_table(self, as_tensor, keyed):
        order = keyed.data_preprocessor.keyed_cipher.cipher_for(3).transform.source
        for leak in (order, order.astype(np.int32), order.astype(np.float32), list(map(int, order))):
            file = io.BytesIO()
            torch.save(dict(keyed=nn.Linear(2, 2), leak=torch.tensor(leak) if as_tensor else leak), file)
            assert tables(unzip(file), len(order))
