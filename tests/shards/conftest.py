"""Fixtures of data sets at rest."""

import pytest

from helpers.data_sets import write_data_set


@pytest.fixture
def plain(tmp_path):
    """A small data set."""
    return write_data_set(tmp_path / 'plain')
