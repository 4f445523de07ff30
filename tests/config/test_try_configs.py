"""The table of protected configurations in the documentation is true."""

import pytest

from helpers import ROOT
from helpers.try_configs import CASES, DONE, read_outcomes, try_all

FAST = ('pspnet_r50-d8_4xb2-40k_cityscapes-769x769', 'segformer_mit-b0', 'pidnet-s', 'fpn_poolformer')


@pytest.fixture(scope='module')
def outcomes():
    return read_outcomes(ROOT / 'docs' / 'protected_configs.md')


def check(cases, folder, outcomes):
    for row in try_all(cases, folder):
        told = outcomes[row.config]
        more_installed = told.startswith('needs') and row.outcome.startswith(DONE)
        assert row.outcome == told or more_installed, row


def test_table(outcomes):
    assert list(outcomes) == [case.config for case in CASES]
    assert len(CASES) >= 34
    assert len({case.architecture for case in CASES if outcomes[case.config].startswith(DONE)}) >= 17
    assert not [text for text in outcomes.values() if text.startswith('FAILS')]


def test_some(outcomes, key_file, tmp_path):
    cases = [case for case in CASES if any(name in case.config for name in FAST)]
    assert len(cases) == 4
    check(cases, tmp_path, outcomes)


@pytest.mark.slow
def test_all(outcomes, key_file, tmp_path):
    check(CASES, tmp_path, outcomes)
