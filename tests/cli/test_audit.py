"""`keyprotect audit`: help and bad arguments come before torch is imported."""

import subprocess
import sys

import pytest

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.cli import audit

PROBE = """
import sys
from mmseg_keyprotect.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print('loaded:', *{'torch', 'mmengine', 'mmseg', 'numpy'} & set(sys.modules), file=sys.stderr)
"""


def run(*words):
    return subprocess.run([sys.executable, '-c', PROBE, 'audit', *words], text=True, capture_output=True)


def test_help_lists_the_attacks():
    done = run('--help')
    text = ''.join(done.stdout.split())
    assert done.returncode == 0
    assert all(name in text for name in ATTACKS)
    assert done.stderr.strip() == 'loaded:'


def test_an_unknown_attack_is_bad_usage():
    done = run('a.py', 'a.pth', '-o', 'out', '--attacks', 'known-pairs,nope')
    assert done.returncode == 2
    assert 'argument --attacks: Expected all, or attacks out of chosen-images' in done.stderr
    assert 'but got nope' in done.stderr
    assert done.stderr.splitlines()[-1] == 'loaded:'


@pytest.mark.parametrize(
    ('text', 'names'), [('all', list(ATTACKS)), ('un-key, fine-tuning', ['un-key', 'fine-tuning'])]
)
def test_names(text, names):
    assert audit.attack_names(text) == names
