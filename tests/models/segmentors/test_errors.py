"""Configurations and checkpoints that a segmentor with a block stem refuses, and what the errors say."""

import pytest
import torch
from mmengine.runner import load_checkpoint

from helpers import CIPHERS
from helpers.segmentors import (
    assert_same,
    bind,
    build,
    cipher_config,
    keyed_config,
    logits,
    pair,
    photo,
    plain_config,
)
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, WrongKeyError

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


class TestErrors:
    """Every refusal names the option to change."""

    def test_a_backbone_of_another_kind(self, key_file):
        cfg = keyed_config(dict(plain_config(), backbone=dict(type='UNet', base_channels=4)))
        with pytest.raises(ConfigError, match='but got UNet .*its own stem, or describe it with'):
            build(cfg)

    @pytest.mark.parametrize(
        ('name', 'block_size', 'nearest'), [('ResNet', 5, 6), ('MiT', 6, 8), ('ViT', 4, 16), ('Swin', 2, 4)]
    )
    def test_block_size_in_part_of_a_stride(self, name, block_size, nearest, key_file):
        with pytest.raises(BlockAlignmentError, match=f'got {block_size}. Use `block_size` {nearest} for every cipher'):
            build(keyed_config(plain_config(name), cipher_config(block_size=block_size)))

    def test_padding_in_part_of_a_block(self, key_file):
        _, keyed = pair(padding=dict(size_divisor=6))
        with pytest.raises(BlockAlignmentError, match='blocks of 4 x 4 pixels, but got 42 x 60'):
            logits(keyed, [photo()])

    def test_slide_windows_in_part_of_a_block(self, key_file):
        _, keyed = pair(test_cfg=dict(mode='slide', crop_size=(30, 32), stride=(16, 16)))
        with pytest.raises(BlockAlignmentError, match='blocks of 4 x 4 pixels, but got 30 x 32'):
            logits(keyed, [photo()])

    @pytest.mark.parametrize('name', ['ffx', 'shuffle+ffx', 'reference-FFX'])
    def test_ffx(self, name, key_file):
        if name == 'reference-FFX':
            pytest.importorskip('pyffx')
        with pytest.raises(
            ConfigError, match='a block stem can absorb.*but got one that looks values up.*ffx.*its own stem'
        ):
            build(keyed_config(plain_config(), CIPHERS[name]))

    @pytest.mark.parametrize('name', ['reference-SHF', 'reference-NP'])
    def test_the_reference_ciphers_can(self, name):
        assert_same(*pair(cipher=CIPHERS[name]), photo())

    @pytest.mark.parametrize('border', ['gray', None, True])
    def test_border(self, border, key_file):
        with pytest.raises(ConfigError, match=r"`border`.*\('grey', 'exact'\)"):
            build(keyed_config(plain_config(), border=border))

    @pytest.mark.parametrize('block_size', [8, 2, '4', None])
    def test_block_size_of_the_cipher(self, block_size, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['block_size'] = block_size
        with pytest.raises(BlockAlignmentError, match=f'that of the cipher, 4, but got {block_size}. Leave it out'):
            build(cfg)

    def test_block_size_of_the_cipher_may_be_repeated(self, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['block_size'] = 4
        assert build(cfg).stem.grid.block_size == 4

    def test_unknown_option(self, key_file):
        cfg = keyed_config(plain_config())
        cfg['block_stem']['colour'] = 'grey'
        with pytest.raises(ConfigError, match="`block_stem` with border.*got .*'colour'"):
            build(cfg)

    @pytest.mark.parametrize('block_stem', [None, {}, dict(border='exact')])
    def test_no_block_size_without_encryption(self, block_stem):
        with pytest.raises(ConfigError, match='block_size where data_preprocessor does not encrypt'):
            build(dict(plain_config(), type='KeyedEncoderDecoder', block_stem=block_stem))

    def test_no_dict(self, key_file):
        with pytest.raises(ConfigError, match="as a dict.*but got 'exact'"):
            build(dict(keyed_config(plain_config()), block_stem='exact'))

    def test_mean_of_other_channels(self, key_file):
        with pytest.raises(ConfigError, match='mean and std of 1 channels.*but got 3'):
            build(keyed_config(plain_config(in_channels=1)))

    @pytest.mark.parametrize('preprocessor', [None, dict(type='mmengine.ImgDataPreprocessor')])
    def test_another_preprocessor(self, preprocessor):
        cfg = dict(plain_config(), type='KeyedEncoderDecoder', data_preprocessor=preprocessor)
        with pytest.raises(ConfigError, match='Expected a KeyedSegDataPreProcessor.*Set model.data_preprocessor'):
            build(cfg)

    @pytest.mark.parametrize(('saved', 'wanted'), [('exact', 'grey'), ('grey', 'exact')])
    def test_a_checkpoint_with_the_other_border(self, saved, wanted, key_file, tmp_path):
        state = pair(border=saved)[1].state_dict()
        keyed = build(keyed_config(plain_config(), border=wanted))
        match = f"with the border '{wanted}', but got one with '{saved}'"
        with pytest.raises(ConfigError, match=match):
            keyed.load_state_dict(state)
        torch.save(dict(state_dict=state), tmp_path / 'saved.pth')
        with pytest.raises(ConfigError, match=match):
            load_checkpoint(keyed, str(tmp_path / 'saved.pth'))

    def test_a_checkpoint_of_another_key(self, key_file, other_key_file, monkeypatch):
        state = pair()[1].state_dict()
        monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(other_key_file))
        with pytest.raises(WrongKeyError):
            build(keyed_config(plain_config())).load_state_dict(state)

    def test_plain_weights_without_the_stem(self, key_file):
        plain, keyed = pair()
        state = plain.state_dict()
        del state['backbone.conv1.weight']
        with pytest.raises(RuntimeError, match='Missing key.*backbone.conv1.weight'):
            bind(keyed, state)
