"""``fiducial align init`` without a terminal: answers by options, what is there already, and defaults."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import calypso
from fiducial.alignment.faser.configfile import read_config
from fiducial.alignment.faser.dialogue import NEWER, OLDER, Question, questions
from fiducial.alignment.faser.request import Storage
from fiducial.core.errors import UsageError

Say = Callable[..., Any]
EXAMPLES = Path(__file__).parents[3] / "examples" / "faser"


@pytest.fixture
def site(tmp_path: Path) -> calypso.Site:
    return calypso.build(tmp_path / "site")


def config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


def test_the_older_generation_from_options(say: Say, site: calypso.Site, tmp_path: Path) -> None:
    words = ["--set", f"paths.calypso_install={site.calypso}", "--set", f"paths.eos_output_dir={tmp_path}/eos"]
    words += ["--set", "storage.keep_intermediate_root_files=no", "--set", "alignment.default_iterations=6"]
    dry = say("align", "init", "--yes", *words, "--dry-run")
    assert not (tmp_path / "config.json").exists()
    done = say("align", "init", "--yes", *words)
    assert (dry.json, done.code) == (config(tmp_path), 0)
    assert "config.json is written" in done.out
    assert "fiducial align check" in done.out
    request = read_config(tmp_path / "config.json")
    assert (request.calypso, request.iterations, request.stations) == (site.calypso, 6, 3)
    assert (request.folder, request.data) == (f"{tmp_path}/{{format}}", f"{tmp_path}/eos/{{format}}")
    assert request.storage == Storage(keep_ntuples=False)


def test_the_newer_generation_from_options(say: Say, site: calypso.Site, tmp_path: Path) -> None:
    words = ["raw.year=2023", "raw.run=011705", "raw.files=450-453", f"src.dir={site.source}", "raw.stations=3"]
    words += [f"env.calypso.asetup={site.calypso.parent}/asetup.faser", f"env.calypso.setup={site.calypso}/setup.sh"]
    done = say("align", "init", "--yes", "--generation", "newer", *[w for word in words for w in ("--set", word)])
    assert done.code == 0, done.err
    assert config(tmp_path)["raw"]["run"] == 11705
    assert "data.dir" not in str(config(tmp_path))
    request = read_config(tmp_path / "config.json")
    assert (request.year, request.files, request.stations) == (2023, range(450, 453), 3)
    assert request.default_name in str(request.expand(request.name or ""))


def test_what_is_there_is_the_default_and_is_kept(say: Say, tmp_path: Path) -> None:
    old = (EXAMPLES / "config-older.json").read_text()
    (tmp_path / "config.json").write_text(old)
    done = say("align", "init", "--yes", "--anyway", "--set", "htcondor.job_flavour=workday", "--json")
    assert done.json["kept"] == "config.json.old"
    assert (tmp_path / "config.json.old").read_text() == old
    now, before = config(tmp_path), json.loads(old)
    assert now["htcondor"].pop("job_flavour") == "workday"
    assert before["htcondor"].pop("job_flavour") == "longlunch"
    assert now["alignment"]["polling_interval_seconds"] == 300
    assert now["paths"] == before["paths"]
    say("align", "init", "--yes", "--anyway")
    assert (tmp_path / "config.json.old1").is_file()


def test_two_environment_scripts_stay_two(say: Say, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"paths": {"reco_env_script": "a.sh", "calypso_install": "/c"}}')
    assert say("align", "init", "--yes", "--anyway").code == 0
    paths = config(tmp_path)["paths"]
    assert (paths["reco_env_script"], paths["millepede_env_script"]) == ("a.sh", "millepede_env.sh")
    assert "env_script" not in paths


def test_without_a_terminal_it_says_what_to_give(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    said = say("align", "init")
    assert said.code == 2
    assert "--yes --set paths.calypso_install=…" in said.err
    assert "raw.year=…" in say("align", "init", "--generation", "newer").err
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--set", "paths.calypso=/x"], 2, "there is no such key"),
        (["--set", "paths.calypso_install=/nowhere"], 2, "there is no folder /nowhere"),
        (["--set", "paths.calypso_install=/nowhere", "--set", "alignment.default_iterations=0"], 2, "1 at least"),
        (["--anyway", "--set", "storage.use_eos_for_output=perhaps"], 2, "calypso_install: this one is needed"),
        (["--generation", "newest"], 2, "no generation 'newest'"),
    ],
)
def test_answers_that_do_not_hold(say: Say, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    result = say("align", "init", "--yes", *words)
    assert (result.code, said in result.err) == (code, True), result.err
    assert not (tmp_path / "config.json").exists()


def test_another_programs_file_is_left(say: Say, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"editor": "nano"}')
    assert say("align", "init", "--yes").code == 5
    (tmp_path / "config.json").write_text("{")
    assert say("align", "init", "--yes").code == 3
    assert (tmp_path / "config.json").read_text() == "{"


def test_options_before_a_command_below_are_refused(say: Say) -> None:
    said = say("align", "-y", "2023", "init", "--yes")
    assert (said.code, "--year stands before init" in said.err) == (2, True)


@pytest.mark.parametrize("generation", [OLDER, NEWER])
def test_every_default_is_an_answer(generation: str) -> None:
    for question in questions(generation, {}):
        if question.default is not None:
            assert question.value(str(question.default)) == question.default, question.key


def by_key(key: str) -> Question:
    return next(q for generation in (OLDER, NEWER) for q in questions(generation, {}) if q.key == key)


def test_what_is_off_with_a_path(tmp_path: Path, site: calypso.Site) -> None:
    calypso_, pede, work = (by_key(f"paths.{name}") for name in ("calypso_install", "pede_install", "work_dir"))
    assert calypso_.look(str(site.calypso)) == ""
    (site.calypso / "setup.sh").unlink()
    assert calypso_.look(str(site.calypso)).endswith("setup.sh")
    (tmp_path / "pede").write_text("#!/bin/sh\n")
    assert "no pede that can be run" in pede.look(str(tmp_path))
    (tmp_path / "pede").chmod(0o755)
    assert pede.look(str(tmp_path)) == pede.look(str(tmp_path / "pede")) == pede.look("") == ""
    assert work.look(str(tmp_path / "new" / "one")) == work.look(f"{tmp_path}/{{format}}") == ""
    assert "is no folder" in work.look(str(tmp_path / "pede" / "x"))
    assert "there is no /eos-of-nobody here" in work.look("/eos-of-nobody/user")
    assert "its folder" in by_key("paths.env_script").look("/nowhere/env.sh")
    assert pede.value("-") == ""
    with pytest.raises(UsageError, match="needed"):
        calypso_.value("-" if calypso_.blank else " ")
