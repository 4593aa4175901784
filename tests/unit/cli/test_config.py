"""``fiducial config``, and settings that do not fit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from fiducial import settings


def by_key(said: Any) -> dict[str, Any]:
    return {setting["key"]: setting for setting in said.json["settings"]}


def test_show_without_any_settings(say: Any, tmp_path: Path) -> None:
    assert "local.workers not set default FIDUCIAL_WORKERS" in say("config", "show").lines
    assert say("config", "show", "--json").json["ledger"] == f"sqlite:///{tmp_path}/.fiducial/ledger.db"


def test_the_environment_wins_over_the_project_and_that_over_the_user(
    say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say("config", "init", "--user")
    user, project = settings.user_file(), tmp_path / "fiducial.toml"
    user.write_text('[local]\nworkers = 2\nmemory = "2 GB"\n')
    project.write_text('[local]\nworkers = 4\n\n[ledger]\nurl = "sub/l.db"\n')
    monkeypatch.setenv("FIDUCIAL_LEDGER", "postgresql://user:secret@host/ledger")
    found = by_key(say("config", "show", "--json"))
    assert (found["local.workers"]["value"], found["local.workers"]["source"]) == (4, str(project))
    assert (found["local.memory"]["value"], found["local.memory"]["source"]) == ("2 GB", str(user))
    assert found["ledger.url"]["source"] == "environment FIDUCIAL_LEDGER"


def test_a_password_is_never_shown(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIDUCIAL_LEDGER", "postgresql://user:se:cr@host/ledger")
    for words in (["config", "show"], ["config", "show", "--json"]):
        said = say(*words)
        assert "postgresql://user:***@host/ledger" in said.out
        assert "se:cr" not in said.out


def test_init_writes_every_setting_commented_out(say: Any, tmp_path: Path) -> None:
    assert say("config", "init").code == 0
    text = (tmp_path / "fiducial.toml").read_text()
    assert tomllib.loads(text) == {"ledger": {}, "local": {}, "run": {}, "alignment": {}}
    bare = "\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line or line.startswith("["))
    values = tomllib.loads(bare)
    assert {f"{section}.{name}" for section, named in values.items() for name in named} == settings.KEYS.keys()
    (tmp_path / "fiducial.toml").write_text(bare)
    assert say("config", "show").code == 0


def test_init_overwrites_nothing(say: Any, tmp_path: Path) -> None:
    (tmp_path / "fiducial.toml").write_text("# mine\n")
    assert say("config", "init").code == 5
    assert (tmp_path / "fiducial.toml").read_text() == "# mine\n"


def test_path(say: Any, tmp_path: Path) -> None:
    say("config", "init")
    assert say("config", "path").out.splitlines() == [
        f"{tmp_path}/fiducial.toml",
        f"{tmp_path}/config/fiducial/fiducial.toml  (not there)",
    ]


@pytest.mark.parametrize(
    ("content", "error", "hint"),
    [
        ("[local]\nwrokers = 2\n", "unknown setting 'local.wrokers'", "did you mean 'local.workers'?"),
        ("local = 3\n", "unknown setting 'local'", "known: "),
        ("[local\n", "not TOML", ""),
        ("[local]\nworkers = 0\n", "local.workers: '0' does not fit", "jobs that run at a time"),
        ('[local]\nworkers = "many"\n', "local.workers: 'many' does not fit", "jobs that run at a time"),
        ('[local]\nmemory = "much"\n', "local.memory: 'much' does not fit", '"16 GB"'),
    ],
)
def test_a_file_that_is_off(content: str, error: str, hint: str, say: Any, tmp_path: Path) -> None:
    (tmp_path / "fiducial.toml").write_text(content)
    said = say("config", "show")
    assert said.code == 3
    assert f"{tmp_path}/fiducial.toml" in said.err
    assert error in said.err
    assert hint in said.err


def test_an_environment_that_is_off(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIDUCIAL_WORKERS", "two")
    said = say("config", "show")
    assert (said.code, "environment FIDUCIAL_WORKERS" in said.err) == (3, True)


def test_the_nearest_project_is_taken_but_none_that_everybody_may_write_to(tmp_path: Path) -> None:
    inner = tmp_path / "project" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "fiducial.toml").touch()
    assert settings.find_project(inner) == tmp_path / "project"
    (tmp_path / "project").chmod(0o1777)
    assert settings.find_project(inner) == inner
    assert settings.find_project(tmp_path / "project") == tmp_path / "project", "who stands in it means it"
