"""Every command that the tutorial shows does what the tutorial says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from docs_console import commands, run_page

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
PAGES = [page for page in sorted(TUTORIAL.glob("*.md")) if commands(page.read_text(encoding="utf-8"))]


def test_tutorial_has_commands() -> None:
    assert PAGES, f"no page of {TUTORIAL} has a console block"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of(page: Path, tmp_path: Path) -> None:
    run_page(page.read_text(encoding="utf-8"), tmp_path, Path(sys.executable).parent)
