"""``fiducial site test`` and ``run --site`` where a site is this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

WORKFLOW = """
format = 1
name = "w"
[steps.a]
script = "echo $GREETING > {{ output }}"
outputs = ["said.txt"]
"""


def fiducial(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FIDUCIAL")}
    command = [sys.executable, "-m", "fiducial", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_site_is_tried_out(tmp_path: Path) -> None:
    said = fiducial(tmp_path, "site", "test", "local", "--json")
    assert said.returncode == 0, said.stderr
    checks = {row["what"]: row for row in json.loads(said.stdout)["checks"]}
    assert {"submission", "latency", "jobs", "nodes", "python", "scratch"} <= set(checks)
    assert all(row["state"] == "ok" for row in checks.values())
    assert not (tmp_path / ".fiducial" / "site-test-local").exists()


def test_what_is_wrong_with_a_site_is_told_with_what_to_mend(tmp_path: Path) -> None:
    (tmp_path / "fiducial.toml").write_text('[sites.bad]\nbackend = "local"\nenvironment_script = "/nosuch"\n')
    said = fiducial(tmp_path, "site", "test", "bad")
    assert said.returncode == 6
    assert "jobs 1, 2, 3: environment: the environment script /nosuch failed" in said.stdout
    assert "-> run the site's environment_script by hand" in said.stdout
    assert (tmp_path / ".fiducial" / "site-test-bad").is_dir()
    assert fiducial(tmp_path, "site", "test", "bad").returncode == 6  # the same folder is used again


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    said = fiducial(tmp_path, "site", "test", "local", "--folder", "mine")
    assert said.returncode == 5
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_campaign_runs_with_what_the_site_adds(tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text("export GREETING=hello\n")
    (tmp_path / "w.toml").write_text(WORKFLOW)
    table = f'[sites.here]\nbackend = "local"\nenvironment_script = "{tmp_path}/setup.sh"\n'
    (tmp_path / "fiducial.toml").write_text(table)
    said = fiducial(tmp_path, "run", "w.toml", "--site", "here")
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "w" / "said.txt").read_text() == "hello\n"
    shown = json.loads(fiducial(tmp_path, "job", "show", "w/a", "--json").stdout)
    assert shown["attempts"][0]["site"] == "here"
