"""What HTCondor is asked, and when: with logs that a test writes, and a scheduler that notes its questions."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.htcondor.render import LOG
from fiducial.batch.htcondor.schedd import SUBMISSION_LOCK, Action, Ad
from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.htcondor.system import KIND, HTCondor
from fiducial.batch.kinds import read_site
from fiducial.batch.queue.system import Bundle, Ref, Request
from fiducial.core.errors import BackendError, ConfigurationError
from queues import Clock

RUNNING = {"JobStatus": 2, "RemoteHost": "slot1@wn1"}


class FakeSchedd:
    """Says what it is told to, and notes what it was asked."""

    def __init__(self, name: str = "ap1") -> None:
        self.name = name
        self.queue: list[Ad] = []
        self.past: list[Ad] = []
        self.calls: list[tuple[str, str]] = []
        self.pool = ["ap1", "bigbird15.cern.ch"]
        self.down = False

    def listed(self) -> list[str]:
        if not self.pool:
            raise BackendError("HTCondor: communication error", transient=True)
        return self.pool

    def submit(self, description: str, folder: Path, *, spool: bool) -> int:
        if self.down:
            raise BackendError("HTCondor: condor_submit: Can't find address of schedd", transient=True)
        self.calls.append(("submit", "spool" if spool else ""))
        return 17

    def jobs(self, constraint: str, attributes: Sequence[str]) -> list[Ad]:
        self.calls.append(("jobs", constraint))
        return self.queue

    def history(self, constraint: str, attributes: Sequence[str], limit: int) -> list[Ad]:
        self.calls.append((f"history {limit}", constraint))
        return self.past

    def act(self, action: Action, constraint: str) -> None:
        self.calls.append((action, constraint))

    def retrieve(self, constraint: str) -> None:
        self.calls.append(("retrieve", constraint))


class Stand:
    """One submission of three jobs, its log, its scheduler."""

    def __init__(self, folder: Path, native: str = "ap1#17", **keys: Any) -> None:
        site = read_site("farm", {"backend": "htcondor", **keys}, "test")
        assert isinstance(site, HTCondorSite)
        self.clock = Clock()
        self.system = HTCondor(site, clock=self.clock)
        self.schedd = FakeSchedd()
        self.system.__dict__["_here"] = self.schedd
        request = Request("reco", 1, None, 600.0, None, site.wishes("reco"))
        keys_of = ((1, 1), (2, 1), (3, 1))
        directories = tuple(folder / f"attempts/{job}.1" for job, _ in keys_of)
        self.bundle = Bundle("fd1", "camp.reco.01", folder / "fd1", keys_of, directories, request, "ledger", native)
        self.bundle.folder.mkdir()

    def log(self, *events: tuple[int, int, str], cluster: int = 17) -> None:
        """Write events: kind, proc and lines."""
        with (self.bundle.folder / LOG).open("a") as file:
            for kind, proc, body in events:
                file.write(f"{kind:03d} ({cluster}.{proc:03d}.000) 2026-11-20 16:04:06 words\n{body}...\n")

    def news(self) -> dict[int, tuple[str, str]]:
        """State and cause by place."""
        found = self.system.news([self.bundle])
        assert {ref.native for ref in found} <= {self.bundle.native}
        return {ref.place: (status.state, status.cause) for ref, status in found.items()}

    def ad(self, proc: int, token: str = "fd1", **attributes: Any) -> Ad:
        return {"ClusterId": 17, "ProcId": proc, "FiducialToken": token, **attributes}

    def asked(self, what: str) -> int:
        return sum(call == what for call, _ in self.schedd.calls)


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


SUBMIT = [(0, proc, "") for proc in range(3)]
CODE = "\t(1) Normal termination (return value {})\n"
HELD = "\tvia condor_hold (by user jdoe)\n\tCode 1 Subcode 0\n"


def test_following_asks_nothing(stand: Stand) -> None:
    stand.log(*SUBMIT)
    assert stand.news() == dict.fromkeys((1, 2, 3), ("pending", ""))
    stand.log((1, 0, ""), (1, 1, ""), (5, 1, CODE.format(0)))
    assert stand.news() == {1: ("running", ""), 2: ("ended", "")}
    assert stand.news() == {}
    assert stand.schedd.calls == []


@pytest.mark.parametrize(
    ("name", "pool", "transient"),
    [
        ("bigbird16.cern.ch", ["ap1", "bigbird15.cern.ch"], False),
        ("bigbird15", ["ap1", "bigbird15.cern.ch"], True),
        ("bigbird16.cern.ch", [], True),  # the collector does not answer
    ],
)
def test_a_name_that_no_scheduler_bears_is_no_scheduler_that_is_down(
    tmp_path: Path, name: str, pool: list[str], transient: bool
) -> None:
    stand = Stand(tmp_path, schedd=name)
    stand.schedd.pool, stand.schedd.down = pool, True
    with pytest.raises(BackendError) as caught:
        stand.system.submit(stand.bundle)
    assert caught.value.transient == transient
    if not transient:
        assert "knows no scheduler 'bigbird16.cern.ch'" in caught.value.message
        assert "did you mean 'bigbird15.cern.ch'?" in caught.value.hint


def test_a_scheduler_that_took_a_submission_is_not_doubted_while_it_is_restarted(tmp_path: Path) -> None:
    stand = Stand(tmp_path, schedd="bigbird16.cern.ch")
    stand.system.submit(stand.bundle)
    stand.schedd.down = True
    with pytest.raises(BackendError) as caught:
        stand.system.submit(stand.bundle)
    assert caught.value.transient


def test_the_name_of_a_submission_tells_its_scheduler(stand: Stand) -> None:
    assert stand.system.submit(stand.bundle) == "ap1#17"
    assert stand.system.job_id(Ref("ap1#17", 3)) == "ap1#17.2"


def test_orders_are_one_command_for_all_jobs(stand: Stand) -> None:
    stand.news()
    stand.system.cancel([Ref("ap1#17", place) for place in (1, 2, 3)])
    assert stand.schedd.calls == [
        ("remove", '(ClusterId == 17 && FiducialToken =?= "fd1" && ((ProcId >= 0 && ProcId <= 2)))')
    ]


def test_jobs_at_another_scheduler_are_spoken_of_there(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    other = FakeSchedd("ap2")
    monkeypatch.setattr(stand.system, "_open", lambda name: other)
    stand.system.hold([Ref("ap2#17", 1), Ref("ap1#17", 1)])
    assert [call for call, _ in other.calls] == ["hold"]
    assert [call for call, _ in stand.schedd.calls] == ["hold"]


# ----------------------------------------------------------------------------------------------- repeats and order


def test_a_log_that_is_read_again_says_the_same(stand: Stand, tmp_path: Path) -> None:
    stand.log(*SUBMIT, (1, 0, ""), (5, 0, CODE.format(3)), (1, 0, ""), (5, 0, CODE.format(3)), (0, 0, ""))
    first = stand.news()
    assert first == {1: ("ended", ""), 2: ("pending", ""), 3: ("pending", "")}
    again = Stand.__new__(Stand)
    again.__dict__.update(stand.__dict__)
    again.system = HTCondor(stand.system._site, clock=stand.clock)
    again.system.__dict__["_here"] = stand.schedd
    assert again.news() == first


def test_what_comes_late_does_not_bring_a_job_back_to_life(stand: Stand) -> None:
    stand.log(*SUBMIT, (5, 0, CODE.format(0)))
    stand.news()
    stand.log((1, 0, ""), (6, 0, ""), (5, 0, CODE.format(0)))
    assert stand.news() == {}


def test_an_evicted_job_that_is_refused_a_second_start_stays_lost(stand: Stand) -> None:
    stand.log(*SUBMIT, (1, 0, ""), (4, 0, "\t(0) CPU times\n"))
    assert stand.news()[1] == ("ended", "lost")
    stand.log((1, 0, ""), (5, 0, CODE.format(78)))
    assert stand.news() == {}


@pytest.mark.parametrize(
    ("event", "told"), [((12, 0, HELD), ("held", "")), ((9, 0, "\tvia condor_rm\n"), ("ended", "removed"))]
)
def test_an_order_explains_an_eviction(stand: Stand, event: tuple[int, int, str], told: tuple[str, str]) -> None:
    stand.log(*SUBMIT, (1, 0, ""), (4, 0, "\t(0) CPU times\n"))
    stand.news()
    stand.log(event)
    assert stand.news() == {1: told}


def test_why_a_runner_could_not_be_started_is_told(stand: Stand) -> None:
    (stand.bundle.folder / "logs").mkdir()
    (stand.bundle.folder / "logs" / "2.txt").write_text("start: line 3: exec: python9: not found\n")
    stand.log(*SUBMIT, (1, 1, ""), (5, 1, CODE.format(127)))
    reasons = [status.reason for status in stand.system.news([stand.bundle]).values() if status.state == "ended"]
    assert reasons == ["the runner could not be started: start: line 3: exec: python9: not found"]


# ------------------------------------------------------------------------------------------------- silence and audit


def test_silent_logs_are_asked_about_rarely_and_once_for_all(stand: Stand) -> None:
    stand.log(*SUBMIT, (1, 0, ""))
    stand.news()
    stand.schedd.queue = [stand.ad(0, **RUNNING), stand.ad(1, JobStatus=1)]
    for _ in range(600):
        stand.clock.now += 10
        stand.news()
    assert stand.asked("jobs") == 1  # 600 s of wall time and an hour, in 6,000 s


def test_what_the_audit_does_not_find_has_ended(stand: Stand) -> None:
    stand.log(*SUBMIT, (1, 0, ""), (5, 2, CODE.format(0)))
    stand.news()
    stand.clock.now += 4300
    stand.schedd.queue = [stand.ad(0, **RUNNING)]
    assert stand.news() == {1: ("running", ""), 2: ("ended", "")}


def test_news_put_the_audit_off(stand: Stand) -> None:
    stand.log(*SUBMIT)
    for proc in (0, 1, 2):
        stand.clock.now += 4000
        stand.log((1, proc, ""))
        stand.news()
    assert stand.schedd.calls == []


def test_a_log_that_is_gone_is_a_reason_to_ask_soon(stand: Stand) -> None:
    stand.schedd.queue = [stand.ad(proc, JobStatus=1) for proc in range(3)]
    for _ in range(120):
        stand.clock.now += 1
        stand.news()
    assert 3 <= stand.asked("jobs") <= 4


def test_a_number_that_is_somebody_elses_says_nothing_of_our_jobs(tmp_path: Path) -> None:
    stand = Stand(tmp_path, native="ap1#99")
    stand.log(*SUBMIT, cluster=17)
    stand.schedd.queue = [{"ClusterId": 99, "ProcId": 0, **RUNNING}]
    assert stand.news() == {}
    stand.clock.now += 31
    assert stand.news() == dict.fromkeys((1, 2, 3), ("ended", ""))
    assert 'FiducialToken =?= "fd1"' in stand.schedd.calls[0][1]


@pytest.mark.parametrize("there", [lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")])
def test_a_log_that_cannot_be_read_hides_no_other_and_is_a_reason_to_ask(
    stand: Stand, there: Callable[[Path], None]
) -> None:
    there(stand.bundle.folder / LOG)
    stand.schedd.queue = [stand.ad(0, **RUNNING)]
    assert stand.news() == {}
    stand.clock.now += 31
    assert stand.news() == {1: ("running", ""), 2: ("ended", ""), 3: ("ended", "")}


# ------------------------------------------------------------------------------------------------------ witnesses


def test_the_log_is_the_first_witness(stand: Stand) -> None:
    stand.log(*SUBMIT, (5, 0, CODE.format(9)))
    stand.news()
    said = stand.system.endings([stand.bundle], [Ref("ap1#17", 1)])
    assert [status.exit_code for status in said.values()] == [9]
    assert stand.schedd.calls == []


def test_queue_and_history_are_asked_once_each(stand: Stand) -> None:
    stand.log(*SUBMIT)
    stand.news()
    stand.schedd.queue = [stand.ad(0, **RUNNING)]
    stand.schedd.past = [stand.ad(1, JobStatus=4, ExitCode=3, ExitBySignal=False), stand.ad(0, JobStatus=3)]
    said = stand.system.endings([stand.bundle], [Ref("ap1#17", place) for place in (1, 2, 3)])
    assert {ref.place: status.state for ref, status in said.items()} == {1: "running", 2: "ended"}
    assert [call for call, _ in stand.schedd.calls] == ["jobs", "history 2"]


# ---------------------------------------------------------------------------------------------- answers that were lost


def test_a_lost_answer_is_found_in_the_log_for_nothing(tmp_path: Path) -> None:
    stand = Stand(tmp_path, native="")
    stand.log(*SUBMIT)
    assert stand.system.find(stand.bundle) == "ap1#17"
    assert stand.schedd.calls == []


def test_a_lost_answer_is_found_in_the_queue_by_its_token(tmp_path: Path) -> None:
    stand = Stand(tmp_path, native="")
    assert stand.system.find(stand.bundle) is None
    stand.schedd.queue = [{"ClusterId": 18}]
    assert stand.system.find(stand.bundle) == "ap1#18"
    assert stand.schedd.calls == [("jobs", 'FiducialToken =?= "fd1"')] * 2


def test_a_submission_that_is_still_under_way_is_waited_for(tmp_path: Path) -> None:
    stand = Stand(tmp_path, native="")
    with (stand.bundle.folder / SUBMISSION_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as condor_submit has it, whose engine was killed
        with pytest.raises(BackendError, match="still under way") as told:
            stand.system.find(stand.bundle)
    assert told.value.transient
    assert stand.system.find(stand.bundle) is None


# ---------------------------------------------------------------------------------------------------------- spooling


def test_spooled_jobs_are_asked_about_together_and_fetched_once(tmp_path: Path) -> None:
    stand = Stand(tmp_path, mode="spool", shared=False)
    stand.schedd.queue = [
        stand.ad(0, JobStatus=4, ExitCode=0),
        stand.ad(1, **RUNNING),
        stand.ad(2, JobStatus=5, HoldReasonCode=16),
    ]
    assert stand.news() == {1: ("ended", ""), 2: ("running", ""), 3: ("pending", "")}
    for _ in range(3):
        stand.system.fetch(stand.bundle, [1, 2])
    assert [call for call, _ in stand.schedd.calls] == ["jobs", "retrieve"]
    assert "ProcId == 0" in stand.schedd.calls[1][1]
    assert "JobStatus == 4" in stand.schedd.calls[1][1]
    stand.system.forget(stand.bundle)
    assert stand.schedd.calls[-1] == ("remove", '(ClusterId == 17 && FiducialToken =?= "fd1")')


# -------------------------------------------------------------------------------------------------------------- EOS


@pytest.mark.parametrize("mode", ["shared", "transfer"])
def test_logs_do_not_lie_on_eos(mode: str) -> None:
    site = read_site("farm", {"backend": "htcondor", "mode": mode}, "test")
    with pytest.raises(ConfigurationError, match="on EOS") as told:
        KIND.open(site, Path("/eos/user/j/jdoe/camp"))
    assert "sites.farm" in told.value.hint


def test_eos_submit_has_its_logs_there() -> None:
    site = read_site("farm", {"backend": "htcondor", "mode": "eos"}, "test")
    assert KIND.open(site, Path("/eos/user/j/jdoe/camp")).outlives
