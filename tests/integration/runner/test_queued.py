"""The runner as a batch system starts it: one job of a submission, with marks for the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fiducial.batch.queue.journal import Journal
from fiducial.batch.queue.requests import kinds_of
from fiducial.batch.queue.system import Bundle
from fiducial.batch.site import Site
from fiducial.runner import runner
from queues import Rig


def bundle_of(folder: Path, *, shared: bool, scripts: list[str]) -> Bundle:
    rig = Rig(folder)
    site = Site(name="s", backend="fake", shared=shared, python=sys.executable)
    specs = [rig.spec(job, argv=None, script=script, metrics=None, outputs=[]) for job, script in enumerate(scripts, 1)]
    [(request, _)] = kinds_of(specs, site)
    return Journal(folder / "it's a queue", site).write(specs, request, "c.reco.01")


def start(bundle: Bundle, place: int) -> int:
    return subprocess.run([str(bundle.start), str(place)], check=False).returncode


@pytest.mark.parametrize("shared", [True, False])
def test_each_place_starts_its_own_job(tmp_path: Path, shared: bool) -> None:
    bundle = bundle_of(tmp_path, shared=shared, scripts=[f"exit {n}" for n in range(12)])
    codes = [start(bundle, place) for place in (1, 2, 12)]
    assert codes == [0, runner.EXIT_CODES["exit"], runner.EXIT_CODES["exit"]]
    results = [json.loads((bundle.directories[place - 1] / "result.json").read_text()) for place in (1, 2, 12)]
    assert [(result["job"], result["exit_code"]) for result in results] == [(1, 0), (2, 1), (12, 11)]
    assert sorted(Journal.marks(bundle, "ended")) == [1, 2, 12]
    assert Journal.marks(bundle, "ended") == []


def test_a_long_payload_leaves_a_mark_when_it_runs(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, shared=True, scripts=["sleep 0.6"])
    assert start(bundle, 1) == 0
    assert Journal.marks(bundle, "begun") == [1]


def test_a_second_start_is_refused_and_leaves_no_mark(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, shared=True, scripts=["true"])
    assert start(bundle, 1) == 0
    Journal.marks(bundle, "ended")
    assert start(bundle, 1) == runner.EXIT_CODES["refused"]
    assert Journal.marks(bundle, "ended") == []


def test_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, shared=True, scripts=["true"])
    assert start(bundle, 7) == runner.EXIT_CODES["spec"]
