"""From FASER's words to a workflow: names, folders, numbers of iterations, environment scripts, premises."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

import calypso
from fiducial.alignment.faser import premises
from fiducial.alignment.faser.campaign import Plan, plan
from fiducial.alignment.faser.environment import EnvironmentScript, environment_text
from fiducial.alignment.faser.foreign import refuse_foreign
from fiducial.alignment.faser.layout import Iteration, scope_of
from fiducial.alignment.faser.once import plan_once
from fiducial.alignment.faser.request import Request, expand, parse_files, parse_iterations, parse_run, parse_year
from fiducial.core.check import check
from fiducial.core.errors import ConfigurationError, FolderError, NotFoundError, UsageError
from fiducial.core.filerange import format_range
from fiducial.core.tomltext import with_values
from fiducial.core.variables import render
from fiducial.core.workflowfile import load

EXAMPLE = Path(__file__).parents[3] / "examples" / "faser" / "reco_condor_env.sh"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> calypso.Site:
    site = calypso.build(tmp_path / "site")
    for file in range(450, 470):
        path = site.raw / "2023" / "011705" / f"Faser-Physics-011705-{file:05d}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return site


def asked(site: calypso.Site, **more: Any) -> Request:
    return Request(
        year=2023, run=11705, files=more.pop("files", range(450, 460)), calypso=site.calypso, source=site.source,
        variables={"raw": str(site.raw), "database": str(site.database), **more.pop("variables", {})}, **more,
    )  # fmt: skip


def variables(planned: Plan) -> dict[str, Any]:
    return dict(planned.source.workflow.variables)


@pytest.mark.parametrize(
    ("text", "name"), [("450-500", "450-500"), ("450:500", "450-500"), ("400", "400"), ("400-401", "400")]
)
def test_files_in_names_of_folders(text: str, name: str) -> None:
    assert format_range(parse_files(text)) == name


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *[
            (parse_files, text)
            for text in ("400-400", "400-399", "400,401", "-5", "abc", "450-", "450-500-550", "", "1e2")
        ],
        (parse_files, "99999-100001"),
        *[(parse_year, text) for text in ("23", "20233", "-2023", "zwei", "²023")],
        *[(parse_run, text) for text in ("", "0117055", "-1", "0x1", "1 1")],
        *[(parse_iterations, text) for text in ("0", "-1", "100", "2.5", "ten")],
    ],
)
def test_what_is_no_number(parse: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert text in caught.value.message


def test_all_that_is_missing_is_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"the year \(-y\), the run \(-r\) and the files \(-f\) are missing"):
        plan(Request(), simulate=True)
    with pytest.raises(UsageError, match=r"^the files \(-f\) is missing|^the files \(-f\) are missing"):
        plan(Request(year=2023, run=1), simulate=True)


def test_braces_are_filled_in_and_nothing_else() -> None:
    assert expand("{a}-{b}", {"a": "{b}", "b": "2"}) == "{b}-2"
    with pytest.raises(UsageError, match="is not known"):
        expand("{a.__class__}", {"a": "1"})


def test_options_go_before_the_file() -> None:
    options = Request(year=2024, variables={"x": 1}, notes=("mine",), reco_words=("--b",))
    file = Request(year=2022, run=5, variables={"x": 2, "y": 2}, notes=("theirs",), reco_words=("--a",))
    merged = options.over(file)
    assert (merged.year, merged.run) == (2024, 5)
    assert merged.variables == {"x": 1, "y": 2}
    assert merged.notes == ("theirs", "mine")
    assert merged.reco_words == ("--a", "--b")


def test_the_campaign_of_plain_options(site: calypso.Site, here: Path) -> None:
    planned = plan(asked(site, iterations=7, stations=4), simulate=False)
    assert planned.prepared.name == "Y2023_R011705_F450-460"
    assert planned.prepared.folder == here / "Y2023_R011705_F450-460"
    assert planned.prepared.max_iterations == 7
    assert variables(planned)["stations"] == 4
    assert variables(planned)["reco_options"] == ["--alignment", "--noForward"]
    assert planned.source.workflow.steps["reco"].environment_script == str(here / "reco_condor_env.sh")
    assert "# half open" in planned.source.text  # comments stay, for people to read
    assert planned.source.workflow.iteration is not None
    assert planned.source.workflow.iteration.until


def test_the_workflow_that_is_shown_is_the_one_that_runs(site: calypso.Site, here: Path) -> None:
    planned = plan(asked(site, edits={"steps.reco.retry": {"max": 5}}), simulate=False)
    (here / "shown.toml").write_text(planned.source.text)
    shown = load(here / "shown.toml")
    assert shown.workflow == planned.source.workflow
    assert shown.workflow.steps["reco"].retry.max == 5
    assert [finding for finding in check(shown) if finding.severity == "error"] == []


def test_limits_of_an_older_config_leave_the_others_as_they_are(site: calypso.Site) -> None:
    edits = {"steps.reco.resources": {"cpus": 2, "flavour": "longlunch"}, "steps.reco.retry": {"max": 5}}
    packaged, changed = (
        plan(asked(site, **more), simulate=False).source.workflow.steps["reco"] for more in ({}, {"edits": edits})
    )
    assert (changed.resources.cpus, changed.resources.flavour, changed.retry.max) == (2, "longlunch", 5)
    for limit in ("memory", "disk"):
        assert getattr(changed.resources, limit) == getattr(packaged.resources, limit) is not None
    assert changed.retry.memory_max == packaged.retry.memory_max is not None


def test_all_iterations(site: calypso.Site) -> None:
    planned = plan(asked(site, stop_early=False), simulate=False)
    assert planned.source.workflow.iteration is not None
    assert planned.source.workflow.iteration.until is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["--alignment", "--noForward"]),
        (("--noBackward",), ["--alignment", "--noBackward"]),
        (("--alignment", "--nevents", "5"), ["--alignment", "--noForward", "--nevents", "5"]),
    ],
)
def test_words_for_the_reconstruction(site: calypso.Site, words: tuple[str, ...], expected: list[str]) -> None:
    assert variables(plan(asked(site, reco_words=words), simulate=False))["reco_options"] == expected


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"reco_words": ("--noForward", "--noBackward")}, "together leave no tracks"),
        ({"variables": {"reco_options": ["--alignment"]}}, "these words leave both"),
        ({"variables": {"reco_options": ["--noForward", "--noBackward"]}}, "together leave no tracks"),
        ({"reco_words": ("--noIFT",), "stations": 4}, "--noIFT leaves three of four stations"),
    ],
)
def test_words_that_leave_no_tracks_to_align_with(site: calypso.Site, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(asked(site, **more), simulate=False)
    with pytest.raises(UsageError, match=said):
        plan_once(asked(site, **more), 1, simulate=False)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        *[("threshold", value, "a number, 0 at least") for value in ("abc", "0.3", True, -1, float("nan"), [0.3])],
        *[("solve_options", value, "a list of words") for value in ("--threads 4", 4, [["--threads"]], [True])],
        *[("keep_records", value, "true or false") for value in ("no", 0)],
        *[("events", value, "a whole number, 0 at least") for value in ("many", 500.5, -500)],
        ("raw", ["/data"], "text"),
        ("threshold", "{{ campaign }}", "a number, 0 at least"),
    ],
)
def test_values_that_can_never_work_are_told_before_anything_runs(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: must be {wanted}; here: ") as caught:
        plan(Request(year=2023, run=1, files=range(1), variables={name: value}), simulate=True)
    assert f"--set {name}=" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1),
        ("threshold", "{{ 0.1 * 2 }}"),
        ("solve_options", ["--threads", 4]),
        ("fit_folder", "{{iter}}/f"),
    ],
)
def test_values_of_the_right_kind_are_taken(name: str, value: Any) -> None:
    assert variables(plan(Request(year=2023, run=1, files=range(1), variables={name: value}), simulate=True))[name]


def test_variables_that_options_name_are_these_options(here: Path) -> None:
    words = {"year": 2024, "run": "011705", "files": 400, "stations": 4, "max_iterations": 3, "first_iteration": 0}
    request = Request(year=2023, variables={"seed": 5}).with_variables(
        {**words, "recipe": "mine.toml", "initial_constants": "before.txt", "threshold": 0.2}
    )
    assert request == Request(
        year=2024, run=11705, files=range(400, 401), stations=4, iterations=3, first_iteration=0,
        recipe=str(here / "mine.toml"), initial_constants=here / "before.txt", variables={"seed": 5, "threshold": 0.2},
    )  # fmt: skip
    for name, value in (("year", 23), ("files", [400]), ("stations", 5), ("max_iterations", True), ("run", "{{ x }}")):
        with pytest.raises(UsageError):
            Request().with_variables({name: value})


def test_the_newer_generation_counts_from_0_and_names_as_it_says(site: calypso.Site, tmp_path: Path) -> None:
    files = (site.calypso.parent / "asetup.faser", site.calypso / "setup.sh")
    planned = plan(
        Request(
            year=2023, run=11705, files=range(450, 460), stations=4, name="Y{year}_R{run}_F{files}_ST{stations}_x",
            folder=f"{tmp_path}/data/{{format}}", first_iteration=0, calypso=files, source=site.source,
        ),
        simulate=False,
    )  # fmt: skip
    name = "Y2023_R011705_F450-460_ST4_x"
    assert (planned.prepared.name, planned.prepared.folder) == (name, tmp_path / "data" / name)
    assert variables(planned)["first_iteration"] == 0
    # Nobody named a script, so the campaign has its own.
    assert planned.script is not None
    assert planned.script.path == planned.prepared.folder / "reco_condor_env.sh"


def test_an_unknown_variable_is_told() -> None:
    with pytest.raises(UsageError, match="has no variable 'treshold'") as caught:
        plan(Request(year=2023, run=1, files=range(1), variables={"treshold": 1}), simulate=True)
    assert "threshold" in caught.value.hint


def test_one_iteration(site: calypso.Site, here: Path) -> None:
    planned, once = plan_once(asked(site, files=range(450, 451)), 3, simulate=False)
    assert planned.prepared.name == "Y2023_R011705_F450_iter03"
    assert planned.prepared.folder == once.iteration.folder == here / "Y2023_R011705_F450" / "iter03"
    assert list(planned.prepared.workflow.steps) == ["start", "reco"]
    assert planned.prepared.workflow.iterated == []
    assert once.constants == here / "Y2023_R011705_F450" / "iter02" / "inputforalign.txt"
    with pytest.raises(NotFoundError, match="no constants to begin with") as caught:
        premises.check_once(planned, once)
    assert "--new-constants" in caught.value.hint
    with pytest.raises(UsageError, match="the first one is 1"):
        plan_once(asked(site), 0, simulate=False)


OWN_FOLDERS = {
    "iter": "it{{ number | pad(2) }}",
    "reco_folder": "{{ iter }}/reco",
    "ntuple_folder": "{{ iter }}/kf/{{ number }}",
    "fit_folder": "{{ iter }}/fit",
}


def test_one_iteration_lies_where_the_campaign_of_all_has_it(site: calypso.Site, here: Path) -> None:
    request = asked(site, variables=OWN_FOLDERS, first_iteration=0)
    planned, once = plan_once(request, 1, simulate=False)
    folder = here / "Y2023_R011705_F450-460" / "it01"
    assert once.iteration == Iteration(1, folder, folder / "reco", folder / "kf" / "1", folder / "fit")
    assert once.constants == folder.with_name("it00") / "inputforalign.txt"
    assert planned.prepared.folder == folder
    outputs = [step.outputs for step in planned.prepared.workflow.steps.values()]
    assert outputs[0]["constants"].path == "reco/inputforalign.txt"
    scope = scope_of(planned.prepared).context({"file": 450})
    assert render(outputs[1]["ntuple"].path, scope, "") == "kf/1/kfalignment_011705_00450.root"
    outside = asked(site, variables={**OWN_FOLDERS, "fit_folder": "fits/{{ number }}"})
    plan(outside, simulate=False)
    with pytest.raises(UsageError, match="does not lie in the iteration's folder"):
        plan_once(outside, 1, simulate=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("iter", "iter"), ("ntuple_folder", "kf"), ("fit_folder", "{{ run }}"), ("reco_folder", "{{ iter }}/.")],
)
def test_no_iteration_overwrites_another(name: str, value: str) -> None:
    request = Request(year=2023, run=1, files=range(1), variables={name: value})
    with pytest.raises(UsageError, match=f"^{name}: .*(overwrite each other|would both be)"):
        plan(request, simulate=True)


def test_campaigns_and_single_iterations_do_not_mix(site: calypso.Site) -> None:
    planned, once = plan_once(asked(site), 1, simulate=False)
    premises.check_once(planned, once)
    whole = plan(asked(site), simulate=False)
    marker = whole.prepared.folder / ".fiducial" / "campaign.json"
    marker.parent.mkdir(parents=True)
    marker.touch()
    with pytest.raises(FolderError, match="belongs to a campaign of all iterations"):
        premises.check_once(planned, once)
    single = once.iteration.folder / ".fiducial" / "campaign.json"
    single.parent.mkdir(parents=True)
    single.touch()
    with pytest.raises(FolderError, match="made one at a time"):
        premises.check(whole)
    whole = plan(asked(site, variables=OWN_FOLDERS), simulate=False)
    single.parent.parent.rename(whole.prepared.folder / "it01")
    with pytest.raises(FolderError, match="made one at a time"):
        premises.check(whole)


def test_steps_in_fasers_words_become_a_recipe_for_the_stations_that_run(site: calypso.Site) -> None:
    config = Request(stations=4, sets={"set0": {"pede": {"step0": ["local", "3ST"]}}}, config=Path("config.json"))
    planned = plan(asked(site).over(config), simulate=False)
    assert planned.recipe == "faser-4st-layers"
    assert planned.notes[0].startswith("config.json: workflow.set0: steps that hold local, 3ST: recipe faser-4st")
    planned = plan(asked(site, stations=3).over(config), simulate=False)
    assert planned.recipe == "one-fit"
    assert "there is no such recipe for 3 stations" in planned.notes[0]
    premises.check(planned)
    for planned in (
        plan(asked(site, recipe="faser-4st").over(config), simulate=False),
        plan_once(asked(site, recipe="faser-4st").over(config), 1, simulate=False)[0],
    ):
        assert planned.recipe == "faser-4st"
        assert not any("workflow" in note for note in planned.notes)


def test_a_recipe_for_other_stations_is_answered_with_the_option_for_them(site: calypso.Site) -> None:
    with pytest.raises(ConfigurationError, match="has no free parameter") as caught:
        premises.check(plan(asked(site, recipe="faser-4st"), simulate=False))
    assert caught.value.hint.endswith("or is --fourst meant?")


@pytest.mark.parametrize(
    ("more", "words", "hint"),
    [
        ({"files": range(480, 490)}, "10 of 10 raw files are not in", "it has 20 files"),
        ({"files": range(469, 473)}, "3 of 4 raw files are not in .*: 470, 471, 472", "00450.raw"),
        ({"variables": {"raw": "/nowhere"}}, "cannot list /nowhere/2023/011705", "--raw"),
        ({"variables": {"database": "/nowhere.db"}}, "no conditions database", "--set database"),
        ({"initial_constants": Path("/nowhere.txt")}, "no such file of constants", ""),
    ],
)
def test_what_is_missing_is_told_before_anything_runs(
    site: calypso.Site, more: dict[str, Any], words: str, hint: str
) -> None:
    with pytest.raises(NotFoundError, match=words) as caught:
        premises.check(plan(asked(site, **more), simulate=False))
    assert hint in caught.value.hint


def test_a_run_that_is_not_there(site: calypso.Site) -> None:
    other = asked(site)
    with pytest.raises(NotFoundError, match="run 000099: cannot list") as caught:
        premises.check(plan(Request(run=99).over(other), simulate=False))
    assert "has 1 runs, 011705 to 011705" in caught.value.hint


def test_one_file_in_twenty_may_be_missing(site: calypso.Site) -> None:
    (note,) = premises.check(plan(asked(site, files=range(451, 471)), simulate=False))
    assert "1 of 20 raw files are not in" in note
    assert "470; it goes on without" in note


def test_scripts_that_are_not_there(site: calypso.Site) -> None:
    (site.source / "templates" / "aligndb_template_tail.sh").unlink()
    with pytest.raises(NotFoundError, match=r"aligndb_template_tail\.sh"):
        premises.check(plan(asked(site), simulate=False))


def test_an_environment_script_is_made_once_and_never_overwritten(site: calypso.Site, here: Path) -> None:
    script = EnvironmentScript(here / "reco_condor_env.sh", site.calypso)
    script.check()
    assert "is made" in script.note
    script.make()
    text = script.path.read_text()
    assert f"asetup --input={site.calypso.parent}/asetup.faser" in text
    assert f"source {site.calypso}/setup.sh" in text
    assert script.path.stat().st_mode & stat.S_IXUSR
    assert script.note == ""
    script.path.write_text("mine")
    script.make()
    assert script.path.read_text() == "mine"
    assert "used as it is" in script.note


def test_an_environment_script_that_cannot_be_made(site: calypso.Site, here: Path) -> None:
    with pytest.raises(NotFoundError, match="no environment script") as caught:
        EnvironmentScript(here / "env.sh").check()
    assert "--calypso_path" in caught.value.hint
    with pytest.raises(NotFoundError, match="Calypso has no"):
        EnvironmentScript(here / "env.sh", here / "install").check()
    (site.calypso.parent / "asetup.faser").rename(site.calypso / "asetup.faser")
    EnvironmentScript(here / "env.sh", site.calypso).check()


def test_the_example_is_such_a_script() -> None:
    base = Path("/afs/cern.ch/user/f/faser/calypso")
    assert EXAMPLE.read_text() == environment_text(base / "asetup.faser", base / "install" / "setup.sh")


def test_paths_with_blanks_and_quotes_stay_paths(site: calypso.Site, tmp_path: Path) -> None:
    text = environment_text(Path("/a b/asetup"), Path("/it's/setup.sh"))
    assert "--input='/a b/asetup' " in text
    assert """'/it'"'"'s/setup.sh'""" in text
    name = 'a "quoted" # folder'
    planned = plan(asked(site, folder=f"{tmp_path}/{name}/{{format}}"), simulate=False)
    assert planned.prepared.folder == tmp_path / name / "Y2023_R011705_F450-460"


def test_templates_from_outside_are_refused(site: calypso.Site) -> None:
    for field in ("source", "environment_script", "initial_constants"):
        with pytest.raises(UsageError, match="holds a template"):
            plan(Request(**{field: Path("/a/{{ run }}")}).over(asked(site)), simulate=False)


@pytest.mark.parametrize("option", ["--nevents", "--isMC", "--zero", "--input_dir=x", "--steps", "--branch", "--noIFT"])
def test_options_of_other_programs_are_answered(option: str) -> None:
    with pytest.raises(UsageError, match="is an option of") as caught:
        refuse_foreign(["-y", "2023", option])
    assert len(caught.value.hint) > 20


def test_values_in_toml_keep_comments_and_lines() -> None:
    text = 'a = 1  # one\n[t]\nb = "x # y"\nc = [1]   # list\nd.e = true\n'
    new = with_values(text, {"a": 2, "t.b": 'q"\\ # z', "t.c": ["v", 1.5], "t.d.e": {"x": False}})
    assert new.splitlines()[0] == "a = 2  # one"
    assert tomllib.loads(new) == {"a": 2, "t": {"b": 'q"\\ # z', "c": ["v", 1.5], "d": {"e": {"x": False}}}}
    assert tomllib.loads(with_values(text, {"t.b": None})) == {"a": 1, "t": {"c": [1], "d": {"e": True}}}
    with pytest.raises(KeyError):
        with_values(text, {"t.z": 1})
