"""PBS's command lines, and its answers as they are documented, in both dialects."""

from __future__ import annotations

import json

import pytest

from commandlines import DATA, TOKEN, after, bundle_of, site_of
from fiducial.batch.pbs import parse, reasons, render
from fiducial.batch.pbs.system import _FULL, _GONE, _TRANSIENT
from fiducial.batch.queue.system import Ref, Status
from fiducial.core.errors import BackendError

SERVER = "pbs.example.org"
NATIVES = [f"{number}.{SERVER}" for number in ("1[]", "2[]", "3", "4", "5", "6[]")]
MARKS = ("c1", "c2", "c3", "c4", "c6", "c5")
OPENPBS = {native: f"camp.reco.01.fd000000000000{mark}" for native, mark in zip(NATIVES, MARKS, strict=True)}
TORQUE = {native: f"fd00000000000{mark}" for native, mark in zip(NATIVES, MARKS, strict=True)}


def read(name: str) -> str:
    return (DATA / "pbs" / name).read_text()


def openpbs(name: str) -> dict[Ref, Status]:
    return parse.jobs(parse.openpbs_records(read(f"openpbs/{name}")), OPENPBS, "openpbs")


def torque() -> dict[Ref, Status]:
    return parse.jobs(parse.torque_records(read("torque/qstat.xml")), TORQUE, "torque")


# ------------------------------------------------------------------------------------------------ command lines


def test_openpbs_is_asked_for_a_chunk() -> None:
    site = site_of("pbs", queue="long", account="calib", project="ds", requirements="cputype=rome")
    words = render.submission(bundle_of(site, cpus=4, memory=2**30, wall_time=24 * 3600, cpu_time=3600), site)
    assert after(words, "-J") == ["1-3"]
    assert after(words, "-N") == [f"camp.reco.01.{TOKEN}"]
    assert after(words, "-l") == [
        "select=1:ncpus=4:mem=1056mb:cputype=rome",
        "walltime=24:01:30",
        "cput=01:01:30",
    ]
    assert (after(words, "-q"), after(words, "-A"), after(words, "-P")) == (["long"], ["calib"], ["ds"])


def test_torque_is_asked_for_nodes_and_a_short_name() -> None:
    site = site_of("pbs", dialect="torque", requirements="el9")
    words = render.submission(bundle_of(site, cpus=4, memory=2**30), site)
    assert (after(words, "-t"), after(words, "-N")) == (["1-3"], [TOKEN[:15]])
    assert after(words, "-l") == ["nodes=1:ppn=4:el9", "mem=1056mb"]


def test_a_single_job_is_no_array() -> None:
    site = site_of("pbs")
    assert "-J" not in render.submission(bundle_of(site, count=1), site)


def test_the_line_of_an_older_production_system_can_be_had() -> None:
    keys = {"dialect": "torque", "chunk": "", "queue": "prod", "memory": "1000 MB", "cputime": "24:00"}
    resources = ["mem", "vmem", "pvmem", "pmem"]
    site = site_of("pbs", **keys, memory_resources=resources, extra=["-V"])
    words = render.submission(bundle_of(site), site)
    assert after(words, "-l") == [*(f"{name}=1032mb" for name in resources), "cput=24:01:30"]
    for option, value in (("-m", "n"), ("-r", "n"), ("-j", "oe"), ("-q", "prod")):
        assert after(words, option) == [value]
    assert words[-2:] == ["-V", "pbs.sh"]


def test_orders_name_jobs_as_each_dialect_wants_them() -> None:
    refs = [Ref(NATIVES[0], 1), Ref(NATIVES[0], 2), Ref(NATIVES[0], 5), Ref(NATIVES[2], 1)]
    assert render.subjobs(refs) == [f"1[1-2].{SERVER}", f"1[5].{SERVER}", f"3.{SERVER}"]
    assert render.arrays(refs) == [["-t", "1-2,5", NATIVES[0]], [NATIVES[2]]]


# ------------------------------------------------------------------------------------------------------ answers


def test_the_name_of_a_submission_is_read() -> None:
    assert parse.submitted(read("openpbs/qsub.txt")) == NATIVES[0]
    assert parse.submitted("your quota is low\n77.server\n") == "77.server"
    with pytest.raises(BackendError) as caught:
        parse.submitted("")
    assert caught.value.transient


@pytest.mark.parametrize("found", [openpbs("qstat.json"), torque()], ids=["openpbs", "torque"])
def test_states_of_all_jobs_are_read_from_one_answer(found: dict[Ref, Status]) -> None:
    assert [found[Ref(NATIVES[0], place)].state for place in (1, 2, 3)] == ["running", "ended", "running"]
    assert found[Ref(NATIVES[0], 2)].cause == "removed"
    assert found[Ref(NATIVES[0], 1)].host == "node1"
    assert found[Ref(NATIVES[0], 1)].at is not None
    assert found[Ref(NATIVES[5], 5)].state == "held"
    assert "by its owner" in found[Ref(NATIVES[5], 5)].reason


def test_an_array_that_is_held_holds_what_waits_of_it() -> None:
    found = openpbs("qstat.json")
    states = [found[Ref(NATIVES[5], place)].state for place in range(1, 6)]
    assert "running" in states
    assert states[-1] == "held"
    assert "pending" not in states


@pytest.mark.parametrize("found", [openpbs("qstat-history.json"), torque()], ids=["openpbs", "torque"])
def test_the_history_tells_how_jobs_ended(found: dict[Ref, Status]) -> None:
    ends = {(ref.native[0], ref.place): found[ref] for ref in found if found[ref].state == "ended"}
    assert (ends["2", 1].exit_code, ends["2", 2].exit_code) == (0, 71)
    assert [ends[key].cause for key in (("1", 2), ("3", 1), ("4", 1), ("5", 1))] == [
        "removed",
        "memory",
        "lost",
        "wall_time",
    ]
    assert ends["4", 1].signal == 9


def test_a_job_of_somebody_else_under_our_number_is_passed_over() -> None:
    records = list(parse.openpbs_records(read("openpbs/qstat.json")))
    assert parse.jobs(records, {NATIVES[0]: "camp.other"}, "openpbs") == {}


def test_a_submission_is_found_by_its_name() -> None:
    found = parse.numbers(parse.openpbs_records(read("openpbs/qstat.json")))
    assert found[OPENPBS[NATIVES[5]]] == NATIVES[5]
    assert parse.numbers(parse.torque_records(read("torque/qstat.xml")))[TORQUE[NATIVES[5]]] == NATIVES[5]


def test_an_empty_or_odd_answer_is_understood() -> None:
    assert list(parse.openpbs_records("")) == list(parse.torque_records("")) == []
    assert list(parse.openpbs_records(read("openpbs/qstat-unknown.txt").partition("qstat:")[0])) == []
    odd = '{"Jobs": {"1.s": {"Job_Name": "x", "job_state": "Q", "Variable_List": {"A": "C:\\data\\new\t"}}}}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(odd)
    assert next(parse.openpbs_records(odd))["job_name"] == "x"


def over(**fields: str) -> Status:
    return reasons.ending(fields, "openpbs")


def test_exit_status_is_told_by_its_range() -> None:
    assert over(exit_status="3").exit_code == 3
    assert (over(exit_status="265", substate="92").cause, over(exit_status="265").signal) == ("lost", 9)
    assert over(exit_status="271", substate="91").cause == "removed"
    assert over(exit_status="-1").cause == "environment"
    assert over(exit_status="-3").cause == "lost"
    assert over(exit_status="-29").cause == "wall_time"
    assert over(substate="91").cause == "removed"


def test_a_job_that_was_stopped_at_a_limit_was_over_it() -> None:
    limits = {"used.walltime": "01:00:03", "asked.walltime": "01:00:00", "used.mem": "10kb", "asked.mem": "1gb"}
    assert over(exit_status="271", **limits).cause == "wall_time"
    assert over(exit_status="77", **limits).cause == "wall_time"
    assert over(exit_status="3", **limits).cause == ""
    assert over(exit_status="77").cause == ""
    assert reasons.ending({"exit_status": "77"}, "torque").cause == "removed"


def test_torque_has_numbers_of_its_own() -> None:
    assert reasons.ending({"exit_status": "-11"}, "torque").cause == "wall_time"
    assert reasons.ending({"exit_status": "-10"}, "torque").cause == "memory"
    assert reasons.ending({"exit_status": "-10"}, "openpbs").cause == "environment"


def test_trouble_that_passes_is_told_from_a_refusal() -> None:
    assert _TRANSIENT.search("qstat: cannot connect to server pbs (errno=15010)")
    assert _FULL.search("qsub: would exceed queue workq's per-user limit of jobs")
    assert not _TRANSIENT.search(read("openpbs/qsub-refused.txt"))
    assert _GONE.search(read("openpbs/qstat-unknown.txt"))
