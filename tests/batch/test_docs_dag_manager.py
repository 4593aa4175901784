"""Every command of the page for users of ``dag_manager.py`` does what the page says, on a real HTCondor."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs_console import commands, run_page
from faserpage import home
from pools.condor import CondorPool

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "from-dag-manager.md").read_text("utf-8")


def test_commands_of_the_page(tmp_path: Path, condor_pool: CondorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(commands(PAGE)) > 12
    for name, value in condor_pool.environment.items():
        monkeypatch.setenv(name, value)
    _, programs = home(tmp_path / "home")
    run_page(PAGE, tmp_path / "home", programs)
