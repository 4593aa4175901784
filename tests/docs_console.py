"""Runs the commands that a page of the documentation shows, and compares what they print.

A block is fenced as ````` ```{code-block} console `````. A line that begins with ``$ `` is a command (``\\`` at its end
continues it); it must exit with 0. The lines after it must appear in its output, in this order; ``…`` in a line stands
for anything, and a line of ``…`` alone for any number of lines.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r"^```\{code-block\} console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 300


@dataclass
class Command:
    """One command of a page and the lines that the page shows under it."""

    text: str
    expected: list[str] = field(default_factory=list)


class PageError(AssertionError):
    """A page promises something that does not happen."""


def commands(page: str) -> list[Command]:
    """Read all commands of a page, in order."""
    found: list[Command] = []
    for block in BLOCK.findall(page):
        found += read_block(block)
    return found


def read_block(block: str) -> list[Command]:
    found: list[Command] = []
    for line in re.sub(r"\\\n", "", block).splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.strip() and not re.match(r":[\w-]+:", line):  # an option of the block, such as :caption:
            if not found:
                raise PageError(f"a block begins with output instead of a command: {line}")
            found[-1].expected.append(line.rstrip())
    return found


def run_page(page: str, folder: Path, bin_folder: Path) -> None:
    """Run a page's commands in a folder, as a reader would: a ``cd`` holds for the commands after it."""
    here = folder
    for command in commands(page):
        output, here = run(command.text, here, folder, bin_folder)
        compare(command, output)


def run(text: str, here: Path, home: Path, bin_folder: Path) -> tuple[str, Path]:
    """Run one command; give its output and the folder that it ends in."""
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    note = home / ".folder-after-command"
    script = f"trap 'pwd > \"{note}\"' EXIT\n{text}\n"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=here,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise PageError(f"$ {text}\nexits with {done.returncode}:\n{done.stdout}")
    return done.stdout, Path(note.read_text().strip())


def compare(command: Command, output: str) -> None:
    """Find the expected lines in the output, one after the other."""
    lines = iter([line.rstrip() for line in output.splitlines()])
    for expected in command.expected:
        if expected.strip() == "…":
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in expected.split("…")))
        if not any(pattern.fullmatch(line) for line in lines):
            raise PageError(f"$ {command.text}\ndoes not print (here or after the line before): {expected}\n\n{output}")
