"""What is written into the ledger. Every function works on one open transaction of `Database.write`.

Set-wise throughout: a call costs a handful of statements, however many jobs it is about.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from fiducial.core.plan import Instance
from fiducial.core.states import ACTIVE, FINAL, JobState
from fiducial.ledger.bulk import execute_many
from fiducial.ledger.conditions import QUEUED, UNDER_WAY
from fiducial.ledger.records import Change, Finished, Job, Lease
from fiducial.ledger.schema import agents, artifacts, attempts, campaigns, groups, jobs, ledger, metrics, transitions

__all__ = [
    "Change",
    "Finished",
    "Job",
    "Lease",
    "adopt",
    "apply",
    "change_all",
    "fetch",
    "finish_group",
    "forget",
    "insert_campaign",
    "insert_group",
    "lease",
    "now",
    "open_group",
    "order",
    "refuse",
    "release_matching",
    "renew",
    "reopen_groups",
    "set_campaign",
    "write_metrics",
]

BATCH = 10_000

_INSERT_JOBS = insert(jobs)
_INSERT_ATTEMPTS = insert(attempts)
_INSERT_TRANSITIONS = insert(transitions)
_INSERT_ARTIFACTS = insert(artifacts)
_INSERT_METRICS = insert(metrics)


_JOB_COLUMNS = (
    jobs.c.id,
    jobs.c.group,
    jobs.c.key,
    jobs.c.vals,
    jobs.c.state,
    jobs.c.attempt,
    jobs.c.retries,
    jobs.c.memory,
    jobs.c.walltime,
    jobs.c.order,
    jobs.c.missing,
)


def _job(row: Any) -> Job:
    return Job(row[0], row[1], row[2], row[3], JobState(row[4]), *row[5:])


# ---------------------------------------------------------------- campaigns and groups


def insert_campaign(connection: Connection, row: Mapping[str, Any]) -> int:
    """Store a campaign; its groups follow by `insert_group`."""
    result = connection.execute(insert(campaigns).values(**row))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def insert_group(
    connection: Connection,
    campaign: int,
    step: str,
    iteration: int,
    made: Iterable[Instance],
    *,
    missing: int = 0,
    priority: int = 0,
) -> int:
    """Store a group and its jobs, all waiting, in bounded memory.

    Args:
        missing: how many matching parents each job waits for.
    """
    first = _take_ids(connection, 0)
    row = {
        "campaign": campaign,
        "step": step,
        "iteration": iteration,
        "priority": priority,
        "opened": 0,
        "first_job": first,
        "total": 0,
    }
    key = connection.execute(insert(groups).values(**row)).inserted_primary_key
    assert key is not None
    group = int(key[0])
    total = 0
    for rows in _batches(_job_rows(group, first, missing, made), BATCH):
        execute_many(connection, _INSERT_JOBS, rows)
        total += len(rows)
    _take_ids(connection, total)
    connection.execute(update(groups).where(groups.c.id == group).values(total=total, waiting=total))
    return group


def _take_ids(connection: Connection, count: int) -> int:
    """The first of ``count`` job ids that nobody else gets; until the transaction ends, nobody else gets any."""
    after = connection.execute(
        update(ledger).values(next_job=ledger.c.next_job + count).returning(ledger.c.next_job)
    ).scalar_one()
    return int(after) - count


def _job_rows(group: int, first: int, missing: int, made: Iterable[Instance]) -> Iterator[dict[str, Any]]:
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    for number, instance in enumerate(made, first):
        yield {
            "id": number,
            "group": group,
            "key": instance.key,
            "vals": dump(instance.values) if instance.values else None,
            "state": "waiting",
            "attempt": 0,
            "missing": missing,
        }


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def open_group(connection: Connection, group: Any, now: float) -> int:
    """Let a group's jobs start, as far as their matching parents are done; how many became ready."""
    connection.execute(update(groups).where(groups.c.id == group.id).values(opened=1, started=now))
    return _free(connection, group, jobs.c.id.between(group.first_job, group.first_job + group.total - 1))


def _free(connection: Connection, group: Any, *which: Any) -> int:
    """Make those of the waiting jobs ready that miss no parent any more; how many."""
    free = (*which, jobs.c.state == "waiting", jobs.c.missing == 0)
    retrying = 0
    if group.attempts:  # the group was rewound
        retrying = connection.execute(select(func.count()).where(*free, jobs.c.attempt > 0)).scalar_one()
    ready = connection.execute(update(jobs).where(*free).values(state="ready")).rowcount
    _shift(connection, group.id, {"waiting": -ready, "ready": ready, "retrying": retrying})
    return ready


def release_matching(connection: Connection, child: Any, ordinals: Sequence[int]) -> None:
    """Tell the jobs of a child group that the parents at the same places are done."""
    ids = [child.first_job + place for place in ordinals]
    connection.execute(
        update(jobs).where(jobs.c.id == bindparam("job")).values(missing=jobs.c.missing - 1), [{"job": i} for i in ids]
    )
    if not child.opened:
        return
    for part in range(0, len(ids), BATCH):
        _free(connection, child, jobs.c.id.in_(ids[part : part + BATCH]))


def change_all(
    connection: Connection, group: Any, states: Iterable[JobState], to: JobState, who: str, why: str, now: float
) -> int:
    """Move every job of a group that is in one of ``states`` (none of them active) to another state.

    Jobs that their batch system holds are passed over: their attempts are under way.
    """
    moved = 0
    inside = jobs.c.id.between(group.first_job, group.first_job + group.total - 1)
    for state in states:
        here = (inside, jobs.c.state == state.value, ~QUEUED)
        row = (jobs.c.id, jobs.c.attempt)
        for batch in _pages(connection, select(*row).where(*here)):
            execute_many(
                connection,
                _INSERT_TRANSITIONS,
                [{"job": j, "attempt": a, "state": to.value, "at": now, "who": who, "why": why} for j, a in batch],
            )
        retrying = connection.execute(select(func.count()).where(*here, jobs.c.attempt > 0)).scalar_one()
        changed = connection.execute(update(jobs).where(*here).values(state=to.value)).rowcount
        shift = {state.value: -changed, to.value: changed}
        if state is JobState.READY:
            shift["retrying"] = -retrying
        _shift(connection, group.id, shift)
        moved += changed
    return moved


def _pages(connection: Connection, statement: Any) -> Iterator[Sequence[Any]]:
    rows = connection.execute(statement).fetchall()
    for part in range(0, len(rows), BATCH):
        yield rows[part : part + BATCH]


_COUNTERS = (*(state.value for state in JobState), "retrying", "attempts", "cpu_s", "wall_s")
_SHIFT = (
    update(groups)
    .where(groups.c.id == bindparam("g"))
    .values(
        {name: groups.c[name] + bindparam(f"d_{name}") for name in _COUNTERS}
        | {"max_rss": case((groups.c.max_rss < bindparam("peak"), bindparam("peak")), else_=groups.c.max_rss)}
    )
)


def _shift(connection: Connection, group: int, deltas: Mapping[str, float], peak: int = 0) -> None:
    moved = {f"d_{name}": deltas.get(name, 0) for name in _COUNTERS}
    connection.execute(_SHIFT, {"g": group, "peak": peak, **moved})


# ---------------------------------------------------------------- leases


_READY = (
    select(*_JOB_COLUMNS)
    .where(
        jobs.c.group == bindparam("g"),
        jobs.c.state == "ready",
        (jobs.c.not_before.is_(None)) | (jobs.c.not_before <= bindparam("now")),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("n"))
)
_TAKE = (
    update(jobs)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)))
    .values(state="submitted", attempt=jobs.c.attempt + 1, not_before=None)
)


def lease(connection: Connection, group_ids: Sequence[int], limit: int, by: Lease, now: float) -> list[Job]:
    """Claim up to ``limit`` ready jobs of the groups, in that order; each gets its next attempt."""
    taken: list[Job] = []
    for group in group_ids:
        if len(taken) >= limit:
            break
        rows = connection.execute(_READY, {"g": group, "now": now, "n": limit - len(taken)})
        taken += [_job(row) for row in rows]
    if not taken:
        return []
    connection.execute(_TAKE, {"ids": [job.id for job in taken]})
    until = now + by.seconds
    execute_many(
        connection,
        _INSERT_ATTEMPTS,
        [
            {
                "job": job.id,
                "number": job.attempt + 1,
                "agent": by.agent,
                "site": by.site,
                "leased": now,
                "lease_until": until,
                "state": "submitted",
            }
            for job in taken
        ],
    )
    execute_many(
        connection,
        _INSERT_TRANSITIONS,
        [
            {"job": job.id, "attempt": job.attempt + 1, "state": "submitted", "at": now, "who": by.agent, "why": None}
            for job in taken
        ],
    )
    for group, count in Counter(job.group for job in taken).items():
        _shift(connection, group, {"ready": -count, "submitted": count, "attempts": count})
    return [_leased(job) for job in taken]


def _leased(job: Job) -> Job:
    return replace(job, state=JobState.SUBMITTED, attempt=job.attempt + 1)


def renew(connection: Connection, by: Lease, now: float) -> int:
    """Prolong all leases that an agent holds."""
    connection.execute(update(agents).where(agents.c.id == by.agent).values(seen=now))
    return connection.execute(
        update(attempts)
        .where(attempts.c.agent == by.agent, attempts.c.finished.is_(None))
        .values(lease_until=now + by.seconds)
    ).rowcount


def adopt(connection: Connection, keys: Sequence[tuple[int, int]], by: Lease, now: float) -> None:
    """Take over attempts of an agent that died: from now on they are this one's."""
    statement = (
        update(attempts)
        .where(attempts.c.job == bindparam("j"), attempts.c.number == bindparam("a"))
        .values(agent=by.agent, lease_until=now + by.seconds)
    )
    if keys:
        connection.execute(statement, [{"j": job, "a": number} for job, number in keys])


# ---------------------------------------------------------------- reports

_FETCH = select(*_JOB_COLUMNS).where(jobs.c.id.in_(bindparam("ids", expanding=True)))


def fetch(connection: Connection, ids: Iterable[int]) -> dict[int, Job]:
    """The jobs with these ids, as they are now."""
    wanted = list(ids)
    found: dict[int, Job] = {}
    for part in range(0, len(wanted), BATCH):
        rows = connection.execute(_FETCH, {"ids": wanted[part : part + BATCH]})
        found.update((row[0], _job(row)) for row in rows)
    return found


def _retrying(state: JobState, attempt: int) -> bool:
    return (state is JobState.READY and attempt > 0) or (state in ACTIVE and attempt > 1)


def apply(connection: Connection, changes: Sequence[Change]) -> None:
    """Write changes of state with all that belongs to them: attempt, transitions, artifacts, metrics, counters.

    The changes must be legal; `fiducial.core.states.after` says which are.
    """
    if not changes:
        return
    _update_jobs(connection, changes)
    _update_attempts(connection, changes)
    execute_many(connection, _INSERT_TRANSITIONS, _transition_rows(changes))
    ended = [change for change in changes if change.to is JobState.DONE and change.finished]
    execute_many(connection, _INSERT_ARTIFACTS, [row for change in ended for row in _artifact_rows(change)])
    _count_states(connection, changes)


def refuse(connection: Connection, job: int, attempt: int, who: str, why: str, now: float) -> None:
    """Keep a note that a report about a stale attempt was refused."""
    row = {"job": job, "attempt": attempt, "state": "refused", "at": now, "who": who, "why": why}
    execute_many(connection, _INSERT_TRANSITIONS, [row])


_SET_STATE = update(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True))).values(state=bindparam("to"))
_SET_RETRY = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values(
        state=bindparam("to"),
        retries=bindparam("r"),
        memory=bindparam("m"),
        walltime=bindparam("w"),
        not_before=bindparam("nb"),
        order=None,
    )
)


#: States after which more than the state may change in a job's row.
_RARE = frozenset({JobState.WAITING, JobState.READY, JobState.HELD, JobState.KILLED, JobState.FAILED})


def _update_jobs(connection: Connection, changes: Sequence[Change]) -> None:
    plain: dict[str, list[int]] = {}
    special = []
    for change in changes:
        if change.to in _RARE or change.job.state is JobState.HELD:
            special.append(
                {
                    "job": change.job.id,
                    "to": change.to.value,
                    "r": change.retries if change.retries is not None else change.job.retries,
                    "m": change.memory or change.job.memory,
                    "w": change.walltime or change.job.walltime,
                    "nb": change.not_before,
                }
            )
        else:
            plain.setdefault(change.to.value, []).append(change.job.id)
    for to, ids in plain.items():
        for part in range(0, len(ids), BATCH):
            connection.execute(_SET_STATE, {"ids": ids[part : part + BATCH], "to": to})
    execute_many(connection, _SET_RETRY, special)


_SET_STARTED = (
    update(attempts)
    .where(attempts.c.job == bindparam("j"), attempts.c.number == bindparam("a"))
    .values(state=bindparam("s"), started=bindparam("st"))
)
_SET_FINISHED = (
    update(attempts)
    .where(attempts.c.job == bindparam("j"), attempts.c.number == bindparam("a"))
    .values(
        {
            name: bindparam(f"v_{name}")
            for name in (
                "state",
                "cause",
                "message",
                "exit_code",
                "signal",
                "host",
                "started",
                "finished",
                "wall_s",
                "cpu_s",
                "max_rss",
                "read_bytes",
                "write_bytes",
            )
        }
    )
)


def _update_attempts(connection: Connection, changes: Sequence[Change]) -> None:
    started = [
        {"j": c.job.id, "a": c.job.attempt, "s": c.to.value, "st": c.started or c.at}
        for c in changes
        if c.finished is None and c.to is JobState.RUNNING
    ]
    execute_many(connection, _SET_STARTED, started)
    finished = [_finished_row(change, change.finished) for change in changes if change.finished is not None]
    execute_many(connection, _SET_FINISHED, finished)


def _finished_row(change: Change, end: Finished) -> dict[str, Any]:
    usage = end.usage
    state = change.to if change.to in FINAL else JobState.FAILED
    return {
        "j": change.job.id,
        "a": change.job.attempt,
        "v_state": (JobState.LOST if end.cause == "lost" else state).value,
        "v_cause": end.cause,
        "v_message": end.message,
        "v_exit_code": end.exit_code,
        "v_signal": end.signal,
        "v_host": end.host,
        "v_started": end.started,
        "v_finished": end.finished or change.at,
        "v_wall_s": usage.get("wall_s"),
        "v_cpu_s": usage.get("cpu_s"),
        "v_max_rss": usage.get("max_rss"),
        "v_read_bytes": usage.get("read_bytes"),
        "v_write_bytes": usage.get("write_bytes"),
    }


def _transition_rows(changes: Sequence[Change]) -> list[dict[str, Any]]:
    rows = []
    for change in changes:
        end = change.finished
        if end is not None and end.started and change.job.state is JobState.SUBMITTED:
            # A short job's start is told together with its end.
            rows.append(_transition(change, JobState.RUNNING, end.started, None))
        rows.append(_transition(change, change.to, (end and end.finished) or change.at, change.why))
    return rows


def _transition(change: Change, state: JobState, at: float, why: str | None) -> dict[str, Any]:
    return {
        "job": change.job.id,
        "attempt": change.job.attempt,
        "state": state.value,
        "at": at,
        "who": change.who,
        "why": why,
    }


def _artifact_rows(change: Change) -> list[dict[str, Any]]:
    assert change.finished is not None
    return [
        {"job": change.job.id, "name": name, "path": path, "size": size, "adler32": checksum}
        for name, path, size, checksum in change.finished.outputs
    ]


def _count_states(connection: Connection, changes: Sequence[Change]) -> None:
    deltas: dict[int, dict[str, float]] = {}
    peaks: dict[int, int] = {}
    for change in changes:
        counter = deltas.setdefault(change.job.group, defaultdict(int))
        counter[change.job.state.value] -= 1
        counter[change.to.value] += 1
        counter["retrying"] += _retrying(change.to, change.job.attempt) - _retrying(
            change.job.state, change.job.attempt
        )
        if change.finished is not None:
            usage = change.finished.usage
            counter["cpu_s"] += usage.get("cpu_s") or 0.0
            counter["wall_s"] += usage.get("wall_s") or 0.0
            peaks[change.job.group] = max(peaks.get(change.job.group, 0), int(usage.get("max_rss") or 0))
    for group, counter in deltas.items():
        _shift(connection, group, counter, peaks.get(group, 0))


def write_metrics(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Store metrics of jobs: rows of campaign, iteration, step, job, name, value."""
    execute_many(connection, _INSERT_METRICS, rows)


_FORGET_METRICS = delete(metrics).where(
    metrics.c.campaign == bindparam("c"),
    metrics.c.iteration == bindparam("i"),
    metrics.c.step == bindparam("s"),
    metrics.c.job == bindparam("j"),
)


def forget(connection: Connection, campaign: int, group: Any, ids: Sequence[int]) -> None:
    """Drop what jobs that are to be run again published and measured: it does not count any more."""
    for part in range(0, len(ids), BATCH):
        connection.execute(delete(artifacts).where(artifacts.c.job.in_(ids[part : part + BATCH])))
    keys = [{"c": campaign, "i": group.iteration, "s": group.step, "j": job} for job in ids]
    execute_many(connection, _FORGET_METRICS, keys)


def rewind_group(connection: Connection, campaign: int, group: Any, missing: int, why: str, now: float) -> None:
    """Let a whole group, none of whose jobs is active, wait as if it had never run; its attempts are kept.

    Args:
        missing: how many matching parents each job waits for.
    """
    change_all(connection, group, FINAL | {JobState.READY}, JobState.WAITING, "engine", why, now)
    forget(connection, campaign, group, range(group.first_job, group.first_job + group.total))
    inside = jobs.c.id.between(group.first_job, group.first_job + group.total - 1)
    connection.execute(update(jobs).where(inside).values(missing=missing, retries=None, not_before=None))
    connection.execute(update(groups).where(groups.c.id == group.id).values(opened=0, started=None, finished=None))


# ---------------------------------------------------------------- campaigns, agents, orders


def set_campaign(connection: Connection, campaign: int, **values: Any) -> None:
    """Change columns of a campaign's row."""
    connection.execute(update(campaigns).where(campaigns.c.id == campaign).values(**values))


def finish_group(connection: Connection, group: int, now: float) -> None:
    """Note when a group's last job ended."""
    connection.execute(update(groups).where(groups.c.id == group, groups.c.finished.is_(None)).values(finished=now))


def reopen_groups(connection: Connection, ids: Iterable[int]) -> None:
    """Forget when groups ended, because some of their jobs are to be run again."""
    connection.execute(update(groups).where(groups.c.id.in_(list(ids))).values(finished=None))


def order(connection: Connection, ids: Sequence[int], what: str | None) -> int:
    """Leave an order (``kill``, ``hold``, or ``free`` for one that the batch system holds) for the jobs' agents."""
    changed = 0
    for part in range(0, len(ids), BATCH):
        changed += connection.execute(
            update(jobs).where(jobs.c.id.in_(ids[part : part + BATCH]), UNDER_WAY).values(order=what)
        ).rowcount
    return changed


def now() -> float:
    """The ledger's clock."""
    return time.time()
