"""Runs the example notebook from top to bottom, at a small size."""

import os
import re

import nbformat
import pytest
from nbclient import NotebookClient

from helpers import ROOT

TOUR = ROOT / 'examples' / 'tour.ipynb'
SIZE = dict(TOUR_ITERATIONS='4', TOUR_SCENES='8', TOUR_ATTACK_STEPS='2')


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """The notebook with its outputs; it ran in a folder of its own, without a key in the environment."""
    folder = tmp_path_factory.mktemp('tour')
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    settings = dict(HOME=str(folder), IPYTHONDIR=str(folder / 'ipython'), PYTHONPATH=path, OMP_NUM_THREADS='1', **SIZE)
    env = {name: value for name, value in os.environ.items() if not name.startswith('KEYPROTECT')}
    client = NotebookClient(
        nbformat.read(TOUR, as_version=4),
        timeout=None,
        kernel_name='python3',
        coalesce_streams=True,
        resources=dict(metadata=dict(path=str(folder))),
    )
    return folder, client.execute(env={**env, **settings})


def outputs(notebook):
    """Return the text of all outputs, and the number of images among them."""
    every = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    texts = [output.get('text') or output.get('data', {}).get('text/plain', '') for output in every]
    return '\n'.join(texts), sum('image/png' in output.get('data', {}) for output in every)


def test_the_notebook_is_valid():
    notebook = nbformat.read(TOUR, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.cells[1].metadata.tags == ['parameters']


@pytest.mark.slow
def test_the_notebook_runs(executed):
    _, notebook = executed
    text, images = outputs(notebook)
    assert 'equal to the plain image: True' in text
    assert 'key space of shuffle+negative-positive/M=4: 248 bits' in text
    assert text.count('| correct key') >= 3  # two access reports and the audit
    assert re.search(r'\| known-pairs +\| pairs .*order 100%', text)
    assert re.search(r'\| un-key +\| weights', text)
    assert images == 6  # two cells of plain and encrypted images, three figures and the gallery


@pytest.mark.slow
def test_outputs_hold_no_key_and_no_path(executed):
    folder, notebook = executed
    (key_file,) = folder.glob('work_dirs/tour/*/my.key')
    line = key_file.read_text().splitlines()[-1]
    text, _ = outputs(notebook)
    assert line.startswith('MMSEG-KEYPROTECT-KEY-1.')
    assert line.partition('.')[2] not in text
    assert str(folder) not in text
    assert str(ROOT) not in text


def test_the_committed_notebook_holds_no_path():
    """A notebook that was run before it was committed shows nothing about the machine."""
    text = TOUR.read_text()
    assert 'MMSEG-KEYPROTECT-KEY-1.' not in text
    assert not re.search(r'/(home|root|tmp|work|Users|usr)/\w', text)
