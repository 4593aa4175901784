"""How the program answers: versions, errors, exit codes."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import NoReturn

import pytest

from fiducial.cli import lazy, main
from fiducial.core.errors import FiducialError, NotFoundError, StateError


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    return int(stop.value.code or 0)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Plant a subject ``trouble`` that raises what is put into the list."""
    errors: list[BaseException] = []
    module = ModuleType("fiducial_planted")
    module.app = lazy.subject_app()  # type: ignore[attr-defined]

    @module.app.command()
    def trouble() -> NoReturn:
        raise errors[0]

    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(main.SUBJECTS, "trouble", lazy.Subject(module.__name__, "Raise an error."))
    return errors


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("fiducial ")


def test_help_lists_a_subject_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(main.SUBJECTS, "absent", lazy.Subject("fiducial.no_such_module", "Does something."))
    assert call("--help") == 0
    assert re.search(r"absent +Does something\.", capsys.readouterr().out)


def test_a_wrong_word_is_a_usage_error_with_the_nearest_name(
    planted: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("troubel") == 2
    assert "Did you mean 'trouble'" in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(planted: list[BaseException]) -> None:
    assert call("trouble", "--nosuch") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(FiducialError("no", hint="do"), 1), (NotFoundError("no", hint="do"), 4), (StateError("no", hint="do"), 5)],
)
def test_an_error_is_a_message_a_hint_and_an_exit_code(
    error: FiducialError, code: int, planted: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    planted.append(error)
    assert call("trouble") == code
    assert capsys.readouterr() == ("", "error: no\nhint: do\n")


def test_without_a_hint_there_is_no_empty_line_of_one(
    planted: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    planted.append(NotFoundError("no"))
    call("trouble")
    assert capsys.readouterr().err == "error: no\n"


def test_an_unforeseen_error_shows_no_traceback(
    planted: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    planted.append(ValueError("odd"))
    assert call("trouble") == 1
    err = capsys.readouterr().err
    assert "error: ValueError: odd" in err
    assert "--debug" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--debug", "trouble"], ["trouble", "--debug"]])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    arguments: list[str], planted: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    planted.append(NotFoundError("no"))
    assert call(*arguments) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: no" in err


def test_a_missing_extra_is_named(planted: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    planted.append(ModuleNotFoundError("No module named 'uproot'", name="uproot.reading"))
    assert call("trouble") == 1
    assert "hint: pip install 'fiducial[alignment]'" in capsys.readouterr().err


def test_an_interrupt_exits_as_shells_expect(planted: list[BaseException]) -> None:
    planted.append(KeyboardInterrupt())
    assert call("trouble") == 130


def test_debug_behind_two_dashes_belongs_to_the_payload() -> None:
    assert main.split_debug(["run", "--", "payload", "--debug"]) == (["run", "--", "payload", "--debug"], False)
    assert main.split_debug(["run", "--debug", "--", "p"]) == (["run", "--", "p"], True)


def test_every_subject_is_made_as_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    for name in main.SUBJECTS:
        assert call(name, "--help") == 0
        out = capsys.readouterr().out
        assert "--install-completion" not in out, f"make the app of {name} with subject_app()"
        assert out.isascii(), f"make the app of {name} with subject_app(): its help is drawn by rich"


def test_warnings_before_an_error_are_told(planted: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    error = FiducialError("nothing is left", hint="look")
    error.warnings = ["one file is empty"]
    planted.append(error)
    assert call("trouble") == 1
    assert capsys.readouterr().err == "warning: one file is empty\nerror: nothing is left\nhint: look\n"


def test_too_little_memory_is_foreseen(planted: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    planted.append(MemoryError("Unable to allocate 90 GiB"))
    assert call("trouble") == 1
    said = capsys.readouterr().err
    assert "error: the memory is not enough: Unable to allocate 90 GiB" in said
    assert "foreseen" not in said
