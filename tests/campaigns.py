"""What tests of ledger and engine share: a stage with a ledger, short ways to act, and what must always hold."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from fiducial.batch.backend import (
    Attempt,
    Event,
    Finished,
    Held,
    JobKey,
    JobSpec,
    Lost,
    Refused,
    Submission,
    key_of,
)
from fiducial.core.states import ACTIVE, LEGAL, JobState
from fiducial.core.workflow import Workflow
from fiducial.core.workflowfile import build
from fiducial.engine.campaign import Campaign
from fiducial.engine.scheduler import Report, Scheduler
from fiducial.engine.supervisor import create, prepare
from fiducial.ledger import queries
from fiducial.ledger.database import Database
from fiducial.ledger.ledger import Lease
from fiducial.ledger.schema import attempts, groups, jobs

OUTCOME = {"host": "node1", "started": 100.0, "finished": 101.0, "usage": {"wall_s": 1.0, "cpu_s": 0.5}}


def step(**fields: Any) -> dict[str, Any]:
    """A step of a workflow that runs nothing in particular."""
    return {"command": ["true"], **fields}


def fan(count: int) -> dict[str, Any]:
    """A fan-out over file numbers from 0 on."""
    return {"files": f"0-{count}"}


def workflow(steps: Mapping[str, Any], **fields: Any) -> Workflow:
    return build(name=fields.pop("name", "w"), steps=dict(steps), **fields)


def success(*, metrics: Mapping[str, float] | None = None, outputs: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What a runner says of a job that is done."""
    return {
        **OUTCOME,
        "state": "done",
        "cause": "ok",
        "exit_code": 0,
        "metrics": dict(metrics or {}),
        "outputs": [*outputs],
    }


def failure(cause: str = "exit", exit_code: int | None = 1, message: str = "it failed") -> dict[str, Any]:
    """What a runner says of a job that failed."""
    return {**OUTCOME, "state": "failed", "cause": cause, "exit_code": exit_code, "message": message}


@cache
def _empty_ledger() -> Path:
    """Copied for each test, since making the tables takes longer than most tests."""
    folder = Path(tempfile.mkdtemp(prefix="fiducial-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    database.close()
    return folder / "ledger.db"


class Stage:
    """A ledger of its own, one agent's lease, and short ways to play an agent by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(_empty_ledger(), folder / "ledger.db")
        self.database = Database(f"sqlite:///{folder / 'ledger.db'}")
        self.scheduler = Scheduler(self.database)
        self.agent = Lease("agent", "local", 60.0)

    def create(self, steps: Mapping[str, Any], **fields: Any) -> Campaign:
        return self.create_from(workflow(steps, **fields))

    def create_from(self, made: Workflow, **variables: Any) -> Campaign:
        return create(self.scheduler, prepare(made, variables, workflow_folder=self.folder, base=self.folder))

    def lease(self, campaign: Campaign, limit: int = 1000, **options: Any) -> list[dict[str, Any]]:
        return self.scheduler.lease(campaign.id, limit, self.agent, **options)

    def report(self, *reports: Report) -> list[bool]:
        return self.scheduler.report(self.agent, reports)

    def end(self, spec: Mapping[str, Any], result: Mapping[str, Any] | None = None) -> bool:
        """Report a result for what was leased; done if nothing is said."""
        return self.report(Report(spec["job"], spec["attempt"], result=result or success()))[0]

    def end_all(self, specs: Iterable[Mapping[str, Any]], result: Mapping[str, Any] | None = None) -> None:
        self.report(*(Report(spec["job"], spec["attempt"], result=result or success()) for spec in specs))

    def start(self, spec: Mapping[str, Any]) -> bool:
        return self.report(Report(spec["job"], spec["attempt"], started=100.0, host="node1"))[0]

    def lose(self, spec: Mapping[str, Any]) -> bool:
        return self.report(Report(spec["job"], spec["attempt"], lost="the node is gone"))[0]

    def rows(self, campaign: Campaign, **options: Any) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in queries.job_rows(connection, campaign.id, **options)]

    def job(self, campaign: Campaign, name: str) -> dict[str, Any]:
        """A job by its step, or step/key, or step/iteration/key."""
        found = [row for row in self.rows(campaign) if name in names_of(row)]
        assert len(found) == 1, f"{name}: {len(found)} jobs"
        return found[0]

    def states(self, campaign: Campaign) -> dict[str, str]:
        return {f"{row['step']}/{row['iteration']}/{row['key']}": row["state"] for row in self.rows(campaign)}

    def state(self, campaign: Campaign, name: str) -> str:
        return str(self.job(campaign, name)["state"])

    def row(self, campaign: Campaign) -> dict[str, Any]:
        with self.database.read() as connection:
            return dict(queries.campaign_row(connection, campaign.id))

    def group(self, campaign: Campaign, name: str, iteration: int = 0) -> dict[str, Any]:
        with self.database.read() as connection:
            rows = [dict(row) for row in queries.group_rows(connection, campaign.id)]
        return next(row for row in rows if (row["step"], row["iteration"]) == (name, iteration))

    def history(self, job: int) -> list[str]:
        with self.database.read() as connection:
            return [row["state"] for row in queries.transitions_of(connection, job)]

    def attempts(self, job: int) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in queries.attempts_of(connection, job)]

    def check(self) -> None:
        with self.database.read() as connection:
            check_ledger(connection)

    def close(self) -> None:
        self.database.close()


def names_of(row: Mapping[str, Any]) -> set[str]:
    return {row["step"], f"{row['step']}/{row['key']}", f"{row['step']}/{row['iteration']}/{row['key']}"}


# ---------------------------------------------------------------- what must always hold


def check_ledger(connection: Connection) -> None:
    """Counters equal a recount, histories are legal, and every attempt tells the same as its job."""
    found, wanted = counters(connection), recount(connection)
    assert found.keys() == wanted.keys()
    for number, counter in found.items():
        assert counter == pytest.approx(wanted[number]), f"group {number}"
    _check_histories(connection)
    _check_attempts(connection)


COUNTERS = [*(state.value for state in JobState), "retrying", "total", "attempts", "cpu_s", "wall_s", "max_rss"]


def counters(connection: Connection) -> dict[int, dict[str, float]]:
    """The counters of all groups."""
    rows = connection.execute(select(groups)).mappings()
    return {row["id"]: {name: row[name] for name in COUNTERS} for row in rows}


def recount(connection: Connection) -> dict[int, dict[str, float]]:
    """What the counters of all groups must be, from jobs and attempts themselves."""
    numbers = connection.execute(select(groups.c.id)).scalars()
    found: dict[int, dict[str, float]] = {number: dict.fromkeys(COUNTERS, 0) for number in numbers}
    group_of: dict[int, int] = {}
    for row in connection.execute(select(jobs)).mappings():
        state, attempt, counter = JobState(row["state"]), row["attempt"], found[row["group"]]
        group_of[row["id"]] = row["group"]
        again = (state is JobState.READY and attempt > 0) or (state in ACTIVE and attempt > 1)
        for name, more in ((state.value, 1), ("retrying", again), ("total", 1), ("attempts", attempt)):
            counter[name] += more
    for row in connection.execute(select(attempts)).mappings():
        counter = found[group_of[row["job"]]]
        counter["cpu_s"] += row["cpu_s"] or 0
        counter["wall_s"] += row["wall_s"] or 0
        counter["max_rss"] = max(counter["max_rss"], row["max_rss"] or 0)
    return found


def _check_histories(connection: Connection) -> None:
    """Every job went from state to state as `LEGAL` allows; only becoming ready is not written down."""
    now = {row.id: JobState.WAITING for row in connection.execute(select(jobs.c.id))}
    told = connection.execute(text("SELECT job, state FROM transitions WHERE state <> 'refused' ORDER BY id"))
    for job, state in told:
        before, to = now[job], JobState(state)
        legal = to in LEGAL[before] or (before is JobState.WAITING and to in LEGAL[JobState.READY])
        assert legal, f"job {job} went from {before} to {to}"
        now[job] = to
    for row in connection.execute(select(jobs.c.id, jobs.c.state)):
        same = now[row.id].value == row.state or (now[row.id] is JobState.WAITING and row.state == "ready")
        assert same, f"job {row.id} is {row.state}, and its history ends with {now[row.id]}"


def _rewound(connection: Connection) -> Counter[int]:
    """How often each job was done and had to be done again, which only iterations that go on can ask for."""
    found: Counter[int] = Counter()
    state: dict[int, str] = {}
    for row in connection.execute(text("SELECT job, state, why FROM transitions ORDER BY id")):
        found[row.job] += state.get(row.job) == "done" and row.why == "the iterations go on"
        state[row.job] = row.state
    return found


def _check_attempts(connection: Connection) -> None:
    latest = {row.id: row for row in connection.execute(select(jobs.c.id, jobs.c.state, jobs.c.attempt))}
    seen: dict[int, list[Any]] = {number: [] for number in latest}
    again = _rewound(connection)
    for attempt in connection.execute(text("SELECT * FROM attempts ORDER BY job, number")).mappings():
        seen[attempt["job"]].append(attempt)
    for number, tries in seen.items():
        job = latest[number]
        assert [a["number"] for a in tries] == list(range(1, job.attempt + 1))
        done = [a["number"] for a in tries if a["state"] == "done"][again[number] :]
        assert done == ([job.attempt] if job.state == "done" else []), f"job {number} is {job.state}: {done}"
        unfinished = [a["number"] for a in tries if a["finished"] is None]
        possible = [[job.attempt]] if JobState(job.state) in ACTIVE else [[]]
        if job.state == "held":  # perhaps by its batch system, with its attempt under way
            possible.append([job.attempt])
        assert unfinished in possible, f"job {number}: {unfinished}"


# ---------------------------------------------------------------- a fake batch system


Script = Callable[[JobSpec], Sequence[Event]]


def succeed(spec: JobSpec) -> Sequence[Event]:
    return [Finished(*key_of(spec), success())]


class ScriptedBackend:
    """A fake batch system: it shows faults and orders of events that a real one shows too rarely to be tested.

    What it held it goes on with, by the rest of the script, when it is released.

    Args:
        script: the events that a submission leads to, in their order.
        left: what an earlier engine's attempts have become; unknown ones never answer.
    """

    outlives = False
    trouble = ""

    def __init__(self, script: Script = succeed, *, slots: int = 2, left: Mapping[JobKey, Event] | None = None) -> None:
        self.script = script
        self.slots = slots
        self.left = dict(left or {})
        self.submitted: list[JobSpec] = []
        self.cancelled: list[JobKey] = []
        self.released: list[JobKey] = []
        self.behind: dict[JobKey, list[Event]] = {}
        self.open: dict[JobKey, deque[Event]] = {}
        self.closed: bool | None = None

    def submit(self, specs: Sequence[JobSpec]) -> list[Submission]:
        for spec in specs:
            self.submitted.append(spec)
            self.open[key_of(spec)] = deque(self.script(spec))
        return [Submission(*key_of(spec), "1") for spec in specs]

    def poll(self, timeout: float) -> list[Event]:
        for key, events in self.open.items():
            self.open[key], self.behind[key] = _until_held(events, self.behind.get(key, []))
        found = list(itertools.chain.from_iterable(self.open.values()))
        self.open = {key: deque() for key, events in self.open.items() if not _ends(events)}
        return found

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        for key in jobs:
            self.cancelled.append(key)
            if key in self.open:
                self.open[key] = deque([stopped(key)])

    def hold(self, jobs: Iterable[JobKey]) -> None:
        self.cancel(jobs)

    def release(self, jobs: Iterable[JobKey]) -> None:
        for key in jobs:
            self.released.append(key)
            if self.behind.get(key):
                self.open[key] = deque(self.behind.pop(key))

    def detach(self) -> list[Event]:
        self.closed = False
        return self.poll(0.0)

    def capacity(self) -> int:
        return max(0, self.slots - len(self.open))

    def recover(self, attempts: Iterable[Attempt]) -> list[Event]:
        keys = [(attempt.job, attempt.attempt) for attempt in attempts]
        self.open |= {key: deque() for key in keys if key not in self.left}
        return [self.left[key] for key in keys if key in self.left]

    def close(self, *, kill: bool) -> list[Event]:
        self.closed = kill
        self.cancel([key for key, events in self.open.items() if not events])
        return self.poll(0.0)


def _until_held(events: deque[Event], behind: list[Event]) -> tuple[deque[Event], list[Event]]:
    """What comes now, and what only when the job is released."""
    now = list(events)
    places = [place for place, event in enumerate(now) if isinstance(event, Held)]
    if not places:
        return events, behind
    return deque(now[: places[0] + 1]), now[places[0] + 1 :]


def _ends(events: Iterable[Event]) -> bool:
    return any(isinstance(event, Finished | Lost | Refused) for event in events)


def stopped(key: JobKey) -> Finished:
    return Finished(*key, {"state": "killed", "cause": "stopped", "message": "stopped"})
