"""Runs the recipes of docs/howto/other_libraries.md with the real libraries, without a network."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import ROOT
from helpers.markdown import blocks
from mmseg_keyprotect.errors import SealedFileError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import is_sealed_file

SHARED, *RECIPES = (block for block in blocks(ROOT / 'docs' / 'howto' / 'other_libraries.md'))
LIBRARIES = ('timm', 'segmentation_models_pytorch', 'transformers', 'ultralytics')

pytestmark = pytest.mark.filterwarnings('default')  # those of the libraries


def test_every_library_has_a_recipe():
    assert [block.note.removeprefix('needs ').partition(';')[0] for block in RECIPES] == list(LIBRARIES)


@pytest.fixture
def folder(tmp_path, key_file, monkeypatch):
    """An empty folder to run in. Libraries keep their settings beside it, and neither ask a network nor install."""
    for name, variable in dict(home='HOME', temporary='TMPDIR', settings='YOLO_CONFIG_DIR').items():
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in ('YOLO_OFFLINE', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'):
        monkeypatch.setenv(variable, 'true')
    monkeypatch.setenv('YOLO_AUTOINSTALL', 'false')
    (tmp_path / 'run').mkdir()
    monkeypatch.chdir(tmp_path / 'run')
    return tmp_path


def run(library):
    """Run a recipe, and return its names."""
    pytest.importorskip(library, reason=f'needs {library}: make test-recipes')
    names = {}
    for block in (SHARED, RECIPES[LIBRARIES.index(library)]):
        exec(compile('\n' * (block.line - 1) + block.text, 'other_libraries.md', 'exec'), names)
    return names


def network(model):
    """Return the network of a model, which YOLO wraps."""
    return getattr(model, 'model', model)


def first_tensor(output):
    """Return the first tensor of what a model returns."""
    while not torch.is_tensor(output):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output


def answer(model):
    """Return what a model says about an image of noise."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return first_tensor(network(model).eval()(image))


@pytest.mark.parametrize('library', LIBRARIES)
def test_the_sealed_model_answers_as_the_plain_one(library, folder):
    torch.manual_seed(0)
    names = run(library)
    wanted = answer(names['trained'])
    assert torch.equal(answer(names['model']), wanted)
    assert wanted.std() > 0
    with torch.no_grad():  # the answer depends on the weights that are compared
        for weights in network(names['model']).parameters():
            weights.add_(0.1)
    assert not torch.allclose(answer(names['model']), wanted)


def files_with(folder, state):
    """Return the names of the files that hold the beginning of a tensor of a state dict."""
    needles = [
        value.numpy().tobytes()[:64]
        for value in state.values()
        if value.is_floating_point() and value.numel() >= 16 and value.unique().numel() > 8
    ]
    assert len(needles) > 10
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]


@pytest.mark.parametrize('library', LIBRARIES)
def test_no_file_holds_plain_weights(library, folder):
    names = run(library)
    (sealed,) = (folder / 'run').iterdir()
    assert is_sealed_file(sealed)
    assert sealed.stat().st_size > 10_000
    state = network(names['trained']).state_dict()
    assert files_with(folder, state) == []
    torch.save(state, folder / 'plain.pth')
    assert files_with(folder, state) == ['plain.pth']  # the search finds weights


WATCH = """
import os, sys, tempfile
tempfile.gettempdir()  # writes and removes a file once, to try the folder
opened = set()
def watch(event, arguments):
    if event != 'open' or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    mode, flags = arguments[1], arguments[2]
    if (mode and set(mode) & set('wax+')) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        opened.add(os.path.abspath(os.fsdecode(arguments[0])))
sys.addaudithook(watch)
import torch
class Writer(torch._C.PyTorchFileWriter):  # torch.save opens a path without Python
    def __init__(self, target, *arguments, **options):
        if isinstance(target, (str, bytes, os.PathLike)):
            opened.add(os.path.abspath(os.fsdecode(target)))
        super().__init__(target, *arguments, **options)
torch._C.PyTorchFileWriter = Writer
exec(open('recipe.py').read())
print(*(f'OPENED {path}' for path in sorted(opened)), sep='\\n')
"""


@pytest.mark.parametrize('library', LIBRARIES)
def test_no_other_file_is_opened_for_writing(library, folder):
    """Also none that is removed again, by Python or by torch."""
    pytest.importorskip(library, reason=f'needs {library}: make test-recipes')
    block = RECIPES[LIBRARIES.index(library)]
    (folder / 'run' / 'recipe.py').write_text(SHARED.text + block.text)
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE='1')
    done = subprocess.run([sys.executable, '-c', WATCH], env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    opened = [line.removeprefix('OPENED ') for line in done.stdout.splitlines() if line.startswith('OPENED ')]
    run_folder = folder / 'run'
    # until it is whole, the sealed file has no name, or a hidden one beside its own
    ours = [path for path in opened if path == str(run_folder) or path.startswith('/proc/self/fd')]
    ours += [path for path in opened if path.startswith(f'{run_folder}/.{library_file(block)}.keyprotect-')]
    assert ours
    settings = [path for path in opened if path.startswith(('/dev/', f'{folder}/settings/'))]
    assert sorted(opened) == sorted(ours + settings)


def library_file(block):
    """Return the name of the sealed file of a recipe."""
    return re.search(r"'(\w+\.sealed)'", block.text)[1]


@pytest.mark.parametrize('library', LIBRARIES)
def test_another_key_and_a_changed_file(library, folder):
    names = run(library)
    (path,) = folder.joinpath('run').iterdir()
    names['key'] = SecretKey.generate()
    with pytest.raises(WrongKeyError):
        names['read_weights'](path)
    names = {**names, 'key': names['seal_key']()}
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(SealedFileError), names['open_sealed'](path, names['key']) as file:
        file.read()


def test_ultralytics_predicts_with_the_sealed_weights(folder):
    """Boxes and masks of both models on one image."""
    torch.manual_seed(0)
    names = run('ultralytics')
    assert names['saved']['names'] == names['trained'].model.names
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    there, here = (names[name].predict(image, conf=1e-9, imgsz=64, verbose=False)[0] for name in ('trained', 'model'))
    assert len(there.boxes) > 0
    assert torch.equal(here.boxes.data, there.boxes.data)
    assert (here.masks is None) == (there.masks is None)
    assert here.masks is None or torch.equal(here.masks.data, there.masks.data)


def test_why_ultralytics_needs_another_file(folder, tmp_path):
    """`weights_only` refuses the library's own checkpoints."""
    import pickle

    names = run('ultralytics')
    names['trained'].save(tmp_path / 'plain.pt')
    with pytest.raises(pickle.UnpicklingError, match='weights_only|Weights only'):
        torch.load(tmp_path / 'plain.pt', weights_only=True)
