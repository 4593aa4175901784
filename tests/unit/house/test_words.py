"""What is published speaks of the project alone: no paths of a workplace, no index of packages, no ticket numbers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# "/afs/site/work/…" is a user's path and allowed.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root)/"),
    "a ticket number": re.compile(r"\bissue #", re.IGNORECASE),
    "an index of packages": re.compile(r"\bpypi\.|--(?:extra-)?index-url|--find-links"),
}


def findings(text: str) -> list[str]:
    """Name what is wrong, line by line."""
    return [
        f"{number}: {what}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def tracked_files() -> list[Path]:
    # The owner of a checkout and its tester may differ, and git refuses that unless it is told otherwise.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.needs("git")
def test_tracked_files_speak_of_the_project_alone() -> None:
    files = tracked_files()
    assert ROOT / "pyproject.toml" in files, "git lists too little"
    found = []
    # This file has to name what it looks for.
    for path in set(files) - {Path(__file__)}:
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}:{finding}" for finding in findings(text)]
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize(
    "line", ["cp x /work/main", "'/root/.config'", "see Issue #12", "pip --index-url x", "https://pypi.org"]
)
def test_a_forbidden_word_is_found(line: str) -> None:
    assert len(findings(f"first\n{line}")) == 1


@pytest.mark.parametrize("line", ["/afs/cern.ch/work/u/user", "root://eos//file", "an issue of the fit"])
def test_an_innocent_line_is_let_through(line: str) -> None:
    assert findings(line) == []
