"""What several modules of tests seal."""

import pytest

from helpers.sealed_files import PLAIN


@pytest.fixture
def plain(tmp_path):
    """A plain file of three chunks."""
    path = tmp_path / 'plain.pth'
    path.write_bytes(PLAIN)
    return path
