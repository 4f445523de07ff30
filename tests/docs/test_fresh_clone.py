"""Runs the code blocks with the mark ``<!-- checkout: REASON -->`` in a fresh clone, beside a new environment.

They install packages, so they are slow and need a package index. The clone has the last commit.
"""

import os
import subprocess
import sys

import pytest

from helpers import ROOT
from helpers.markdown import CHINESE, blocks, name_of, pages
from helpers.page_runner import SHELLS

CLONED = [
    page
    for page in pages()
    if not page.is_relative_to(CHINESE) and any(block.mark == 'checkout' for block in blocks(page))
]


@pytest.fixture
def clone(tmp_path):
    """A fresh clone."""
    subprocess.run(['git', 'clone', '-q', str(ROOT), str(tmp_path / 'clone')], check=True)
    return tmp_path / 'clone'


@pytest.fixture
def environment(clone, tmp_path):
    """Variables of a user without any of ours, in a new virtual environment.

    The versions of ``requirements.txt`` are a constraint: where an index has a CPU build of that torch, it is taken.
    """
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    dropped = ('PYTHON', 'KEYPROTECT', 'VIRTUAL_ENV')
    variables = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    variables['PATH'] = os.pathsep.join([str(tmp_path / 'venv' / 'bin'), os.environ['PATH']])
    return dict(variables, PIP_CONSTRAINT=str(clone / 'requirements.txt'))


@pytest.mark.slow
@pytest.mark.parametrize('page', CLONED, ids=name_of)
def test_the_blocks_for_a_checkout_run(page, clone, environment):
    marked = [block for block in blocks(page) if block.mark == 'checkout']
    assert {block.language for block in marked} <= set(SHELLS)
    script = '\n'.join(['set -euxo pipefail', *(block.text for block in marked)])
    done = subprocess.run(['bash', '-c', script], cwd=clone, env=environment, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
