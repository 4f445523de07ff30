"""The registry of attacks: names without imports, classes on first use, attacks of one's own."""

import subprocess
import sys

import pytest

from mmseg_keyprotect import audit
from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.attacks import ATTACKS, register_attack
from mmseg_keyprotect.audit.run import run_audit


def test_names_are_those_of_the_classes():
    for name in ATTACKS:
        assert issubclass(ATTACKS[name], Attack)
        assert ATTACKS[name].name == name
        assert ATTACKS[name].__doc__
    with pytest.raises(KeyError):
        ATTACKS['nope']


def test_listing_imports_neither_torch_nor_mmengine():
    code = (
        'import sys; from mmseg_keyprotect.audit.attacks import ATTACKS, register_attack; print(*ATTACKS); '
        'print([name for name in sys.modules if name.partition(".")[0] in ("torch", "mmengine", "mmseg", "numpy")])'
    )
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert names.split() == list(ATTACKS)
    assert loaded == '[]'


def test_the_function_behind_the_command():
    assert audit.run_audit is run_audit
    with pytest.raises(AttributeError, match='nothing'):
        audit.nothing  # noqa: B018


def test_an_attack_of_ones_own(monkeypatch):
    monkeypatch.setattr(ATTACKS, '_places', dict(ATTACKS._places))

    @register_attack
    class Mine(Attack):
        name, needs = 'mine', ()

        def run(self, view, budget):
            return AttackResult('Nothing.')

    assert ATTACKS['mine'] is Mine
    assert list(ATTACKS)[-1] == 'mine'
    with pytest.raises(ValueError, match="'mine', which is registered"):
        register_attack(Mine)
