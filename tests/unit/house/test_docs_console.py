"""The commands of the documentation are really run, and a wrong page is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs_console import PageError, commands, run_page


def page(block: str) -> str:
    return f"Text.\n\n```{{code-block}} console\n{block}\n```\n\n```python\n$ not run\n```\n"


def run(block: str, folder: Path) -> None:
    run_page(page(block), folder, folder)


def test_commands_and_their_output_are_read() -> None:
    found = commands(page(":caption: here\n$ echo a \\\n  b\na b\n$ true"))
    assert [(command.text, command.expected) for command in found] == [("echo a   b", ["a b"]), ("true", [])]


def test_a_page_that_holds(tmp_path: Path) -> None:
    run("$ mkdir new\n$ cd new\n$ pwd\n…/new\n$ printf '1\\n2\\n3\\nrun 17 done\\n'\n1\n…\n3\nrun … done", tmp_path)
    assert (tmp_path / "new").is_dir()


def test_the_given_programs_come_first(tmp_path: Path) -> None:
    program = tmp_path / "ls"
    program.write_text("#!/bin/sh\necho ours\n")
    program.chmod(0o755)
    run("$ ls\nours", tmp_path)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("$ false", "exits with 1"),
        ("$ no-such-program", "exits with 127"),
        ("$ true; exit 3", "exits with 3"),
        ("$ echo one\ntwo", "does not print"),
        ("$ echo one more\none", "does not print"),
        ("$ printf '1\\n2\\n'\n2\n1", "does not print"),
        ("$ echo run 17 failed\nrun … done", "does not print"),
        ("$ true\noutput", "does not print"),
        ("output\n$ true", "instead of a command"),
    ],
)
def test_a_page_that_does_not_hold(block: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(PageError, match=reason):
        run(block, tmp_path)
