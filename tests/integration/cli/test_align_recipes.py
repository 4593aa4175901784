"""``fiducial align`` with recipes: which one runs, what is kept of it, and what becomes of a fit that is aborted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import calypso
from aligning import NAME, SIMULATED, align, fiducial
from fiducial.alignment.iteration.recipe import load_recipe, recipe_text

OF_EACH_STEP = {"mp2str.txt", "mp2par.txt", "mp2con.txt"} | {
    f"millepede.{kind}" for kind in ("res", "log", "end", "his", "json")
}


def outcome(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(align(folder, *words, "--json", code=code).stdout)
    return found


def own_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """One-fit, with some lines of its own."""
    text = recipe_text("one-fit")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "mine.toml"
    path.write_text(text)
    return path


#: Tests of the same finished alignment, which one worker makes for all of them.
of_two_steps = pytest.mark.xdist_group("two steps")


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which FASER's two steps ran twice."""
    folder = tmp_path_factory.mktemp("two steps")
    assert (
        "recipe faser-3st, at most 2 iterations" in align(folder, *SIMULATED, "-i", "2", "--recipe", "faser-3st").stderr
    )
    return folder


@of_two_steps
def test_the_files_of_every_step_are_there(two_steps: Path) -> None:
    campaign = two_steps / NAME
    for number in (1, 2):
        fit = campaign / f"iter{number:02d}" / "3millepede"
        summary = json.loads((fit / "summary.json").read_text())
        assert [(step["name"], step.get("folder")) for step in summary["steps"][1:]] == [
            ("step1", "step1"),
            ("step2", "."),
        ]
        assert summary["recipe"] == "faser-3st"
        assert {path.name for path in (fit / "step1").iterdir()} == OF_EACH_STEP
        assert {path.name for path in fit.iterdir() if path.is_file()} >= OF_EACH_STEP | {"mp2input.bin"}
    assert (campaign / "recipe" / "faser-3st.toml").read_text() == recipe_text("faser-3st")
    rows = json.loads(fiducial(two_steps, "job", "show", f"{NAME}/millepede/02/all", "--json").stdout)["artifacts"]
    of_step = {row["name"]: row for row in rows if row["name"].startswith("steps/")}
    assert of_step.keys() == {f"steps/step1/{name}" for name in OF_EACH_STEP}
    published = of_step["steps/step1/millepede.res"]
    assert published["path"] == str(campaign / "iter02/3millepede/step1/millepede.res")
    assert published["size"] == Path(published["path"]).stat().st_size


@of_two_steps
def test_iterations_used_up_are_said_and_gone_on_with(two_steps: Path) -> None:
    words = (*SIMULATED, "--recipe", "faser-3st")
    told = align(two_steps, *words, "-i", "2")
    assert "NOT converged after 2 iterations" in told.stdout
    assert "a larger -i, with --continue, goes on where it stopped" in told.stderr
    page = (two_steps / NAME / "report.html").read_text("utf-8")
    assert "Not converged after 2 iterations" in page
    assert "recipe faser-3st, 3 stations, 3 ntuples" in page
    other = align(two_steps, *SIMULATED, "-i", "3", "--continue", code=5).stderr
    assert "is another alignment: recipe faser-3st -> one-fit" in other
    found = outcome(two_steps, *words, "-i", "3", "--continue")
    assert (found["iterations"], found["converged"]) == (3, False)
    assert found["max_shift_over_error"][2] < found["max_shift_over_error"][1]


def test_an_own_recipe_is_kept_with_the_campaign(tmp_path: Path) -> None:
    mine = own_recipe(tmp_path, ("entries = 50", "entries = 40"))
    words = (*SIMULATED, "-i", "1", "--recipe", "mine.toml")
    assert "recipe mine, at most 1 iteration, in" in align(tmp_path, *words).stderr
    copy = tmp_path / NAME / "recipe" / "mine.toml"
    assert copy.read_text() == mine.read_text()
    assert "\nentries 40\n" in (tmp_path / NAME / "iter01/3millepede/mp2str.txt").read_text()
    own_recipe(tmp_path, ("entries = 50", "entries = 30"))
    refused = align(tmp_path, *words, code=5).stderr
    assert f"was begun with another mine.toml, which is {copy}" in refused
    mine.unlink()
    assert outcome(tmp_path, *words)["iterations"] == 1  # the copy is enough
    assert load_recipe(copy).fit.entries == 40


def test_recipes_that_cannot_be_taken_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[fit]\nentrees = 5\n")
    for recipe, code, said in (
        ("faser-5st", 4, "there is no recipe 'faser-5st'"),
        ("other.toml", 4, "other.toml: no such recipe"),
        ("mine.toml", 3, "entrees"),
        ("faser-4st", 3, "has no free parameter"),  # of three stations
    ):
        assert said in align(tmp_path, *SIMULATED, "--recipe", recipe, code=code).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@of_two_steps
def test_too_many_rejects_end_the_campaign(two_steps: Path, tmp_path: Path) -> None:
    """Verdict 26: the job fails with that sentence, and constants of an earlier work there are not taken."""
    own_recipe(tmp_path, ("hugecut = 2000.0", "hugecut = 1.0"), ("max_residual = 0.05 ", "max_residual = 10.0 "))
    words = (*SIMULATED, "-i", "3", "--recipe", "mine.toml")
    told = align(tmp_path, *words, code=1)
    assert f"{NAME}/millepede/01/all" in told.stderr
    stale = tmp_path / NAME / "iter01" / "inputforalign.txt"
    stale.write_bytes((two_steps / NAME / "iter02" / "inputforalign.txt").read_bytes())
    found = outcome(tmp_path, *words, code=1)
    assert (found["state"], found["constants"], found["iterations"]) == ("failed", None, 1)
    assert not stale.exists()
    assert not (tmp_path / NAME / "iter02").exists()
    log = fiducial(tmp_path, "job", "log", f"{NAME}/millepede/01/all").stdout
    assert "step fit: the fit was aborted (verdict 26): " in log
    assert "records are rejected in loop 1, more than a third" in log


@of_two_steps
def test_four_stations_against_an_aligned_spectrometer(two_steps: Path, tmp_path: Path) -> None:
    """With constants of the three behind, the usual recipe is the one for the station in front."""
    before = two_steps / NAME / "iter02" / "inputforalign.txt"
    words = (*SIMULATED, "--fourst", "--constants", str(before), "-i", "1")
    assert "4 stations, recipe faser-4st," in align(tmp_path, *words).stderr
    iteration = tmp_path / NAME / "iter01"
    was, now = (json.loads(f"{{{path.read_text()}}}") for path in (before, iteration / "inputforalign.txt"))
    behind = {key: six for key, six in was.items() if key[0] != "0" and any(six)}
    assert {key: now[key] for key in behind} == behind
    assert any(any(six) for key, six in now.items() if key[0] == "0")
    assert json.loads((iteration / "3millepede/summary.json").read_text())["stations"] == 4


def test_one_iteration_at_a_time_with_a_recipe(tmp_path: Path) -> None:
    site = calypso.build(tmp_path / "a site")
    site.take_data("450-453", 300)
    words = ["--once", "-y", "2023", "-r", "11705", "-f", "450-453", "--recipe", "faser-3st-literal"]
    words += ["--calypso_path", str(site.calypso), *site.options(), "-i", "1"]
    first = outcome(tmp_path, *words)
    copy = tmp_path / NAME / "iter01" / "recipe" / "faser-3st-literal.toml"
    assert copy.read_text() == recipe_text("faser-3st-literal")
    assert f"--recipe {copy}" in first["next"][0]
    fiducial(tmp_path, *first["next"][0].split()[1:])
    folder = tmp_path / NAME / "iter01" / "3millepede"
    assert (folder / "step1" / "millepede.res").is_file()
    assert json.loads((folder / "summary.json").read_text())["recipe"] == "faser-3st-literal"
    assert "--recipe" in align(tmp_path, *words[:-1], "2").stdout
