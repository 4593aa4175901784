"""A skipped test is told with its reason, and fails the session where CI is set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
MISSING = """
import pytest

@pytest.mark.needs("no-such-program")
def test_skipped():
    raise AssertionError("runs without what it needs")
"""
MODULE_SKIPPED = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
PRESENT = "import pytest\n\n@pytest.mark.needs('sh')\ndef test_runs():\n    pass\n"


def session(folder: Path, test: str, *options: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"))
    (folder / "test_it.py").write_text(test)
    (folder / "test_other.py").write_text("def test_other():\n    pass\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"CI": ci, "PYTHONPATH": str(CONFTEST.parent)}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_missing_need_skips_with_a_reason(tmp_path: Path) -> None:
    done = session(tmp_path, MISSING, ci="")
    assert done.returncode == 0, done.stdout
    assert "needs no-such-program" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "two workers"])
@pytest.mark.parametrize("test", [MISSING, MODULE_SKIPPED], ids=["test", "module"])
def test_with_ci_a_skip_fails_the_session(test: str, options: tuple[str, ...], tmp_path: Path) -> None:
    done = session(tmp_path, test, *options, ci="true")
    assert done.returncode == 1, done.stdout
    assert "a skipped test is a failure" in done.stdout
    assert "test_it.py" in done.stdout.split("a skipped test is a failure")[1]


def test_with_ci_a_met_need_passes(tmp_path: Path) -> None:
    done = session(tmp_path, PRESENT, ci="true")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
