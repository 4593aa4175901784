"""Grid Engine's command lines, and its answers as they were recorded."""

from __future__ import annotations

import pytest

from commandlines import DATA, FOLDER, NAME, after, bundle_of, site_of
from fiducial.batch.gridengine import parse, reasons, render
from fiducial.batch.queue.system import Ref
from fiducial.core.errors import BackendError

NAMES = {
    "1": "camp.reco.01.fd000000000000a1",
    "2": "camp.hold.01.fd000000000000a2",
    "3": "camp.bad.01.fd000000000000a3",
    "4": "camp.long.01.fd000000000000a4",
    "5": "camp.cpu.01.fd000000000000a5",
    "6": "camp.scpu.01.fd000000000000a6",
    "7": "camp.kid.01.fd000000000000a7",
    "8": "camp.code.01.fd000000000000a8",
    "9": "camp.soft.01.fd000000000000a9",
    "10": "camp.wait.01.fd00000000000aaa",
}


def read(name: str) -> str:
    return (DATA / "gridengine" / name).read_text()


def test_a_submission_asks_for_what_the_jobs_need() -> None:
    site = site_of("gridengine", queue="long.q", account="calib", requirements="os=el9,arch=lx-amd64")
    words = render.submission(bundle_of(site, cpus=4, memory=2**30, wall_time=24 * 3600, cpu_time=3600), site)
    assert words[:6] == ["qsub", "-terse", "-N", NAME, "-t", "1-3"]
    assert after(words, "-l") == ["os=el9,arch=lx-amd64", "mem_free=1056M", "h_rt=24:01:30", "h_cpu=01:01:30"]
    assert (after(words, "-q"), after(words, "-P")) == (["long.q"], ["calib"])
    assert words[words.index("-pe") :][:3] == ["-pe", "smp", "4"]
    assert words[-1] == "gridengine.sh"


def test_memory_may_count_for_each_core_and_be_virtual() -> None:
    site = site_of("gridengine", memory_resources=["h_vmem", "s_vmem"], memory_per_slot=True, memory_margin="4 GB")
    words = render.submission(bundle_of(site, cpus=4, memory=4 * 2**30), site)
    assert after(words, "-l") == ["h_vmem=2056M", "s_vmem=2056M"]


def test_the_line_of_an_older_workflow_can_be_had() -> None:
    keys = {"memory_resources": "vmem", "cpu_resources": "ct", "memory": "1000 MB", "cputime": "24:00", "extra": ["-V"]}
    site = site_of("gridengine", **keys)
    words = render.submission(bundle_of(site), site)
    assert after(words, "-l") == ["vmem=1032M", "ct=24:01:30"]
    assert (after(words, "-m"), after(words, "-j"), words[-2]) == (["n"], ["y"], "-V")


def test_the_script_starts_a_job_whatever_the_folder_is_called() -> None:
    text = render.script(bundle_of(site_of("gridengine")))
    assert text.startswith("#!/bin/bash\n")
    assert f"""'/shared/Müller'"'"'s data, 50 %: a/{FOLDER.name}/start' "$SGE_TASK_ID"\n""" in text
    assert ":" not in render.LOGS


def test_tasks_are_named_by_ranges() -> None:
    refs = [Ref("7", 1), Ref("7", 2), Ref("7", 5), Ref("8", 1)]
    assert render.tasks(refs) == ["7.1-2", "7.5", "8.1"]


def test_the_number_of_a_submission_is_read_among_other_words() -> None:
    assert parse.submitted(read("qsub.txt")) == "1"
    assert parse.submitted("warning: your quota is low\n17.1-3:1\n") == "17"
    with pytest.raises(BackendError) as caught:
        parse.submitted("nothing of use")
    assert caught.value.transient


def test_states_of_all_tasks_are_read_from_one_answer() -> None:
    found = parse.jobs(read("qstat.xml"), NAMES)
    states = {ref: status.state for ref, status in found.items()}
    assert {states[Ref("1", place)] for place in range(1, 7)} == {"running"}
    assert [states[Ref("2", place)] for place in (1, 2, 3)] == ["held"] * 3
    assert [states[Ref("3", place)] for place in (1, 2)] == ["held"] * 2
    assert [states[Ref("10", place)] for place in (1, 2, 3)] == ["pending"] * 3
    running = found[Ref("1", 1)]
    assert (running.host, found[Ref("1", 2)].reason) == ("node1", "being deleted")
    assert running.at is not None
    assert found[Ref("2", 1)].at is None


def test_a_job_of_somebody_else_under_our_number_is_passed_over() -> None:
    assert parse.jobs(read("qstat.xml"), {"1": "camp.reco.01.fd999"}) == {}
    assert parse.records(read("qacct.txt"), {"8": "camp.code.01.fd999"}) == {}


def test_a_submission_is_found_by_its_name() -> None:
    assert parse.numbers(read("qstat.xml"))["camp.hold.01.fd000000000000a2"] == "2"


def test_a_submission_that_is_over_is_found_in_the_accounts() -> None:
    assert parse.accounted(read("qacct.txt").rpartition("camp.reco")[0]) is not None
    assert parse.accounted(read("qacct-unknown.txt")) is None


def test_why_a_task_is_in_the_error_state() -> None:
    found = parse.errors(read("qstat-j.txt"))
    assert set(found) == {Ref("3", 1), Ref("3", 2)}
    wanted = 'Grid Engine could not start it (Eqw): can\'t stat() "/data/campaign/afile/1.txt" as stdout_path: '
    assert found[Ref("3", 1)] == wanted + "Not a directory"


@pytest.mark.parametrize(
    ("ref", "cause", "exit_code", "signal"),
    [
        (Ref("1", 2), "removed", None, 9),
        (Ref("3", 1), "environment", None, None),
        (Ref("4", 1), "wall_time", None, 9),
        (Ref("5", 1), "cpu_time", None, 9),
        (Ref("6", 1), "cpu_time", None, 24),
        (Ref("7", 1), "lost", None, 9),
        (Ref("8", 3), "", 72, None),
        (Ref("9", 1), "wall_time", None, 10),
    ],
)
def test_the_accounting_tells_how_a_task_ended(ref: Ref, cause: str, exit_code: int | None, signal: int | None) -> None:
    status = parse.records(read("qacct.txt"), NAMES)[ref]
    assert (status.state, status.cause, status.exit_code, status.signal) == ("ended", cause, exit_code, signal)
    assert status.host == "node1"


def test_an_unknown_job_has_no_record() -> None:
    assert parse.records(read("qacct-unknown.txt"), NAMES) == {}


def test_a_task_over_its_memory_is_told_by_the_most_that_it_used() -> None:
    record = {"failed": "100 : assumedly after job", "exit_status": "137 (Killed)", "slots": "2"}
    asked = {"category": "-l h_rt=3600,h_vmem=1G -pe smp 2", "maxvmem": "1.98GB", "ru_wallclock": "12s"}
    assert reasons.ending({**record, **asked}).cause == "memory"
    assert reasons.ending({**record, **asked, "maxvmem": "0.5GB"}).cause == "removed"


def test_a_node_that_failed_is_not_the_jobs_fault() -> None:
    status = reasons.ending({"failed": "21  : in recognizing job", "exit_status": "0"})
    assert (status.cause, status.reason) == ("lost", "its node failed: in recognizing job")


def test_an_answer_that_is_no_xml_is_asked_for_again() -> None:
    with pytest.raises(BackendError) as caught:
        parse.jobs("<job_info><queue", NAMES)
    assert caught.value.transient


def test_suspended_tasks_run_and_held_ones_wait() -> None:
    assert reasons.state("s")[0] == reasons.state("S")[0] == reasons.state("Rr")[0] == "running"
    assert reasons.state("hqw")[0] == "held"
    assert reasons.state("hr")[0] == "running"
