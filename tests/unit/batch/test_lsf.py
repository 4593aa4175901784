"""LSF's command lines, and its answers as they are documented."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commandlines import DATA, NAME, after, bundle_of, site_of
from fiducial.batch.lsf import parse, reasons, render
from fiducial.batch.lsf.system import _GONE, _TRANSIENT
from fiducial.batch.queue.system import Ref
from fiducial.core.errors import BackendError

NAMES = {
    "1": "camp.reco.01.fd000000000000b1",
    "2": "camp.code.01.fd000000000000b2",
    "3": "camp.mem.01.fd000000000000b3",
    "4": "camp.sig.01.fd000000000000b4",
    "5": "camp.wait.01.fd000000000000b5",
}
JANUARY = datetime(2027, 1, 3, tzinfo=UTC)


def read(name: str) -> str:
    return (DATA / "lsf" / name).read_text()


# ------------------------------------------------------------------------------------------------ command lines


def test_a_submission_asks_for_what_the_jobs_need() -> None:
    site = site_of("lsf", queue="long", account="calib", user_group="atlas", requirements="select[el9]")
    words = render.submission(bundle_of(site, cpus=4, memory=2**30, wall_time=24 * 3600, cpu_time=3600), site)
    assert words[:5] == ["bsub", "-J", f"{NAME}[1-3]", "-rn", "-oo"]
    assert (after(words, "-q"), after(words, "-P"), after(words, "-G")) == (["long"], ["calib"], ["atlas"])
    assert (after(words, "-W"), after(words, "-c")) == (["24:02"], ["01:02"])
    assert after(words, "-n") == ["4"]
    assert after(words, "-R") == ["span[hosts=1]", "select[el9]", "rusage[mem=1056]"]
    assert after(words, "-M") == [str(1056 * 1024)]


@pytest.mark.parametrize(
    ("unit", "limit", "reserve"), [(None, 1048576, 1024), ("KB", 1048576, 1048576), ("MB", 1024, 1024), ("GB", 1, 1)]
)
def test_memory_is_in_the_unit_of_the_cluster(unit: str | None, limit: int, reserve: int) -> None:
    site = site_of("lsf", **({"memory_unit": unit} if unit else {}))
    words = render.submission(bundle_of(site, memory=2**30 - 2**25), site)
    assert (after(words, "-M"), after(words, "-R")) == ([str(limit)], [f"rusage[mem={reserve}]"])


def test_the_line_of_an_older_production_system_can_be_had() -> None:
    keys = {"queue": "dampe", "requirements": "centos7 && rusage[mem={memory}]", "memory": "1000 MB"}
    site = site_of("lsf", **keys, cputime="24:00", memory_limit=False, extra=["-sp", "50"])
    words = render.submission(bundle_of(site), site)
    assert after(words, "-c") == ["24:02"]
    assert after(words, "-R") == ["centos7 && rusage[mem=1032]"]
    assert words[-3:-1] == ["-sp", "50"]


def test_the_line_of_an_older_calibration_daemon_can_be_had() -> None:
    site = site_of("lsf", queue="atlascaf", user_group="u_ATLASCAF")
    words = render.submission(bundle_of(site, count=1), site)
    assert after(words, "-J") == [f"{NAME}[1]"]
    assert words[5:-1] == ["logs/%I.txt", "-q", "atlascaf", "-G", "u_ATLASCAF"]


def test_requirements_that_name_a_memory_which_nobody_says_are_refused() -> None:
    site = site_of("lsf", requirements="rusage[mem={memory}]")
    with pytest.raises(BackendError, match=r"\{memory\}") as caught:
        render.submission(bundle_of(site), site)
    assert not caught.value.transient


def test_the_command_is_quoted_for_the_shell_that_reads_it() -> None:
    site = site_of("lsf")
    assert render.submission(bundle_of(site), site)[-1].startswith("""'/shared/Müller'"'"'s data, 50 %: a/""")


def test_times_are_hours_and_minutes_for_one_number_would_be_minutes() -> None:
    assert [render.minutes(seconds) for seconds in (1, 60, 5400, 360_000)] == ["00:01", "00:01", "01:30", "100:00"]


def test_elements_are_named_by_ranges() -> None:
    assert render.elements([Ref("7", 1), Ref("7", 2), Ref("7", 5), Ref("8", 1)]) == ["7[1-2,5]", "8[1]"]


# ------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    "answer", [read("bsub.txt"), "Please wait ...\nJob <1> is submitted to default queue <normal>.\n"]
)
def test_the_number_of_a_submission_is_read(answer: str) -> None:
    assert parse.submitted(answer) == "1"


def test_states_of_all_elements_are_read_from_one_answer() -> None:
    found = parse.jobs(read("bjobs.json"), NAMES)
    states = {ref: status.state for ref, status in found.items()}
    assert [states[Ref("1", place)] for place in (1, 2, 3)] == ["running", "ended", "running"]
    assert states[Ref("5", 5)] == "held"
    assert found[Ref("1", 1)].host == "node1"
    assert found[Ref("2", 1)].exit_code == 0
    assert found[Ref("2", 2)].exit_code == 71
    causes = {ref: found[ref].cause for ref in (Ref("1", 2), Ref("3", 1), Ref("4", 1))}
    assert list(causes.values()) == ["removed", "memory", "lost"]


def test_noise_foreign_jobs_and_jobs_that_are_gone_are_passed_over() -> None:
    found = parse.jobs(read("documented.json"), {"7": "camp.a.01.fd1", "8": "x"}, lambda: JANUARY)
    assert {ref.native for ref in found} == {"7"}
    assert parse.jobs(read("documented.json"), {"7": "camp.other.01.fd1"}) == {}
    assert parse.jobs(read("bjobs-unknown.txt"), {"99": "x"}) == {}
    assert parse.jobs("No unfinished job found\n", {"99": "x"}) == {}


def test_what_is_documented_is_understood() -> None:
    found = parse.jobs(read("documented.json"), {"7": "camp.a.01.fd1"}, lambda: JANUARY)
    said = [(found[Ref("7", place)].state, found[Ref("7", place)].cause) for place in range(1, 8)]
    assert said == [
        ("running", ""),
        ("pending", ""),
        ("ended", "wall_time"),
        ("ended", "lost"),
        ("running", ""),
        ("running", ""),
        ("ended", "lost"),
    ]
    assert found[Ref("7", 1)].host == "node7"
    assert found[Ref("7", 2)].reason == "New job is waiting for scheduling"
    assert found[Ref("7", 3)].at == datetime(2026, 12, 28, 20, 56, tzinfo=UTC).timestamp()
    assert "lost contact" in found[Ref("7", 6)].reason


def test_a_time_without_a_year_is_the_last_one_that_it_can_be() -> None:
    assert (
        parse.time_of("Feb  2 07:48 L", datetime(2028, 3, 1, tzinfo=UTC))
        == datetime(2028, 2, 2, 7, 48, tzinfo=UTC).timestamp()
    )
    assert parse.time_of("Feb 29 07:48", datetime(2028, 3, 1, tzinfo=UTC)) is not None
    assert parse.time_of("-", JANUARY) is None


def test_histories_tell_how_elements_ended() -> None:
    found = parse.histories(read("bhist.txt"), NAMES)
    assert Ref("1", 1) not in found
    ends = {ref: (status.cause, status.exit_code) for ref, status in found.items()}
    assert ends == {
        Ref("1", 2): ("removed", None),
        Ref("2", 1): ("", 0),
        Ref("2", 2): ("", 71),
        Ref("3", 1): ("memory", None),
        Ref("4", 1): ("lost", None),
    }
    assert found[Ref("3", 1)].host == "node1"
    assert parse.histories(read("bhist.txt"), {"1": "camp.other"}) == {}


def test_a_submission_is_found_by_its_name() -> None:
    assert parse.numbers(read("bjobs.json"))["camp.sig.01.fd000000000000b4"] == "4"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", "wall_time"),
        ("TERM_CPULIMIT: job killed after reaching LSF CPU usage limit", "cpu_time"),
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "memory"),
        ("TERM_OWNER: job killed by owner", "removed"),
        ("TERM_PREEMPT: job killed after preemption", "lost"),
        ("TERM_NEW_IN_A_LATER_VERSION: what it means", "lost"),
    ],
)
def test_reasons_have_causes(reason: str, cause: str) -> None:
    assert reasons.ending(reason, 140).cause == cause


def test_trouble_that_passes_is_told_from_a_refusal() -> None:
    assert _TRANSIENT.search("Cannot connect to LSF. Please wait ...")
    assert _TRANSIENT.search("batch daemon not responding ... still trying")
    assert not _TRANSIENT.search(read("bsub-refused.txt"))
    assert _GONE.search(read("bkill-gone.txt"))
