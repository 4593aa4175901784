"""``fiducial workflow`` and ``--set``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from fiducial.cli.options import parse_set
from fiducial.cli.workflow import app
from fiducial.core.errors import FolderError, NotFoundError, UsageError, WorkflowError

BROKEN = 'name = "w"\n[variables]\nunused = 1\n[steps.a]\ncommand = ["{{ fil }}"]\nfanout = { files = "0-3" }\n'


def run(*words: str | Path) -> tuple[int, str]:
    """Exit code and output; errors that main() would tell come through."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    assert run("init", tmp_path / "new")[0] == 0
    return tmp_path / "new" / "workflow.toml"


def test_the_starter_has_no_mistakes(starter: Path) -> None:
    assert run("check", starter) == (0, f"{starter}: nothing is off\n")


def test_the_starter_computes_pi(starter: Path, tmp_path: Path) -> None:
    program = [sys.executable, str(starter.parent / "darts.py")]
    subprocess.run([*program, "throw", "20000", "1", "new.json"], cwd=tmp_path, check=True)
    subprocess.run(
        [*program, "count", "pi.json", str(starter.parent / "nothing.json"), "new.json"], cwd=tmp_path, check=True
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert abs(metrics["pi"] - 3.14159) < 5 * metrics["error"]
    assert metrics["pi"] == json.loads((tmp_path / "pi.json").read_text())["pi"]


def test_init_overwrites_nothing(starter: Path) -> None:
    starter.write_text("mine")
    with pytest.raises(FolderError, match="is there already"):
        run("init", starter.parent)
    assert starter.read_text() == "mine"


def test_check_tells_all(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text(BROKEN)
    assert run("check", file) == (
        3,
        f"{file}:3: warning: variables.unused: is never used\n"
        f"{file}:5: error: steps.a.command.0: unknown variable 'fil', did you mean 'file'?\n"
        f"{file}: 1 error and 1 warning\n",
    )


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text(BROKEN.replace("fil }}", "file }}"))
    assert run("check", file)[0] == 0


@pytest.mark.parametrize("text", [BROKEN, 'name = "w"\nsteps = 3\n', "name = \n"])
def test_check_as_json(tmp_path: Path, text: str) -> None:
    file = tmp_path / "w.toml"
    file.write_text(text)
    code, output = run("check", file, "--json")
    findings = json.loads(output)
    assert code == 3
    assert "error" in {finding["severity"] for finding in findings}
    assert all(set(f) == {"file", "severity", "where", "line", "message", "suggestion"} for f in findings)
    assert all(finding["file"] == str(file) for finding in findings)


def test_check_with_variables(starter: Path) -> None:
    assert run("check", starter, "--set", "jobs=9")[0] == 0
    assert "variable 'job' is set, but the workflow has none" in run("check", starter, "--set", "job=9")[1]
    assert "is empty" in run("check", starter, "--set", "jobs=0")[1]


def test_show(starter: Path) -> None:
    code, output = run("show", starter, "--set", "jobs=7")
    assert code == 0
    assert "7 jobs" in output
    assert "until count.error" in output


def test_show_fills_in_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    loop = 'iteration.max = "{{ n }}"\n[variables]\nn = 3\n[steps.a]\ncommand = ["x"]\niterate = true\n'
    file.write_text(f'name = "w"\n{loop}')
    assert "↻ 3 iterations" in run("show", file)[1]
    assert json.loads(run("show", file, "--set", "n=5", "--json")[1])["iteration"]["max"] == 5


def test_show_as_json(starter: Path) -> None:
    shown = json.loads(run("show", starter, "--json")[1])
    assert shown["name"] == "starter"
    assert [(step["name"], step["jobs"], step["iterated"]) for step in shown["steps"]] == [
        ("throw", 4, True), ("count", 1, True), ("report", 1, False)
    ]  # fmt: skip
    assert shown["steps"][2]["after"] == [{"step": "count", "matching": False}]


def test_show_as_svg(starter: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "drawings" / "w.svg"
    assert run("show", starter, "--svg", drawing) == (0, f"{drawing} is written\n")
    assert drawing.read_text().startswith("<svg")


def test_show_cannot_draw_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_text("name = 3\n")
    with pytest.raises(WorkflowError, match=r"w\.toml:1: name: must be text in quotes"):
        run("show", file)
    with pytest.raises(NotFoundError):
        run("show", tmp_path / "none.toml")


def test_schema(tmp_path: Path) -> None:
    printed = json.loads(run("schema")[1])
    Draft202012Validator.check_schema(printed)
    file = tmp_path / "s.json"
    assert f"#:schema {file}" in run("schema", "--output", file)[1]
    assert json.loads(file.read_text()) == printed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("{ a = 1 }", {"a": 1}),
        ("450-500", "450-500"),
        ("a word", "a word"),
        ("", ""),
        ("x=y", "x=y"),
        ("3 # no comment", "3 # no comment"),
        ("1\nb = 2", "1\nb = 2"),
        ("2024-01-01", "2024-01-01"),
        ("007", "007"),
    ],
)
def test_values_of_set(text: str, value: Any) -> None:
    parsed = parse_set([f"name={text}"])["name"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("words", [["name"], ["=3"], ["a=1", "a=2"]])
def test_set_needs_names_and_values(words: list[str]) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_set(words)
