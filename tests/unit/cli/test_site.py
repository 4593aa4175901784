"""``fiducial site``, and sites that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORKFLOW = """
format = 1
name = "w"
[steps.a]
command = ["true"]
"""


def write(tmp_path: Path, text: str) -> None:
    (tmp_path / "fiducial.toml").write_text(text)


def test_this_machine_is_always_a_site(say: Any) -> None:
    said = say("site", "list")
    assert said.lines[1] == "local * this machine default"


def test_sites_of_the_settings_are_listed_with_their_file(say: Any, tmp_path: Path) -> None:
    write(tmp_path, '[run]\nsite = "here"\n[sites.here]\nbackend = "local"\nqueue = "q"\nworkers = 3\n')
    [here, local] = say("site", "list", "--json").json["sites"]
    assert here["keys"] == {"queue": "q", "workers": 3}
    assert (here["default"], local["default"]) == (True, False)
    assert f"here * this machine q {tmp_path}/fiducial.toml" in say("site", "list").lines


def test_a_mistake_in_a_table_is_named_with_file_and_key(say: Any, tmp_path: Path) -> None:
    write(tmp_path, '[sites.here]\nbackend = "local"\nquue = "q"\n')
    said = say("site", "test", "here")
    assert said.code == 3
    assert f"{tmp_path}/fiducial.toml: sites.here.quue: " in said.err
    assert "environment_script" in said.err


def test_a_faulty_table_does_not_hide_the_other_sites(say: Any, tmp_path: Path) -> None:
    bad = '[sites.bad]\nbackend = "local"\nquue = "q"\n[sites.worse]\nbackend = "slurmm"\n'
    write(tmp_path, bad + '[sites.good]\nbackend = "local"\n')
    said = say("site", "list")
    assert said.code == 1
    assert f"bad cannot be used, see below {tmp_path}/fiducial.toml" in said.lines
    assert f"good this machine {tmp_path}/fiducial.toml" in said.lines
    assert f"error: {tmp_path}/fiducial.toml: sites.bad.quue: no such key; did you mean 'queue'?" in said.err
    assert f"error: {tmp_path}/fiducial.toml: sites.worse: there is no batch system 'slurmm'" in said.err
    assert "did you mean 'slurm'?" in said.err
    said = say("site", "list", "--json")
    views = {view["name"]: view for view in said.json["sites"]}
    assert (said.code, views["good"]["error"], views["worse"]["backend"]) == (1, None, None)
    assert "sites.bad.quue" in views["bad"]["error"]


def test_a_site_or_a_batch_system_that_is_not_there_is_named(say: Any, tmp_path: Path) -> None:
    write(tmp_path, '[sites.here]\nbackend = "slurmm"\n[sites.there]\nbackend = "local"\n')
    said = say("site", "test", "ther")
    assert (said.code, "did you mean 'there'?" in said.err) == (4, True)
    said = say("site", "test", "here")
    assert said.code == 3
    assert "there is no batch system 'slurmm'" in said.err


def test_sites_are_tables(say: Any, tmp_path: Path) -> None:
    write(tmp_path, 'sites = "here"\n')
    assert "[sites.NAME]" in say("site", "list").err


def test_a_dry_run_submits_nothing(say: Any, tmp_path: Path) -> None:
    said = say("site", "test", "local", "--dry-run")
    assert said.code == 0
    assert "nothing was submitted" in said.out
    assert list(tmp_path.iterdir()) == []


def test_workers_are_for_this_machine_alone(say: Any, tmp_path: Path) -> None:
    write(tmp_path, '[sites.here]\nbackend = "local"\n')
    (tmp_path / "w.toml").write_text(WORKFLOW)
    said = say("run", "w.toml", "--site", "here", "--workers", "2")
    assert said.code == 2
    assert "this machine" in said.err


def test_a_site_s_table_of_the_project_wins_over_the_user_s(say: Any, tmp_path: Path) -> None:
    (tmp_path / "config" / "fiducial").mkdir(parents=True)
    user = tmp_path / "config" / "fiducial" / "fiducial.toml"
    user.write_text('[sites.a]\nbackend = "local"\nqueue = "old"\n[sites.b]\nbackend = "local"\n')
    write(tmp_path, '[sites.a]\nbackend = "local"\n')
    views = {view["name"]: view for view in say("site", "list", "--json").json["sites"]}
    assert set(views) == {"a", "b", "local"}
    assert views["a"]["queue"] is None
