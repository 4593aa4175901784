"""The reference of the command line names every command and option, and shells can complete them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from fiducial.cli.lazy import load
from fiducial.cli.main import SUBJECTS, app

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text("utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command and all below it, that do something themselves, with the words that call them."""
    below = getattr(command, "commands", None)
    if not below or command.invoke_without_command:
        yield name, command
    if not below:
        return
    for word, inner in below.items():
        yield from commands(inner, f"{name} {word}")


ALL = dict(found for name, subject in SUBJECTS.items() for found in commands(load(subject), f"fiducial {name}"))


def section(name: str) -> str:
    """What the page says under a command's heading."""
    found = re.search(rf"^### `{re.escape(name)}`$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def test_the_walk_finds_commands() -> None:
    assert {"fiducial run", "fiducial campaign list", "fiducial db backup"} <= ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_described_with_an_example(name: str) -> None:
    text = section(name)
    assert text, f"docs/reference/cli.md has no heading ### `{name}`"
    assert re.search(rf"^\$ {re.escape(name)}\b", text, re.MULTILINE), f"no example of {name}"


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_described(name: str) -> None:
    options = [option for each in ALL[name].params for option in [*each.opts, *each.secondary_opts]]
    missing = [
        option
        for option in options
        if option.startswith("--") and option != "--help" and f"`{option}" not in section(name)
    ]
    assert not missing, f"docs/reference/cli.md says nothing of {missing} of {name}"


def test_no_command_is_described_that_is_not_there() -> None:
    described = re.findall(r"^### `(fiducial [^`]+)`$", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(ALL)


def test_options_of_the_program_itself() -> None:
    options = [option for each in get_command(app).params for option in each.opts]
    assert [option for option in options if option != "--help" and f"`{option}`" not in PAGE] == []


@pytest.mark.parametrize("name", ALL)
def test_help_has_a_sentence_for_everything(name: str) -> None:
    command = ALL[name]
    assert (command.help or "").strip(), name
    for each in command.params:
        if each.name != "help":
            assert (getattr(each, "help", None) or "").strip().endswith((".", ")", '"', ";")), f"{name} {each.name}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_produced(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="fiducial", complete_var="_FIDUCIAL_COMPLETE", shell=shell)
    assert "_FIDUCIAL_COMPLETE" in script
