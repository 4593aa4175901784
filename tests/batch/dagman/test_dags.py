"""Whole campaigns by a real DAGMan: written, moved, submitted by hand, followed, failed, rescued, held, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import calypso
from pools.condor import CondorPool
from processes import wait_for
from sites import Site
from tune import FIDUCIAL, TUNE, Place, traces_agree


class AtPool(Place):
    """A place at a pool of HTCondor."""

    def condor(self, *words: str, folder: Path | None = None) -> str:
        return str(self.pool.run(*words, folder=folder or self.folder))

    def wait_for_end(self, dag: Path, times: int = 1) -> None:
        """Until DAGMan has ended so often."""
        out = Path(f"{dag}.dagman.out")
        said = "EXITING WITH STATUS"
        wait_for(lambda: out.exists() and out.read_text(errors="replace").count(said) >= times, f"end of {dag}", 120)


@pytest.fixture
def place(tmp_path: Path, condor_pool: CondorPool) -> Iterator[AtPool]:
    folder = tmp_path / "ein Ort ø"
    folder.mkdir()
    made = AtPool(Site(folder), condor_pool)
    made.site.write(TUNE, "tune")
    try:
        yield made
        if made.site.ledger.exists():
            made.site.check()
    finally:
        condor_pool.clear()


def test_faser_by_hand_in_a_folder_that_was_moved(place: AtPool) -> None:
    """The seeds' folder, their commands, and convergence; followed only after it has ended."""
    site = calypso.build(place.folder / "a site")
    site.take_data("450-452", 300)
    words = ["-y", "2023", "-r", "011705", "-f", "450-452", "-i", "3", "--threshold", "20", *site.options()]
    words += ["--calypso_path", str(site.calypso), "--backend", "dagman"]
    (site.source / "broken-00451").write_text("x")
    told = json.loads(place.fiducial("align", *words, "--json"))
    assert (told["nodes"], told["submitted"]) == (9, None)
    name = "Y2023_R011705_F450-452"
    moved = place.folder / "wo anders ü" / name
    moved.parent.mkdir()
    (place.folder / name).rename(moved)
    for path in ("alignment.dag", "iter01/pre_reco.sh", "iter01/1reco/reco.sub", "iter01/1reco/logs",
                 "iter01/2kfalignment", "iter02/3millepede/millepede.sub",
                 "iter02/3millepede/run_millepede.sh"):  # fmt: skip
        assert (moved / path).exists(), path
    place.condor("condor_submit_dag", "alignment.dag", folder=moved)
    place.wait_for_end(moved / "alignment.dag")
    assert json.loads((moved / "alignment.dag.metrics").read_text())["DagStatus"] == 0
    for path in ("iter02/1reco/inputforalign.txt", "iter01/2kfalignment/kfalignment_011705_00450.root", "report.html",
                 "iter02/3millepede/millepede.res", "alignment.dag.nodes.log", "alignment.dag.status"):  # fmt: skip
        assert (moved / path).stat().st_size, path
    assert not (moved / "iter03/1reco/inputforalign.txt").exists()
    assert (moved / "iter01/inputforalign.txt").read_bytes() == (moved / "iter02/1reco/inputforalign.txt").read_bytes()
    assert "converged" in (moved / "summary.txt").read_text()
    log = (moved / "iter01/1reco/logs/reco_00451.err").read_text()
    assert log == ""  # of the second attempt, which went well

    found = json.loads(place.fiducial("follow", str(moved), "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    assert found["reason"] == "converged after 2 iterations"
    assert place.job(f"{name}/reco/01/00451")["attempt"] == 2
    assert "DAGMan     ended, all is done" in place.fiducial("campaign", "show", name)
    traces_agree(place, moved)
    assert json.loads(place.fiducial("follow", str(moved), "--json"))["counts"] == found["counts"]


def test_rescue_twice_with_a_follower_that_is_killed(place: AtPool) -> None:
    gates = [place.gate(1, 1), place.gate(2, 3)]
    told = place.fiducial("run", "tune.toml", "--backend", "dagman", "--submit")
    assert "follow it: fiducial follow tune" in told
    dag = place.folder / "tune" / "tune.dag"
    follower = subprocess.Popen(
        [FIDUCIAL, "follow", "tune", "--quiet"], cwd=place.folder, env=place.environment, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: place.site.ledger.exists() and place.states().get("reco", {}).get("done"), "the first job", 60)
    place.fiducial("follow", "tune", code=5)  # one at a time
    follower.send_signal(signal.SIGKILL)
    follower.wait()
    place.wait_for_end(dag)
    said = place.fiducial("follow", "tune", code=1)
    assert "campaign tune failed: step reco of iteration 1: 1 failed of 4 jobs" in said
    assert "tune/reco/01/00001: failed: the payload ended with exit code 9" in said
    assert "| the gate is shut" in said
    assert "fiducial campaign resume tune submits what is left (by tune.dag.rescue002)" in said
    assert place.job("tune/reco/01/00001")["attempt"] == 1  # no retry would have mended it
    assert "failed" in (place.folder / "tune/summary.txt").read_text()

    for times, gate in enumerate(gates, 2):
        gate.unlink()
        assert "would be submitted" in place.fiducial("campaign", "resume", "tune", "--dry-run")
        place.fiducial("campaign", "resume", "tune")
        place.fiducial("follow", "tune", code=1 if times == 2 else 0)
        place.wait_for_end(dag, times)
    found = json.loads(place.fiducial("campaign", "show", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    assert (place.folder / "tune/report.txt").read_text().split() == ["4", "8"]
    assert [place.job(f"tune/reco/01/0000{n}")["attempt"] for n in (0, 1, 2)] == [1, 2, 2]
    traces_agree(place, place.folder / "tune")
    place.fiducial("campaign", "resume", "tune", code=5)


def test_rescue_dag_submitted_by_name_from_another_folder(tmp_path: Path, condor_pool: CondorPool) -> None:
    """The command of the seeds' guide, typed literally; after it the ways of today still work."""
    (tmp_path / "work").mkdir()
    place = AtPool(Site(tmp_path / "work"), condor_pool)
    place.site.write(TUNE, "tune")
    gates = [place.gate(1, 1), place.gate(2, 3)]
    place.fiducial("run", "tune.toml", "--backend", "dagman", "--submit")
    place.fiducial("follow", "tune", "--quiet", code=1)
    gates[0].unlink()
    said = place.condor("condor_submit_dag", "tune/tune.dag.rescue001")
    assert "submitted to cluster" in said
    place.fiducial("campaign", "resume", "tune", code=5)  # that DAGMan is at work
    said = place.fiducial("follow", "tune", code=1)
    assert "step reco of iteration 2: 1 failed of 4 jobs" in said
    assert "(by tune.dag.rescue004)" in said
    assert not Path(place.folder / "tune/tune.dag.rescue001.nodes.log").exists()
    assert [place.job(f"tune/reco/01/0000{n}")["attempt"] for n in (0, 1, 2)] == [1, 2, 2]
    gates[1].unlink()
    place.fiducial("campaign", "resume", "tune")
    found = json.loads(place.fiducial("follow", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    traces_agree(place, place.folder / "tune")
    place.site.check()


def test_held_and_released_by_hand_then_removed_and_resumed(place: AtPool) -> None:
    waiting = place.gate(1, 0, wait=True)
    place.fiducial("run", "tune.toml", "--backend", "dagman", "--submit")
    dag = place.folder / "tune" / "tune.dag"
    place.fiducial("campaign", "resume", "tune", code=5)  # DAGMan is at work, as the folder of that name says
    place.fiducial("campaign", "show", "tune", code=4)  # nobody has followed it yet
    wait_for(lambda: (place.folder / "tune/.fiducial/reco/01/00000.1").exists(), "the job that waits", 60)
    place.condor("condor_hold", "-constraint", 'DAGNodeName == "reco_01_00000"')
    wait_for(lambda: "012 (" in Path(f"{dag}.nodes.log").read_text(), "the hold")
    place.fiducial("follow", "tune", "--once", "--quiet", code=5)  # it waits for a person
    assert place.states()["reco"]["held"] == 1
    shown = place.fiducial("campaign", "show", "tune")
    assert "tune/reco/01/00000: held: via condor_hold (by user" in shown
    assert "DAGMan     at work as job" in shown
    place.fiducial("campaign", "resume", "tune", code=5)

    place.condor("condor_release", "-constraint", 'DAGNodeName == "reco_01_00000"')
    wait_for(lambda: (place.folder / "tune/.fiducial/reco/01/00000.2").exists(), "the next attempt", 60)
    place.fiducial("follow", "tune", "--once", "--quiet")
    assert place.job("tune/reco/01/00000")["state"] == "running"

    assert "HTCondor was told" in place.fiducial("job", "hold", "tune/reco/01/00000")
    held = place.condor("condor_q", "-constraint", 'DAGNodeName == "reco_01_00000"', "-af", "JobStatus").split()
    assert held == ["5"]  # and not begun again by DAGMan
    assert place.job("tune/reco/01/00000")["state"] == "held"
    for code in (5, 0):  # first the ledger lets it go, then HTCondor
        assert "fiducial follow tune" in place.fiducial("job", "release", "tune/reco/01/00000")
        place.fiducial("follow", "tune", "--once", "--quiet", code=code)
    wait_for(lambda: (place.folder / "tune/.fiducial/reco/01/00000.3").exists(), "the attempt after it", 60)
    place.fiducial("follow", "tune", "--once", "--quiet")
    assert place.job("tune/reco/01/00000")["state"] == "running"
    cluster = json.loads(place.fiducial("campaign", "show", "tune", "--json"))["dagman"]["job"]
    place.condor("condor_rm", str(cluster))
    place.wait_for_end(dag)
    said = place.fiducial("follow", "tune")
    assert "DAGMan: was removed" in said
    before = place.states()["reco"]
    assert before["done"] >= 2
    place.fiducial("follow", "tune")  # again, and nothing changes
    assert place.states()["reco"] == before

    waiting.unlink()
    place.fiducial("campaign", "resume", "tune")
    place.fiducial("follow", "tune")
    assert place.states() == {"reco": {"done": 8}, "fit": {"done": 2}, "report": {"done": 1}}
    traces_agree(place, place.folder / "tune")


def test_what_was_begun_here_ends_as_a_dag(place: AtPool) -> None:
    gate = place.gate(2, 1)
    place.fiducial("run", "tune.toml", "--workers", "2", "--quiet", code=1)
    gate.unlink()
    plan = json.loads(place.fiducial("campaign", "export", "tune", "--to", "dagman", "--dry-run", "--json"))
    assert (plan["jobs"], plan["done"]) == (16, 8)
    place.fiducial("campaign", "export", "tune", "--to", "dagman", "--submit")
    place.fiducial("run", "tune.toml", code=5)  # it is DAGMan's by now
    found = json.loads(place.fiducial("follow", "tune", "--json"))
    assert (found["state"], found["converged"], found["iteration"]) == ("done", True, 2)
    nodes = (place.folder / "tune" / "tune.dag").read_text()
    assert nodes.count(" DONE\n") == 9  # eight jobs, and the node before the second iteration
    events = (place.folder / "tune" / "tune.dag.nodes.log").read_text()
    assert "DAG Node: reco_01" not in events
    assert "DAG Node: reco_02_00001" in events
    traces_agree(place, place.folder / "tune")


def test_a_dag_in_the_wrong_place_or_without_htcondor_says_so(place: AtPool) -> None:
    place.fiducial("run", "tune.toml", "--backend", "dagman")
    done = place.pool.ask("condor_submit_dag", "tune/tune.dag", folder=place.folder)
    assert done.returncode != 0
    assert "tune.dag.config" in done.stdout + done.stderr
    place.condor("condor_submit_dag", "-usedagdir", "tune/tune.dag")
    wait_for(lambda: (place.folder / "tune/.fiducial/reco/01/00000.1").exists(), "the first job", 60)
    place.fiducial("run", "tune.toml", "--backend", "dagman", "--submit", code=5)  # it was submitted before
    place.pool.clear()
    shutil.rmtree(place.folder / "tune")
    bare = {**os.environ, "PATH": "/usr/bin:/bin", "FIDUCIAL_LEDGER": str(place.site.ledger)}
    done = subprocess.run(
        [FIDUCIAL, "run", "tune.toml", "--backend", "dagman", "--submit"], cwd=place.folder, env=bare,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert "there is no command condor_submit_dag here" in done.stderr


def test_cancelled_with_all_its_nodes(place: AtPool) -> None:
    place.gate(1, 0, wait=True)
    place.fiducial("run", "tune.toml", "--backend", "dagman", "--submit")
    wait_for(lambda: (place.folder / "tune/.fiducial/reco/01/00000.1").exists(), "the job that waits", 60)
    place.fiducial("follow", "tune", "--once", "--quiet")
    assert "is taken out of the queue" in place.fiducial("campaign", "cancel", "tune")
    wait_for(lambda: not place.condor("condor_q", "-allusers", "-af", "ClusterId").strip(), "an empty queue", 60)
    place.fiducial("follow", "tune", "--quiet", code=1)
    found = json.loads(place.fiducial("campaign", "show", "tune", "--json"))
    assert (found["state"], found["dagman"]["phase"]) == ("cancelled", "over")
    assert found["counts"]["submitted"] == found["counts"]["running"] == found["counts"]["ready"] == 0
    assert place.job("tune/reco/01/00000")["state"] == "killed"
