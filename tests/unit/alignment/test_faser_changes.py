"""An alignment is gone on with as it was begun: other options, and constants that changed meanwhile, are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aligning import asked
from fiducial.alignment.faser.campaign import Plan, plan
from fiducial.alignment.faser.changes import changed_constants, changes
from fiducial.alignment.faser.once import Once, plan_once
from fiducial.cli.alignbegun import must_exist, must_go_on, refused
from fiducial.core.errors import ChangedError, NotFoundError, StateError
from fiducial.engine.campaign import Campaign


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(**more: Any) -> Plan:
    return plan(asked(**more), simulate=True)


def begun(before: Plan) -> Campaign:
    return Campaign({**before.prepared.row(), "id": 1}, "ledger", before.prepared.workflow)


def hint_of(before: Plan, now: Plan) -> tuple[str, str]:
    error = refused(ChangedError("campaign 'x' exists, and the workflow changed"), begun(before), now)
    return error.message, error.hint


def test_what_changed_is_told_by_variable_or_place() -> None:
    before = planned().prepared.workflow
    assert changes(before, before) == {}
    now = planned(iterations=7, stop_early=False, initial_constants=Path("/c.txt"), variables={"seed": 5})
    assert changes(before, now.prepared.workflow) == {
        "seed": "1 -> 5",
        "max_iterations": "10 -> 7",
        "initial_constants": "nothing -> /c.txt",
        "iteration.until": "millepede.max_shift_over_error < threshold -> nothing",
    }


def test_continue_is_offered_where_it_is_possible_alone() -> None:
    message, hint = hint_of(planned(), planned(iterations=7))
    assert message.endswith("changed: max_iterations 10 -> 7")
    assert "--continue takes up changed ones" in hint
    for more in ({"variables": {"seed": 2}}, {"recipe": "faser-3st"}, {"stations": 4, "iterations": 7}):
        _, hint = hint_of(planned(), planned(**more))
        assert "--continue" not in hint
        assert "another alignment, which --folder OTHER begins" in hint
        with pytest.raises(StateError, match="is another alignment: "):
            must_go_on(begun(planned()), planned(**more), None, update=True)
    must_go_on(begun(planned()), planned(iterations=7), None, update=True)


def test_what_changed_in_one_iteration_is_told_too(here: Path) -> None:
    (before, _), (now, once) = (
        plan_once(asked(variables={"events": events}), 1, simulate=True) for events in (500, 600)
    )
    assert hint_of(before, now)[0].endswith("changed: events 500 -> 600")
    with pytest.raises(StateError, match="events 500 -> 600"):
        must_go_on(begun(before), now, once, update=True)


def test_another_folder_is_no_matter_of_continue(here: Path) -> None:
    before = planned(name="x", folder=str(here / "one" / "x"))
    message, hint = hint_of(before, planned(name="x", folder=str(here / "other" / "x")))
    assert f"folder {here}/one/x -> {here}/other/x" in message
    assert "--continue" not in hint


def test_many_changes_are_shortened() -> None:
    many = {"iterations": 3, "stop_early": False, "recipe": "faser-3st", "stations": 4}
    values = {"events": 1, "seed": 2, "threshold": 0.5, "keep_records": False}
    assert hint_of(planned(), planned(**many, variables=values))[0].endswith(" and 2 more")


def test_nothing_to_go_on_with_is_told_as_that() -> None:
    with pytest.raises(NotFoundError, match="no campaign 'x' to go on with"):
        must_exist(None, "x")
    must_exist(begun(planned()), "x")


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def of_one(here: Path) -> tuple[Plan, Once, Path, Path]:
    folder = here / "Y2023_R011705_F450-453"
    given = put(folder / "iter01" / "inputforalign.txt", '"2": [1, 0, 0, 0, 0, 0]')
    return *plan_once(asked(), 2, simulate=True), given, folder / "iter02" / "1reco" / "inputforalign.txt"


def of_all(here: Path) -> tuple[Plan, None, Path, Path]:
    given = put(here / "before.txt", '"2": [1, 0, 0, 0, 0, 0]')
    now = planned(initial_constants=given)
    return now, None, given, now.prepared.folder / "inputforalign.txt"


@pytest.mark.parametrize("of", [of_one, of_all])
@pytest.mark.parametrize("update", [False, True])
def test_constants_that_changed_since_are_not_passed_over(
    here: Path, of: Callable[[Path], tuple[Plan, Once | None, Path, Path]], update: bool
) -> None:
    now, once, given, copy = of(here)
    must_go_on(begun(now), now, once, update=update)  # nothing has been taken yet
    put(copy, given.read_text())
    must_go_on(begun(now), now, once, update=update)
    given.write_text('"2": [2, 0, 0, 0, 0, 0]')
    with pytest.raises(StateError, match="began with other constants: ") as caught:
        must_go_on(begun(now), now, once, update=update)
    assert str(given) in caught.value.message
    assert str(copy) in caught.value.message
    assert f"fiducial campaign archive {now.prepared.name}" in caught.value.hint


def test_no_constants_have_not_changed(here: Path) -> None:
    copy = put(here / "copy.txt", "")
    assert changed_constants(None, copy) == ""
    assert changed_constants(put(here / "given.txt", ""), copy) == ""
    assert changed_constants(put(here / "given.txt", "\n"), copy)
