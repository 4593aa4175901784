from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("campaigns")

from campaigns import Stage  # noqa: E402 - first it must be known that it holds assertions


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A ledger to play on; whatever a test does, counters and histories must be right in the end."""
    stage = Stage(tmp_path)
    try:
        yield stage
        stage.check()
    finally:
        stage.close()
