"""Real training by mmengine's Runner with KeyGuardHook."""

import base64

import pytest
import torch
from mmengine.runner import Runner

from mmseg_keyprotect.engine.hooks import KeyGuardHook
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import (
    BlockAlignmentError,
    CheckpointError,
    ConfigError,
    DamagedFileError,
    UnsupportedSpecError,
    WrongKeyError,
)
from mmseg_keyprotect.session import ProtectedModel


def forms_of(secret):
    """Return the key in every encoding in which a file could hold it."""
    half = len(secret) // 2
    encoded = [base64.b64encode(secret), base64.urlsafe_b64encode(secret)]
    return [
        secret,
        secret[:half],
        secret.hex().encode(),
        secret.hex().upper().encode(),
        *(text[:40] for text in encoded),
    ]


def assert_no_key(data, secret, where):
    assert not any(form in data for form in forms_of(secret)), f'{where} holds the key'


def tensors_of(state):
    return (value for value in state.values() if isinstance(value, torch.Tensor))


def test_train_save_resume_and_no_key_anywhere(tiny, tmp_path, key, key_file, capfd):
    Runner.from_cfg(tiny()).train()
    checkpoint = load_weights_only(tmp_path / 'work' / 'iter_2.pth', 'checkpoint')
    assert checkpoint['meta']['keyprotect'] == dict(
        spec_version=1, key_id=key.key_id, cipher='shuffle+negative-positive/M=4'
    )
    longer = tiny(**{'train_cfg.max_iters': 4, 'resume': True})
    runner = Runner.from_cfg(longer)
    runner.train()
    assert runner.iter == 4
    resumed = load_weights_only(tmp_path / 'work' / 'iter_4.pth', 'checkpoint')
    assert resumed['meta']['iter'] == 4

    output = capfd.readouterr()
    text = (output.out + output.err).encode()
    assert key.key_id.encode() in text
    assert_no_key(text, key._secret, 'the output')
    files = [path for path in (tmp_path / 'work').rglob('*') if path.is_file()]
    assert {'.pth', '.log', '.json', '.py'} <= {path.suffix for path in files}
    for path in files:
        assert_no_key(path.read_bytes(), key._secret, path)
    for tensor in tensors_of(resumed['state_dict']):
        assert_no_key(tensor.cpu().numpy().tobytes(), key._secret, 'the state dict')
    # the search finds a key that is there
    (tmp_path / 'planted').write_bytes(b'xx' + base64.urlsafe_b64encode(key._secret) + b'yy')
    with pytest.raises(AssertionError, match='planted'):
        assert_no_key((tmp_path / 'planted').read_bytes(), key._secret, tmp_path / 'planted')


@pytest.fixture
def trained(tiny, tmp_path):
    """A checkpoint of two iterations."""
    Runner.from_cfg(tiny(**{'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None})).train()
    return tmp_path / 'work' / 'iter_2.pth'


def run_test(cfg, checkpoint):
    cfg.merge_from_dict(dict(load_from=str(checkpoint)))
    return Runner.from_cfg(cfg).test()


class TestLoading:
    """Checkpoints of another key, without a key, or of a newer spec version."""

    @pytest.fixture(autouse=True)
    def _trained(self, trained, tiny):
        self.checkpoint, self.tiny = trained, tiny

    def edited(self, edit):
        state = load_weights_only(self.checkpoint, 'checkpoint')
        edit(state)
        path = self.checkpoint.with_name('edited.pth')
        torch.save(state, path)
        return path

    @pytest.mark.filterwarnings('default')  # pytest.warns repeats those of OpenMMLab without their module
    def test_another_key(self, other_key_file, key, other_key):
        other = {'model.data_preprocessor.key': dict(type='KeyFile', path=str(other_key_file))}
        with pytest.raises(WrongKeyError, match=f'{other_key.key_id}.*{key.key_id}'):
            run_test(self.tiny(**other), self.checkpoint)
        meant = {**other, 'custom_hooks': [dict(type='KeyGuardHook', on_mismatch='warn')]}
        with pytest.warns(UserWarning, match='Loaded on purpose'):
            scores = run_test(self.tiny(**meant), self.checkpoint)
        assert 'mIoU' in scores

    @pytest.mark.filterwarnings('default')  # pytest.warns repeats those of OpenMMLab without their module
    def test_no_key(self):
        def edit(state):
            del state['meta']['keyprotect'], state['state_dict']['data_preprocessor.protection']

        plain = self.edited(edit)
        with pytest.raises(WrongKeyError, match='names no key'):
            run_test(self.tiny(), plain)
        with pytest.warns(UserWarning, match='names no key'):
            run_test(self.tiny(custom_hooks=[dict(type='KeyGuardHook', on_mismatch='warn')]), plain)

    def test_another_architecture(self):
        """The advice of the error about keys, to fine-tune from an unprotected model, would not help."""

        def edit(state):
            del state['meta']['keyprotect']
            state['state_dict'] = {f'backbone.layer{n}.conv1.weight': torch.zeros(1) for n in range(9)}

        other = self.edited(edit)
        with pytest.raises(CheckpointError, match='9 of 9 entries .* another architecture') as caught:
            run_test(self.tiny(), other)
        assert 'fine-tune' not in str(caught.value)
        with pytest.raises(CheckpointError, match='another architecture'):
            ProtectedModel(self.tiny(), str(other))

    def test_newer_spec(self):
        newer = self.edited(lambda state: state['meta']['keyprotect'].update(spec_version=2))
        with pytest.raises(UnsupportedSpecError, match='got version 2'):
            run_test(self.tiny(), newer)
        with pytest.raises(UnsupportedSpecError):
            run_test(self.tiny(custom_hooks=[dict(type='KeyGuardHook', on_mismatch='warn')]), newer)

    def test_another_cipher(self):
        cfg = self.tiny()
        cfg.model.data_preprocessor.cipher = dict(type='Shuffle', block_size=4)
        with pytest.raises(WrongKeyError, match='cipher shuffle/M=4, but got'):
            run_test(cfg, self.checkpoint)

    @pytest.mark.parametrize('junk', ['text', 7, {}, dict(spec_version='x', key_id=[1], cipher={})])
    def test_damaged_meta(self, junk):
        damaged = self.edited(lambda state: state['meta'].update(keyprotect=junk))
        with pytest.raises(DamagedFileError, match='damaged'):
            run_test(self.tiny(), damaged)

    def test_resume_with_another_key(self, other_key_file):
        other = {'model.data_preprocessor.key': dict(type='KeyFile', path=str(other_key_file))}
        runner = Runner.from_cfg(self.tiny(resume=True, **other))
        with pytest.raises(WrongKeyError):
            runner.train()


def test_every_problem_is_reported_before_anything_runs(tiny, tmp_path):
    cfg = tiny(
        **{
            'model.test_cfg': dict(mode='slide', crop_size=(63, 64), stride=(42, 42)),
            'model.data_preprocessor.size': (66, 66),
        }
    )
    cfg.train_dataloader.dataset.pipeline[2].crop_size = (66, 66)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ConfigError, match='found 4 problems') as caught:
        runner.train()
    assert {type(problem) for problem in caught.value.problems} == {BlockAlignmentError}
    for text in ('crop_size', 'stride', 'model.data_preprocessor.size', '(44, 44)'):
        assert text in str(caught.value)
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_on_mismatch_is_checked():
    with pytest.raises(ConfigError, match="'error' or 'warn', but got 'ignore'"):
        KeyGuardHook(on_mismatch='ignore')
