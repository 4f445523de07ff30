"""Registration, version checks and the mends of the stack, each in a fresh interpreter."""

import os
import subprocess
import sys

import mmseg  # noqa: F401  which registers the package
import pytest
import torch

from mmseg_keyprotect import compat


def python(code, **env):
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )
    return done.returncode, done.stdout + done.stderr


REGISTERED = (
    'from mmseg.registry import HOOKS, MODELS, TRANSFORMS\n'
    "print('KeyGuardHook' in HOOKS, 'KeyedSegDataPreProcessor' in MODELS, 'KeyedBlockEncrypt' in TRANSFORMS)"
)


@pytest.mark.parametrize(
    'first',
    [
        'import mmseg_keyprotect, mmseg.models',
        'import mmseg.registry, mmseg_keyprotect',
        'import mmseg_keyprotect.demo.scenes',
        'import mmseg_keyprotect.engine.hooks.key_guard_hook',
    ],
)
def test_importing_the_package_registers_everything(first):
    code, output = python(f'{first}\n{REGISTERED}')
    assert code == 0, output
    assert 'True True True' in output


def test_the_client_side_loads_neither_torch_nor_openmmlab():
    code, output = python(
        'import sys, numpy, mmseg_keyprotect.ciphers, mmseg_keyprotect.keys\n'
        "cfg, key = dict(type='Shuffle', block_size=4), mmseg_keyprotect.keys.SecretKey.generate()\n"
        "mmseg_keyprotect.ciphers.build_cipher(cfg, key, 3).encrypt(numpy.zeros((8, 8, 3), dtype='uint8'))\n"
        "print([name for name in ('torch', 'mmseg', 'mmengine', 'mmcv', 'cv2') if name in sys.modules])"
    )
    assert (code, output.strip()) == (0, '[]')


@pytest.mark.parametrize(
    ('name', 'found', 'command'),
    [
        ('mmcv', '2.2.0', 'pip install mmcv-lite==2.1.0'),
        ('mmengine', '0.7.4', 'pip install mmengine==0.10.7'),
        ('mmsegmentation', '0.30.0', 'pip install mmsegmentation==1.2.2'),
    ],
)
def test_a_wrong_version_says_found_wanted_and_the_command(name, found, command, tmp_path):
    info = tmp_path / f'{name}-{found}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n')
    refused = "import mmseg_keyprotect, mmseg.registry as r\nr.HOOKS.build(dict(type='KeyGuardHook'))"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get('PYTHONPATH')]))
    code, output = python(refused, PYTHONPATH=path)
    assert code == 1
    assert 'UserWarning: mmseg-keyprotect is not registered.' in output
    assert f'cannot work with these versions:\n  found {name} {found}, wanted' in output
    assert 'MissingDependencyError: mmseg-keyprotect cannot work' in output
    assert command in output
    for before in ('', 'import mmseg\n'):  # keys work beside any version
        code, output = python(f'{before}from mmseg_keyprotect.keys import SecretKey\nprint("fine")', PYTHONPATH=path)
        assert code == 0, output
        assert output.startswith('fine'), output


def test_only_calling_a_compiled_operator_fails():
    import mmcv.ops

    if not isinstance(sys.modules['mmcv._ext'], compat._NoOps):
        pytest.skip('full mmcv is installed')
    with pytest.raises(NotImplementedError, match='sigmoid_focal_loss_forward.*pip install.*mmcv==2.1.0'):
        mmcv.ops.sigmoid_focal_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), 2.0, 0.25, None, 'mean')


def test_full_mmcv_is_left_alone(monkeypatch):
    full = object()
    monkeypatch.setitem(sys.modules, 'mmcv._ext', full)
    compat._stand_in_for_mmcv_ext()
    assert sys.modules['mmcv._ext'] is full


def test_an_older_torch_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.5.1')
    monkeypatch.setattr(torch.serialization, 'add_safe_globals', None)  # calling it would fail
    compat._allow_mmengine_globals()


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_hostile_checkpoints_stay_refused(tmp_path):
    """The mends widen what weights_only loads, but not to code."""
    for payload in (Hostile(tmp_path / 'ran'), GetAttribute()):
        torch.save(dict(meta=payload), tmp_path / 'hostile.pth')
        with pytest.raises(Exception, match=r'Weights only load failed|Expected a statistics method'):
            torch.load(tmp_path / 'hostile.pth')
    assert not (tmp_path / 'ran').exists()


class GetAttribute:
    """Reaches for an attribute of a permitted class."""

    def __reduce__(self):
        from mmengine.logging import HistoryBuffer

        return getattr, (HistoryBuffer, '__init__')
