"""Decides what may run: promotes, retries, iterates, and knows when it is enough.

One object, one ledger. Every method is one transaction, and harmless to repeat: a process that dies between two calls
leaves the ledger as it was before, or as it is after.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping

from fiducial.core.errors import WorkflowError
from fiducial.core.jobspec import JobFacts
from fiducial.core.places import archived_traces
from fiducial.core.retry import decide
from fiducial.core.states import ACTIVE, CampaignState, JobState, after
from fiducial.engine import advance
from fiducial.engine.campaign import Campaign, LedgerFiles
from fiducial.ledger import ledger as write
from fiducial.ledger import queries
from fiducial.ledger.conditions import held_in_queue
from fiducial.ledger.database import Database
from fiducial.ledger.ledger import Change, Finished, Job, Lease

__all__ = ["Report", "Scheduler"]

#: What a person may have run again. What is done stays: later steps have been built on it.
_AGAIN = frozenset({JobState.FAILED, JobState.KILLED, JobState.SKIPPED, JobState.HELD})


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent says of an attempt: where it is (no result), that it ended (the runner's result), or is lost.

    Args:
        state: where it is: running, held by the batch system, submitted again, or lost from sight.
        why: it is there.
    """

    job: int
    attempt: int
    started: float | None = None
    host: str | None = None
    result: Mapping[str, Any] | None = None
    lost: str | None = None
    state: JobState = JobState.RUNNING
    why: str | None = None


class Scheduler:
    """The interface through which agents and the command line work with a ledger, in process."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._campaigns: dict[int, Campaign] = {}
        self._group_campaign: dict[int, tuple[int, RowMapping]] = {}

    # ------------------------------------------------------------ looking

    def campaign(self, connection: Connection, number: int) -> Campaign:
        """The campaign of that number, from memory when it was seen before."""
        if number not in self._campaigns:
            self._campaigns[number] = Campaign(queries.campaign_row(connection, number), self.database.id)
        return self._campaigns[number]

    def remember(self, campaign: Campaign) -> None:
        """Keep a campaign that was just created."""
        self._campaigns[campaign.id] = campaign

    def _group_of(self, connection: Connection, job: Job, campaign: int | None = None) -> tuple[int, RowMapping]:
        """Campaign and group of a job. What is remembered of a group (its place and size) never changes."""
        if job.group not in self._group_campaign:
            number = campaign if campaign is not None else int(queries.job_row(connection, job.id)["campaign"])
            for row in queries.group_rows(connection, number):
                self._group_campaign[row["id"]] = (number, row)
        return self._group_campaign[job.group]

    # ------------------------------------------------------------ leasing

    def lease(self, campaign: int, limit: int, by: Lease, steps: frozenset[str] | None = None) -> list[dict[str, Any]]:
        """Claim up to ``limit`` jobs of a campaign and say how to run them.

        A job that cannot be described (a template that fails, an input that was not published) fails at once.

        Args:
            steps: lease only jobs of these steps.
        """
        with self.database.write() as connection:
            return self._lease(connection, campaign, limit, by, steps)

    def exchange(
        self, by: Lease, reports: Sequence[Report], campaign: int, limit: int, steps: frozenset[str] | None = None
    ) -> list[dict[str, Any]]:
        """`report`, then `lease`, in one transaction: half the commits for an agent that does both all the time."""
        with self.database.write() as connection:
            self._take_in(connection, by, reports)
            return self._lease(connection, campaign, limit, by, steps) if limit > 0 else []

    def _lease(
        self, connection: Connection, number: int, limit: int, by: Lease, steps: frozenset[str] | None
    ) -> list[dict[str, Any]]:
        wanted = [g for g, step in queries.ready_groups(connection, number) if steps is None or step in steps]
        taken = write.lease(connection, wanted, limit, by, write.now()) if wanted else []
        return self._specs(connection, self.campaign(connection, number), taken, by) if taken else []

    def _specs(self, connection: Connection, campaign: Campaign, taken: list[Job], by: Lease) -> list[dict[str, Any]]:
        files = LedgerFiles(connection, campaign.id)
        specs: list[dict[str, Any]] = []
        failed: list[Change] = []
        for job in taken:
            _, group = self._group_of(connection, job, campaign.id)
            files.place = job.id - group["first_job"]
            facts = JobFacts(
                job.id, job.attempt, group["step"], group["iteration"], job.key, job.values, job.memory, job.walltime
            )
            try:
                specs.append(campaign.renderer(group["step"]).spec(facts, files))
            except WorkflowError as error:
                why = f"{error.message} ({error.hint})" if error.hint else error.message
                failed.append(Change(job, JobState.FAILED, write.now(), by.agent, why, Finished("spec", why)))
        write.apply(connection, failed)
        if failed:
            advance.advance(connection, campaign)
        return specs

    # ------------------------------------------------------------ reporting

    def report(self, by: Lease, reports: Sequence[Report]) -> list[bool]:
        """Take in what became of attempts, decide what follows, and move the campaigns on.

        Returns:
            For each report, whether it was about the job's current attempt. One that was not is noted and ignored.
        """
        with self.database.write() as connection:
            return self._take_in(connection, by, reports)

    def _take_in(self, connection: Connection, by: Lease, reports: Sequence[Report]) -> list[bool]:
        now = write.now()
        found = write.fetch(connection, {report.job for report in reports})
        queued = held_in_queue(connection, found.values())
        accepted: list[bool] = []
        changes: dict[int, Change] = {}
        for report in reports:
            job = found.get(report.job)
            current = job is not None and job.attempt == report.attempt
            accepted.append(current)
            if job is None or not current:
                write.refuse(connection, report.job, report.attempt, by.agent, "report for a stale attempt", now)
                continue
            if job.id in changes and changes[job.id].finished is not None:
                continue  # it ended in this very batch; what comes after that is an old story
            if job.state not in ACTIVE and job.id not in queued:
                continue  # its attempt is over: an old story, told again
            change = self._change(connection, job, report, by, now)
            if change is not None:
                changes[job.id] = change
        self._apply(connection, list(changes.values()))
        return accepted

    def _change(self, connection: Connection, job: Job, report: Report, by: Lease, now: float) -> Change | None:
        if report.result is None and report.lost is None:
            to = after(job.state, report.state)
            return None if to is job.state else Change(job, to, now, by.agent, report.why, started=report.started)
        end = _finished(report)
        if end.cause == "ok":
            return Change(job, JobState.DONE, now, by.agent, finished=end)
        return self._after_failure(connection, job, end, by, now)

    def _after_failure(self, connection: Connection, job: Job, end: Finished, by: Lease, now: float) -> Change:
        if job.order == "kill":
            return Change(job, JobState.KILLED, now, by.agent, "killed by order", end)
        if job.order == "hold":
            return Change(job, JobState.HELD, now, by.agent, "held by order", end)
        if end.cause == "removed":
            return Change(job, JobState.KILLED, now, by.agent, end.message, end)
        if end.cause == "stopped":
            # The engine was told to stop, which is nobody's failure: the next one takes the job up again.
            return Change(job, JobState.READY, now, by.agent, "engine stopped", end)
        number, group = self._group_of(connection, job)
        step = self.campaign(connection, number).workflow.steps[group["step"]]
        retries = json.loads(job.retries) if job.retries else {}
        choice = decide(step, end.cause, end.exit_code, retries, job.memory, job.walltime)
        change = Change(job, choice.state, now, by.agent, end.message or end.cause, end)
        if choice.state is JobState.READY:
            change.retries = json.dumps(choice.retries)
            change.memory, change.walltime = choice.memory, choice.walltime
            change.not_before = now + choice.delay if choice.delay else None
        return change

    def _apply(self, connection: Connection, changes: list[Change]) -> None:
        write.apply(connection, changes)
        ended = [change for change in changes if change.finished is not None]
        rows = []
        touched: dict[int, dict[int, list[int]]] = {}
        for change in ended:
            number, group = self._group_of(connection, change.job)
            done = touched.setdefault(number, {}).setdefault(group["id"], [])
            if change.to is JobState.DONE:
                done.append(change.job.id - group["first_job"])
                rows += _metric_rows(number, group, change)
        write.write_metrics(connection, rows)
        for number, places in touched.items():
            advance.advance(connection, self.campaign(connection, number), places)

    # ------------------------------------------------------------ what people ask for

    def settle(self, number: int) -> None:
        """Move a campaign on as far as it goes without new reports; harmless at any time."""
        with self.database.write() as connection:
            advance.advance(connection, self.campaign(connection, number))

    def retry(self, number: int, ids: Iterable[int], who: str) -> int:
        """Run jobs again that failed, were killed, skipped or held, with fresh retries. How many."""
        with self.database.write() as connection:
            groups = {row["id"]: row for row in queries.group_rows(connection, number)}
            campaign = self.campaign(connection, number)
            wanted = _inside(groups, write.fetch(connection, set(ids)))
            children = advance.skipped_children(connection, campaign, groups, wanted.values())
            queued = held_in_queue(connection, wanted.values())
            again = [
                Change(job, _start(job, groups), write.now(), who, "asked for", retries="{}")
                for job in {**wanted, **children}.values()
                if job.state in _AGAIN and job.id not in queued
            ]
            for group in groups.values():
                write.forget(connection, number, group, [c.job.id for c in again if c.job.group == group["id"]])
            write.apply(connection, again)
            write.reopen_groups(connection, {change.job.group for change in again})
            advance.reopen(connection, campaign)
        return sum(change.job.id in wanted for change in again)

    def hold(self, ids: Iterable[int], who: str) -> int:
        """Keep jobs from running until they are released; running ones are stopped first. How many."""
        return self._order(ids, "hold", JobState.HELD, {JobState.WAITING, JobState.READY}, who)

    def kill(self, ids: Iterable[int], who: str) -> int:
        """End jobs; running ones are stopped by their agent. How many."""
        return self._order(ids, "kill", JobState.KILLED, {JobState.WAITING, JobState.READY, JobState.HELD}, who)

    def release(self, number: int, ids: Iterable[int], who: str) -> int:
        """Let held jobs run, as far as their parents are done; a hold not yet obeyed is taken back. How many.

        What its batch system holds is released there, by the agent that follows it.
        """
        with self.database.write() as connection:
            groups = {row["id"]: row for row in queries.group_rows(connection, number)}
            found = _inside(groups, write.fetch(connection, set(ids))).values()
            queued = held_in_queue(connection, found)
            changes = [
                Change(job, _start(job, groups), write.now(), who)
                for job in found
                if job.state is JobState.HELD and job.id not in queued
            ]
            write.apply(connection, changes)
            taken_back = write.order(connection, [job.id for job in found if job.order == "hold"], None)
            ordered = write.order(connection, list(queued), "free")
            advance.advance(connection, self.campaign(connection, number))
        return len(changes) + taken_back + ordered

    def _order(self, ids: Iterable[int], what: str, to: JobState, states: set[JobState], who: str) -> int:
        with self.database.write() as connection:
            found = write.fetch(connection, set(ids))
            queued = held_in_queue(connection, found.values())
            free = [job for job in found.values() if job.state in states and job.id not in queued]
            at_once = [Change(job, to, write.now(), who, "asked for") for job in free]
            write.apply(connection, at_once)
            active = [job.id for job in found.values() if job.id in queued or job.state in ACTIVE]
            ordered = write.order(connection, active, what)
            for number in {self._group_of(connection, change.job)[0] for change in at_once}:
                advance.advance(connection, self.campaign(connection, number))
        return len(at_once) + ordered

    def cancel(self, number: int, who: str) -> int:
        """End a campaign: what runs is stopped, what waits never starts. How many jobs were ended."""
        with self.database.write() as connection:
            ended = 0
            for group in queries.group_rows(connection, number):
                waiting = (JobState.WAITING, JobState.READY, JobState.HELD)
                ended += write.change_all(
                    connection, group, waiting, JobState.KILLED, who, "campaign cancelled", write.now()
                )
            active = [row["id"] for row in queries.active_attempts(connection, number)]
            ended += write.order(connection, active, "kill")
            write.set_campaign(
                connection,
                number,
                state=CampaignState.CANCELLED.value,
                reason=f"cancelled by {who}",
                finished=write.now(),
            )
        return ended

    def archive(self, number: int) -> None:
        """Take a campaign that is over out of the lists: its name is free again, its logs stay beside its files."""
        with self.database.write() as connection:
            write.set_campaign(connection, number, state=CampaignState.ARCHIVED.value)
            folder = self.campaign(connection, number).folder
        # Another campaign of the same name begins with its own attempts; should this rename never happen, the old
        # attempts' directories only make it skip their numbers.
        with suppress(FileNotFoundError):
            (folder / ".fiducial").rename(folder / archived_traces(number))


def _inside(groups: Mapping[int, RowMapping], found: Mapping[int, Job]) -> dict[int, Job]:
    """Those of the jobs that are in one of the groups."""
    return {number: job for number, job in found.items() if job.group in groups}


def _start(job: Job, groups: Mapping[int, RowMapping]) -> JobState:
    """Where a job begins, by what it still waits for."""
    return JobState.READY if groups[job.group]["opened"] and not job.missing else JobState.WAITING


def _finished(report: Report) -> Finished:
    if report.result is None:
        return Finished("lost", report.lost or "", host=report.host)
    try:
        _must_be_of(report, report.result)
        return _outcome(report.result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A damaged result proves nothing, so it is as good as none.
        return Finished("lost", f"its result cannot be used: {error!r}", host=report.host)


def _must_be_of(report: Report, result: Mapping[str, Any]) -> None:
    told = (result.get("job", report.job), result.get("attempt", report.attempt))
    if told != (report.job, report.attempt):
        raise ValueError(f"it is of attempt {told[1]} at job {told[0]}")


def _outcome(result: Mapping[str, Any]) -> Finished:
    """What the runner said; anything else but that raises an error."""
    done = result["state"] == "done"
    return Finished(
        cause="ok" if done else str(result.get("cause") or "exit"),
        message="" if done else str(result.get("message") or ""),
        exit_code=result.get("exit_code"),
        signal=result.get("signal"),
        host=result.get("host"),
        started=result.get("started"),
        finished=result.get("finished"),
        usage=dict(result.get("usage") or {}),
        outputs=[(o["key"], o["path"], o["size"], o["adler32"]) for o in result["outputs"]] if done else (),
        metrics={name: _finite(value) for name, value in result["metrics"].items()} if done else {},
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _metric_rows(number: int, group: RowMapping, change: Change) -> list[dict[str, Any]]:
    assert change.finished is not None
    place = {"campaign": number, "iteration": group["iteration"], "step": group["step"], "job": change.job.id}
    return [{**place, "name": name, "value": value} for name, value in change.finished.metrics.items()]
