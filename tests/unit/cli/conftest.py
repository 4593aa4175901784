from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campaigns import Stage, failure, step, success
from fiducial.cli.main import main


@dataclass
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.out.splitlines()]


Say = Callable[..., Said]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Give a command as a user would, in an empty folder and with no settings but its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("FIDUCIAL_LEDGER", "FIDUCIAL_WORKERS", "FIDUCIAL_MEMORY", "FIDUCIAL_SITE"):
        monkeypatch.delenv(variable, raising=False)

    def command(*words: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        return Said(int(stop.value.code or 0), *capsys.readouterr())

    return command


@pytest.fixture
def stage(stage: Stage, say: Say, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A ledger that the commands find; whatever they do, counters and histories must be right in the end."""
    monkeypatch.setenv("FIDUCIAL_LEDGER", stage.database.where)
    return stage


@pytest.fixture
def align(stage: Stage) -> Stage:
    """A campaign `align` in its second iteration: of four reconstructions one is done, one failed, two are ready."""
    campaign = stage.create(
        {
            "reco": step(
                fanout={"files": "450-454"}, iterate=True, retry={"max": 1}, outputs=["r_{{ iteration }}_{{ file }}"]
            ),
            "fit": step(after="reco", iterate=True, metrics=["shift"]),
            "report": step(after="fit"),
        },
        name="align",
        iteration={"max": 3, "until": "fit.shift < 0.1"},
    )
    output = {"key": "0", "path": "/data/r", "size": 7, "adler32": "0badcafe"}
    stage.end_all(stage.lease(campaign), success(outputs=[output]))
    stage.end_all(stage.lease(campaign), success(metrics={"shift": 0.5}))
    first, second = stage.lease(campaign, 2)
    stage.end(first)
    stage.end(second, failure(exit_code=3, message="the payload ended with exit code 3"))
    (again,) = stage.lease(campaign, 1)
    stage.end(again, failure(exit_code=3, message="the payload ended with exit code 3"))
    return stage
