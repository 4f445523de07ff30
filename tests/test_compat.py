"""Registration, version checks and the workarounds for the stack, most of them in a fresh interpreter."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import mmseg  # noqa: F401  which registers the package
import pytest
import torch

from mmseg_keyprotect import compat
from mmseg_keyprotect.errors import MissingDependencyError
from mmseg_keyprotect.registered import REGISTERED

STACK = ('mmengine', 'mmcv', 'mmseg')

CLIENT = f"""
import sys
import numpy
import mmseg_keyprotect.client
import mmseg_keyprotect.sealing
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.keys import SecretKey
STACK = {STACK!r}
image = numpy.arange(192, dtype='uint8').reshape(8, 8, 3)
cipher = build_cipher(dict(type='Shuffle', block_size=4), SecretKey.generate())
assert (cipher.decrypt(cipher.encrypt(image)) == image).all()
print('the client works')
"""


def run(command, first_on_path=None):
    """Run a command, with the packages of a folder in front of the installed ones."""
    path = os.pathsep.join(filter(None, [str(first_on_path or ''), os.environ.get('PYTHONPATH')]))
    environment = {**os.environ, 'PYTHONPATH': path}
    done = subprocess.run([*command], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + done.stderr


def python(code, first_on_path=None):
    return run([sys.executable, '-c', code], first_on_path)


FIND_THREE = (
    'from mmseg.registry import HOOKS, MODELS, TRANSFORMS\n'
    "print('KeyGuardHook' in HOOKS, 'KeyedSegDataPreProcessor' in MODELS, 'KeyedBlockEncrypt' in TRANSFORMS)"
)


@pytest.mark.parametrize(
    'first',
    [
        'import mmseg_keyprotect, mmseg.models',
        'import mmseg.registry, mmseg_keyprotect',
        pytest.param('import mmseg_keyprotect.demo.scenes', marks=pytest.mark.slow),
        pytest.param('import mmseg_keyprotect.engine.hooks.key_guard_hook', marks=pytest.mark.slow),
    ],
)
def test_importing_the_package_registers_everything(first):
    code, output = python(f'{first}\n{FIND_THREE}')
    assert code == 0, output
    assert 'True True True' in output


def test_every_registered_name_is_listed():
    code, output = python(
        'import json, mmseg.registry, mmseg_keyprotect\n'
        'ours = {name: sorted(key for key, kind in getattr(mmseg.registry, name).module_dict.items()\n'
        "                     if kind.__module__.startswith('mmseg_keyprotect.'))\n"
        "        for name in ('MODELS', 'TRANSFORMS', 'HOOKS', 'LOOPS', 'VISUALIZERS', 'DATASETS', 'METRICS')}\n"
        'print(json.dumps({name: keys for name, keys in ours.items() if keys}))'
    )
    assert code == 0, output
    expected = {registry: sorted(names) for registry, names in REGISTERED.items()}
    assert json.loads(output.splitlines()[-1]) == expected


def test_the_client_side_loads_neither_torch_nor_openmmlab():
    code, output = python(f"{CLIENT}\nprint([name for name in ('torch', *STACK, 'cv2') if name in sys.modules])")
    assert (code, output.splitlines()[-1]) == (0, '[]'), output


@pytest.mark.parametrize(
    ('name', 'found', 'command'),
    [
        pytest.param('torch', '2.5.1', 'pip install torch==2.13.0', marks=pytest.mark.slow),
        pytest.param('mmcv', '2.2.0', 'pip install mmcv-lite==2.1.0', marks=pytest.mark.slow),
        ('mmcv-lite', '1.7.2', 'pip install mmcv-lite==2.1.0'),
        pytest.param('mmengine', '0.7.4', 'pip install mmengine==0.10.7', marks=pytest.mark.slow),
        pytest.param('mmsegmentation', '0.30.0', 'pip install mmsegmentation==1.2.2', marks=pytest.mark.slow),
    ],
)
class TestWrongVersion:
    """A version that does not work is reported where it matters, and does not affect the client."""

    @pytest.fixture(autouse=True)
    def metadata(self, name, found, tmp_path):
        info = tmp_path / f'{name.replace("-", "_")}-{found}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n')

    def test_building_one_of_our_types_raises(self, name, found, command, tmp_path):
        code, output = python(
            "import mmseg_keyprotect, mmseg.registry as r\nr.HOOKS.build(dict(type='KeyGuardHook'))", tmp_path
        )
        assert code == 1
        assert 'UserWarning: mmseg-keyprotect is not registered.' in output
        assert f'cannot work with these versions:\n  found {name} {found}, wanted {name}' in output
        assert 'MissingDependencyError: mmseg-keyprotect cannot work' in output
        assert command in output

    def test_the_command_line_refuses(self, name, found, command, tmp_path):
        code, output = python('from mmseg_keyprotect import compat\ncompat.require_mmseg()', tmp_path)
        assert code == 1
        assert 'MissingDependencyError: mmseg-keyprotect cannot work' in output
        assert command in output

    @pytest.mark.parametrize('order', ['import mmseg\n{}', '{}\nimport mmseg'], ids=['mmseg first', 'mmseg last'])
    def test_the_client_works(self, name, found, command, order, tmp_path):
        code, output = python(order.format(CLIENT), tmp_path)
        assert code == 0, output
        assert 'the client works' in output
        assert 'is not registered' in output


class TestBrokenPackages:
    """Packages that raise as they are imported do not affect the client."""

    @pytest.fixture
    def broken(self, tmp_path):
        """A function that makes packages that raise, in a folder for PYTHONPATH."""

        def write(names, error="OSError('libcudart.so: cannot open shared object file')"):
            for name in names:
                (tmp_path / name).mkdir()
                (tmp_path / name / '__init__.py').write_text(f'raise {error}\n')
            return tmp_path

        return write

    @pytest.mark.parametrize('error', ["OSError('broken')", "ImportError('broken')", "RuntimeError('broken')"])
    @pytest.mark.parametrize('order', ['{attempt}\n{client}', '{client}\n{attempt}'], ids=['mmseg first', 'last'])
    def test_all_are_broken(self, broken, order, error):
        attempt = 'try:\n    import mmseg\nexcept Exception as error:\n    print("mmseg:", error)'
        code, output = python(order.format(attempt=attempt, client=CLIENT), broken(['torch', *STACK], error))
        assert code == 0, output
        assert 'the client works' in output
        assert 'mmseg: broken' in output

    @pytest.mark.parametrize('name', ['torch', 'mmengine', 'mmcv'])
    @pytest.mark.parametrize('order', ['import mmseg\n{}', '{}\nimport mmseg'], ids=['mmseg first', 'mmseg last'])
    def test_one_below_mmseg_is_broken(self, broken, name, order, tmp_path):
        (tmp_path / 'mmseg').mkdir()
        (tmp_path / 'mmseg' / '__init__.py').touch()  # an mmseg that is imported whatever it needs
        code, output = python(order.format(CLIENT), broken([name]))
        assert code == 0, output
        assert 'the client works' in output
        assert 'UserWarning: mmseg-keyprotect is not registered. Expected a working installation' in output
        assert 'OSError: libcudart.so' in output

    def test_commands_of_the_client_work(self, broken, tmp_path):
        words = ['-m', 'mmseg_keyprotect', 'keygen', str(tmp_path / 'my.key')]
        code, output = run([sys.executable, *words], broken(['torch', *STACK]))
        assert code == 0, output
        assert (tmp_path / 'my.key').exists()

    def test_building_one_of_our_types_gives_the_cause(self):
        code, output = python(
            'from mmseg_keyprotect import compat\n'
            "def fail(): raise RuntimeError('a broken package')\n"
            'compat.apply = fail\n'
            "import mmseg.registry as r\nr.HOOKS.build(dict(type='KeyGuardHook'))"
        )
        assert code == 1
        assert 'MissingDependencyError: Expected a working installation' in output
        assert 'RuntimeError: a broken package\n\nThe above exception was the direct cause' in output

    def test_finding_packages_imports_none(self, broken):
        code, output = python('from mmseg_keyprotect import compat\ncompat.require_mmseg()', broken(['torch', *STACK]))
        assert code == 0, output


def test_missing_packages_are_named(monkeypatch):
    compat.require_mmseg()
    monkeypatch.setattr(compat, 'find_spec', lambda name: None if name in ('torch', 'mmseg') else find_spec(name))
    with pytest.raises(MissingDependencyError, match=r'without torch, mmseg\..*pip install .*\[mmseg,mmcv-lite\]'):
        compat.require_mmseg()


def test_only_calling_a_compiled_operator_fails():
    import mmcv.ops

    if not isinstance(sys.modules['mmcv._ext'], compat._NoOps):
        pytest.skip('full mmcv is installed')
    with pytest.raises(NotImplementedError, match='sigmoid_focal_loss_forward.*pip install.*mmcv==2.1.0'):
        mmcv.ops.sigmoid_focal_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), 2.0, 0.25, None, 'mean')


def test_full_mmcv_is_left_alone(monkeypatch):
    full = object()
    monkeypatch.setitem(sys.modules, 'mmcv._ext', full)
    compat._provide_mmcv_ext()
    assert sys.modules['mmcv._ext'] is full
