"""Scripts for a pede of the user's: its environment, and the call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import calypso
from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.environment import EnvironmentScript
from fiducial.alignment.faser.pede import Pede, PedeScripts, find_pede
from fiducial.alignment.faser.request import Request
from fiducial.core.errors import NotFoundError


@pytest.fixture
def install(tmp_path: Path) -> Path:
    folder = tmp_path / "pede of mine"
    folder.mkdir()
    (folder / "pede").write_text('#!/bin/sh\necho "$MARK" "$@" "$PATH"\n')
    (folder / "pede").chmod(0o755)
    return folder


def asked(**more: Any) -> Request:
    return Request(year=2023, run=1, files=range(1), environment_script=Path("/env.sh"), **more)


def test_pede_is_called_with_its_environment(install: Path, tmp_path: Path) -> None:
    root = tmp_path / "this root.sh"
    root.write_text("export MARK='from root'\n")
    scripts = PedeScripts(Pede(install, root=root), tmp_path / "campaign", fits=True)
    scripts.make()
    said = subprocess.run([scripts.call, "a b"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"from root a b {install}:")
    scripts.environment.write_text("export MARK=mine\n")
    scripts.make()
    assert scripts.environment.read_text() == "export MARK=mine\n"


def test_its_environment_alone_where_it_does_not_fit(install: Path, tmp_path: Path) -> None:
    named = tmp_path / "millepede_env.sh"
    planned = plan(asked(pede=Pede(install, named)), simulate=False)
    assert planned.pede is not None
    planned.pede.make()
    assert f"export PATH='{install}':$PATH\n" in named.read_text()
    assert os.access(named, os.X_OK)
    assert not planned.pede.call.exists()
    assert planned.source.workflow.variables["solve_options"] == []
    assert plan(asked(pede=Pede(None, named)), simulate=False).pede is None
    assert plan(asked(pede=Pede(install)), simulate=False).pede is None


def test_it_fits_where_that_is_wanted(install: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = plan(
        asked(pede=Pede(install), with_pede=True, variables={"solve_options": ["--threads", 2]}), simulate=False
    )
    assert planned.pede is not None
    planned.pede.look()
    options = planned.source.workflow.variables["solve_options"]
    assert options == ["--threads", 2, "--pede", f"{tmp_path}/Y2023_R000001_F0/pede.sh"]
    for pede, words in ((Pede(tmp_path), "no pede that can be run in"), (Pede(), "nothing says where it is")):
        missing = plan(asked(pede=pede, with_pede=True), simulate=False).pede
        assert missing is not None
        with pytest.raises(NotFoundError, match=words):
            missing.look()


def test_where_pede_is(install: Path) -> None:
    assert find_pede(install) == find_pede(install / "pede") == install / "pede"
    (install / "pede").chmod(0o644)
    assert find_pede(install) is None


def test_one_environment_script_for_both_finds_pede_too(install: Path, tmp_path: Path) -> None:
    site = calypso.build(tmp_path / "site")
    script = EnvironmentScript(tmp_path / "env.sh", site.calypso, install)
    script.make()
    assert script.path.read_text().endswith(
        f"export PATH='{install}':$PATH\nexport LD_LIBRARY_PATH='{install}'${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"
    )
    assert script.note == ""
    single = plan(asked(calypso=site.calypso, pede=Pede(install)), simulate=False).script
    double = plan(asked(calypso=site.calypso, pede=Pede(install, tmp_path / "m.sh")), simulate=False).script
    assert single is not None
    assert double is not None
    assert (single.pede, double.pede) == (install, None)
