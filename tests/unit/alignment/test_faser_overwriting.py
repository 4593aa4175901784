"""An alignment that older scripts made, or anything else of a user's, is never overwritten by ``fiducial align``."""

from __future__ import annotations

from pathlib import Path

import pytest

from aligning import NAME, asked
from fiducial.alignment.faser import premises
from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.once import plan_once
from fiducial.alignment.faser.request import Request
from fiducial.core.errors import FolderError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: Path, text: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def claim(folder: Path) -> None:
    put(folder / ".fiducial" / "campaign.json", "{}")


def refused(request: Request) -> FolderError:
    with pytest.raises(FolderError, match="has not made and would overwrite") as caught:
        premises.check(plan(request, simulate=True))
    return caught.value


def test_an_alignment_of_older_scripts_stays(here: Path) -> None:
    old = here / NAME
    put(old / "iter01" / "3millepede" / "millepede.res")
    put(old / "iter02" / "1reco" / "inputforalign.txt")
    result = put(old / "iter01" / "inputforalign.txt", '"2": [0.1, 0, 0, 0, 0, 0]')
    error = refused(asked())
    assert error.message.endswith("overwrite: iter01, iter02")
    assert "--folder NAME begins" in error.hint
    assert f"--constants {result} as well, it goes on from" in error.hint
    # What the hint says is possible.
    premises.check(plan(asked(name="next", folder=str(here / "next"), initial_constants=result), simulate=True))
    claim(old)  # by a campaign, which goes on
    premises.check(plan(asked(), simulate=True))
    (old / ".fiducial").rename(old / ".fiducial-1")  # and was archived
    premises.check(plan(asked(), simulate=True))


@pytest.mark.parametrize(
    "name",
    ["align.toml", "report.html", "inputforalign.txt", "truth.json", "recipe/one-fit.toml", "iter07/notes.txt"],
)
def test_files_of_a_user_stay(here: Path, name: str) -> None:
    put(here / name)
    error = refused(asked(name="here", folder=str(here)))
    assert error.message.endswith(f"overwrite: {name.removesuffix('/notes.txt')}")
    assert "--constants" not in error.hint


def test_other_files_do_no_harm(here: Path) -> None:
    put(here / "notes.txt")
    put(here / "reco_condor_env.sh")
    (here / "iter01").mkdir()
    premises.check(plan(asked(name="here", folder=str(here)), simulate=True))


def test_folders_of_iterations_are_those_that_the_configuration_names(here: Path) -> None:
    put(here / NAME / "it03" / "kf" / "a.root")
    premises.check(plan(asked(), simulate=True))
    assert refused(asked(variables={"iter": "it{{ number | pad(2) }}"})).message.endswith("overwrite: it03")


def test_a_copy_of_the_configuration_is_replaced_by_the_same_alone(here: Path) -> None:
    config = put(here / "config.json", "{}")
    premises.check(plan(asked(name="here", folder=str(here), config=config), simulate=True))
    put(here / "old" / "config.json", "{ }")
    assert refused(asked(name="old", folder=str(here / "old"), config=config)).message.endswith(": config.json")


def test_raw_files_are_not_simulated_over_others(here: Path) -> None:
    raw = "2023/011705/Faser-Physics-011705-00451.raw"
    put(here / "data" / raw)
    assert str(here / "data" / raw) in refused(asked(variables={"raw": str(here / "data")})).message
    put(here / NAME / "raw" / raw)
    with pytest.raises(FolderError, match=f"overwrite: raw/{raw}"):
        premises.check_once(*plan_once(asked(), 1, simulate=True))
    put(here / NAME / "iter01" / "inputforalign.txt", "")
    claim(here / NAME / "iter01")  # which simulated them: all iterations have the same
    premises.check_once(*plan_once(asked(), 2, simulate=True))


def test_one_iteration_leaves_what_is_in_its_folder_and_takes_the_constants_of_any_before(here: Path) -> None:
    old = put(here / NAME / "iter01" / "inputforalign.txt", "")
    with pytest.raises(FolderError, match=r"overwrite: iter01/inputforalign\.txt") as caught:
        premises.check_once(*plan_once(asked(), 1, simulate=True))
    assert f"--constants {old}" in caught.value.hint
    planned, once = plan_once(asked(), 2, simulate=True)
    premises.check_once(planned, once)
    assert once.constants == old
