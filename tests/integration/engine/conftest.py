from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A folder for real campaigns; in the end, nothing of them may be left running and the ledger must be right."""
    site = Site(tmp_path)
    try:
        yield site
        site.wait_until_all_are_gone()
        site.check()
    finally:
        site.close()
