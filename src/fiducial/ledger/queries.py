"""What is read from the ledger. Status comes from counters; only a listing of jobs touches jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, Select, and_, bindparam, func, literal, or_, select, text

from fiducial.core.errors import NotFoundError
from fiducial.core.states import CampaignState, JobState
from fiducial.ledger.conditions import UNDER_WAY
from fiducial.ledger.schema import TROUBLED, agents, artifacts, attempts, campaigns, groups, jobs, metrics, transitions

if TYPE_CHECKING:
    from fiducial.core.plan import Instance

__all__ = [
    "Narrow",
    "active_attempts",
    "agent_rows",
    "agents_named",
    "any_dry",
    "artifacts_of",
    "attempts_of",
    "campaign_row",
    "campaign_rows",
    "find_campaign",
    "group_pages",
    "group_rows",
    "instances_of",
    "job_keys",
    "job_row",
    "job_rows",
    "metric_rows",
    "metric_values",
    "narrowed_rows",
    "orders",
    "pending_artifacts",
    "ready_groups",
    "transitions_of",
    "usage",
]


def campaign_rows(connection: Connection, *, archived: bool = False) -> Sequence[RowMapping]:
    """All campaigns with their jobs counted by state, the newest first."""
    sums = [func.coalesce(func.sum(groups.c[state.value]), 0).label(state.value) for state in JobState]
    totals = func.coalesce(func.sum(groups.c.total), 0).label("total")
    retrying = func.coalesce(func.sum(groups.c.retrying), 0).label("retrying")
    statement = (
        select(*_campaign_columns(), *sums, totals, retrying)
        .outerjoin(groups, groups.c.campaign == campaigns.c.id)
        .group_by(*_campaign_columns())
        .order_by(campaigns.c.id.desc())
    )
    if not archived:
        statement = statement.where(campaigns.c.state != CampaignState.ARCHIVED.value)
    return connection.execute(statement).mappings().all()


def _campaign_columns() -> list[Any]:
    # The snapshot of the workflow may be long and no listing wants it.
    return [column for column in campaigns.c if column.name not in ("workflow", "names")]


def campaign_row(connection: Connection, campaign: int) -> RowMapping:
    """One campaign, with its workflow."""
    row = connection.execute(select(campaigns).where(campaigns.c.id == campaign)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"there is no campaign {campaign}", hint="fiducial campaign list")
    return row


def find_campaign(connection: Connection, name: str) -> RowMapping | None:
    """The campaign of that name, or with that number; one that is not archived comes first."""
    number = int(name) if name.isdecimal() and len(name) < 10 else -1
    statement = (
        select(campaigns)
        .where(or_(campaigns.c.name == name, campaigns.c.id == number))
        .order_by((campaigns.c.name == name).desc(), campaigns.c.state == CampaignState.ARCHIVED.value, campaigns.c.id)
    )
    return connection.execute(statement).mappings().first()


def group_rows(connection: Connection, campaign: int) -> Sequence[RowMapping]:
    """All groups of a campaign with their counters, in the order in which they were made."""
    return connection.execute(_GROUPS, {"c": campaign}).mappings().all()


# Asked with every report: built once, because building a statement takes longer than executing it.
_GROUPS = select(groups).where(groups.c.campaign == bindparam("c")).order_by(groups.c.id)
_READY_GROUPS = (
    select(groups.c.id, groups.c.step)
    .where(groups.c.campaign == bindparam("c"), groups.c.ready > 0)
    .order_by(groups.c.priority.desc(), groups.c.id)
)
_DRY = select(func.count()).where(
    groups.c.id.in_(bindparam("ids", expanding=True)),
    groups.c.held + groups.c.ready + groups.c.submitted + groups.c.running + groups.c.lost == 0,
)


def ready_groups(connection: Connection, campaign: int) -> Sequence[Any]:
    """Groups with jobs that may be leased: (id, step), the most urgent first."""
    return connection.execute(_READY_GROUPS, {"c": campaign}).fetchall()


def any_dry(connection: Connection, ids: Iterable[int]) -> bool:
    """Whether one of these groups has no job left that is on its way or may be leased."""
    return bool(connection.execute(_DRY, {"ids": list(ids)}).scalar_one())


def metric_values(
    connection: Connection, campaign: int, *, first_iteration: int = 0, most: int | None = None
) -> dict[int, dict[str, dict[str, list[float]]]]:
    """Metrics of a campaign: iteration -> step -> name -> values of the jobs, in their order.

    Args:
        most: leave out groups with more jobs than this, for a look that must stay quick.
    """
    found: dict[int, dict[str, dict[str, list[float]]]] = {}
    for iteration, step, name, value in chain.from_iterable(
        connection.execute(_METRICS.where(metrics.c.campaign == campaign, *where))
        for where in _metrics_meant(connection, campaign, first_iteration, most)
    ):
        found.setdefault(iteration, {}).setdefault(step, {}).setdefault(name, []).append(value)
    return found


_METRICS = select(metrics.c.iteration, metrics.c.step, metrics.c.name, metrics.c.value).order_by(
    metrics.c.iteration, metrics.c.step, metrics.c.job
)


def _metrics_meant(connection: Connection, campaign: int, first: int, most: int | None) -> Sequence[Sequence[Any]]:
    """Conditions, a query each: where some groups are too large, their metrics must not even be walked over."""
    everything = [[metrics.c.iteration >= first]]
    rows = [] if most is None else group_rows(connection, campaign)
    if most is None or all(row["total"] <= most for row in rows):
        return everything
    small = sorted((r["iteration"], r["step"]) for r in rows if r["total"] <= most and r["iteration"] >= first)
    return [[metrics.c.iteration == iteration, metrics.c.step == step] for iteration, step in small]


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which jobs of a campaign are meant; what is empty narrows nothing.

    Args:
        like: a pattern of SQL's LIKE that the keys must fit, with ``!`` as escape.
        after: only jobs with higher numbers: where an earlier page ended.
    """

    states: Sequence[str] = ()
    steps: Sequence[str] = ()
    iterations: Sequence[int] = ()
    key: str | None = None
    like: str | None = None
    after: int = 0


def job_rows(
    connection: Connection,
    campaign: int,
    *,
    states: Iterable[str] = (),
    steps: Iterable[str] = (),
    iteration: int | None = None,
    key: str | None = None,
    limit: int | None = None,
) -> Sequence[RowMapping]:
    """Jobs of a campaign with what became of their latest attempt."""
    narrow = Narrow(tuple(states), tuple(steps), () if iteration is None else (iteration,), key)
    return narrowed_rows(connection, campaign, narrow, limit)


def narrowed_rows(
    connection: Connection, campaign: int, narrow: Narrow, limit: int | None = None
) -> Sequence[RowMapping]:
    """Some jobs of a campaign with what became of their latest attempt."""
    latest = and_(attempts.c.job == jobs.c.id, attempts.c.number == jobs.c.attempt)
    columns = [c for c in attempts.c if c.name not in ("job", "number", "state")]
    found: list[RowMapping] = []
    for group in _groups_meant(connection, campaign, narrow):
        place = [literal(group[name]).label(name) for name in ("step", "iteration", "campaign")]
        statement = select(*jobs.c, *place, *columns).outerjoin_from(jobs, attempts, latest)
        found += connection.execute(_narrowed(statement, group, narrow, limit, len(found))).mappings()
    return found


def job_keys(
    connection: Connection, campaign: int, narrow: Narrow, limit: int | None = None
) -> Sequence[tuple[int, str, str]]:
    """Number, key and state of some jobs of a campaign: enough to choose, and small for a million."""
    found: list[tuple[int, str, str]] = []
    for group in _groups_meant(connection, campaign, narrow):
        statement = _narrowed(select(jobs.c.id, jobs.c.key, jobs.c.state), group, narrow, limit, len(found))
        found += [(number, key, state) for number, key, state in connection.execute(statement)]
    return found


def _groups_meant(connection: Connection, campaign: int, narrow: Narrow) -> Sequence[RowMapping]:
    """The groups in which such jobs can be: their counters tell."""
    return [
        group
        for group in group_rows(connection, campaign)
        if (not narrow.steps or group["step"] in narrow.steps)
        and (not narrow.iterations or group["iteration"] in narrow.iterations)
        and (not narrow.states or any(group[state] for state in narrow.states))
    ]


def _narrowed(statement: Select[Any], group: RowMapping, narrow: Narrow, limit: int | None, found: int) -> Select[Any]:
    """The jobs of one group, in their order: a walk over consecutive numbers that ends at the limit."""
    first = max(group["first_job"], narrow.after + 1)
    statement = statement.where(jobs.c.id.between(first, group["first_job"] + group["total"] - 1)).order_by(jobs.c.id)
    if narrow.states:
        statement = statement.where(jobs.c.state.in_(narrow.states))
        if {"failed", "held", "killed"}.issuperset(narrow.states):
            # Few among many: through their own index.
            statement = statement.where(jobs.c.group == group["id"], text(f"jobs.{TROUBLED}"))
    if narrow.key is not None:
        statement = statement.where(jobs.c.key == narrow.key)
    if narrow.like is not None:
        statement = statement.where(jobs.c.key.like(narrow.like, escape="!"))
    return statement if limit is None else statement.limit(max(0, limit - found))


def job_row(connection: Connection, job: int) -> RowMapping:
    """One job, by its number, with its group's step, iteration and campaign."""
    statement = (
        select(*jobs.c, groups.c.step, groups.c.iteration, groups.c.campaign, groups.c.first_job)
        .join(groups, groups.c.id == jobs.c.group)
        .where(jobs.c.id == job)
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFoundError(
            f"there is no job {job}", hint="fiducial job list CAMPAIGN shows the jobs and their numbers"
        )
    return row


def attempts_of(connection: Connection, job: int) -> Sequence[RowMapping]:
    """All attempts at a job."""
    return (
        connection.execute(select(attempts).where(attempts.c.job == job).order_by(attempts.c.number)).mappings().all()
    )


def transitions_of(connection: Connection, job: int) -> Sequence[RowMapping]:
    """Everything that happened to a job."""
    statement = select(transitions).where(transitions.c.job == job).order_by(transitions.c.id)
    return connection.execute(statement).mappings().all()


def artifacts_of(connection: Connection, job: int) -> Sequence[RowMapping]:
    """What a job published."""
    return connection.execute(select(artifacts).where(artifacts.c.job == job)).mappings().all()


def pending_artifacts(connection: Connection, first: int, last: int, name: str) -> Sequence[Any]:
    """Files published as ``name`` by the jobs ``first`` to ``last``: (path, size, adler32) in the order of the jobs.

    Where an output is several files, each has its own name behind that of the output and a slash.
    """
    one_of_several = and_(artifacts.c.name > f"{name}/", artifacts.c.name < f"{name}0")  # 0 comes next after the slash
    return connection.execute(
        select(artifacts.c.path, artifacts.c.size, artifacts.c.adler32)
        .where(artifacts.c.job.between(first, last), or_(artifacts.c.name == name, one_of_several))
        .order_by(artifacts.c.job, artifacts.c.name)
    ).fetchall()


def instances_of(connection: Connection, group: Any) -> list[Instance]:
    """What a group was made of, to make another of the same."""
    from fiducial.core.plan import Instance  # brings pydantic, which a quick look does not need

    inside = jobs.c.id.between(group.first_job, group.first_job + group.total - 1)
    rows = connection.execute(select(jobs.c.key, jobs.c.vals).where(inside).order_by(jobs.c.id))
    return [Instance(key, json.loads(vals) if vals else {}) for key, vals in rows]


def active_attempts(connection: Connection, campaign: int) -> Sequence[RowMapping]:
    """Attempts of a campaign that some agent is at, or was at when it died."""
    statement = (
        select(
            jobs.c.id,
            jobs.c.attempt,
            jobs.c.key,
            jobs.c.state,
            groups.c.step,
            groups.c.iteration,
            attempts.c.agent,
            attempts.c.site,
            attempts.c.lease_until,
        )
        .select_from(groups)
        .join(jobs, jobs.c.id.between(groups.c.first_job, groups.c.first_job + groups.c.total - 1))
        .join(attempts, and_(attempts.c.job == jobs.c.id, attempts.c.number == jobs.c.attempt))
        .where(
            groups.c.campaign == campaign,
            groups.c.submitted + groups.c.running + groups.c.lost + groups.c.held > 0,
            UNDER_WAY,
        )
    )
    return connection.execute(statement).mappings().all()


_ORDERED = select(jobs.c.id).where(jobs.c.order.is_not(None))
_ORDERS = (
    select(jobs.c.id, jobs.c.attempt, jobs.c.order)
    .join(attempts, and_(attempts.c.job == jobs.c.id, attempts.c.number == jobs.c.attempt))
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)), UNDER_WAY, attempts.c.agent == bindparam("agent"))
)


def orders(connection: Connection, agent: str) -> Sequence[Any]:
    """Orders for an agent: (job, attempt, order)."""
    # In two steps, since a planner may begin with all attempts, and mostly there are no orders at all.
    ids = list(connection.execute(_ORDERED).scalars())
    return connection.execute(_ORDERS, {"ids": ids, "agent": agent}).fetchall() if ids else []


def usage(connection: Connection, campaign: int) -> Sequence[RowMapping]:
    """What each step cost over all its attempts: CPU and wall seconds, peak memory, attempts. From counters."""
    statement = (
        select(
            groups.c.step,
            func.sum(groups.c.attempts).label("attempts"),
            func.sum(groups.c.cpu_s).label("cpu_s"),
            func.sum(groups.c.wall_s).label("wall_s"),
            func.max(groups.c.max_rss).label("max_rss"),
        )
        .where(groups.c.campaign == campaign)
        .group_by(groups.c.step)
        .order_by(func.min(groups.c.id))
    )
    return connection.execute(statement).mappings().all()


def group_pages(
    connection: Connection, first: int, total: int, size: int
) -> Iterator[tuple[Sequence[RowMapping], dict[str, Sequence[RowMapping]]]]:
    """The jobs of a group, a page at a time, each with its jobs' attempts, transitions and artifacts by table name."""
    for start in range(first, first + total, size):
        last = min(start + size, first + total) - 1
        page = connection.execute(select(jobs).where(jobs.c.id.between(start, last)).order_by(jobs.c.id))
        yield (
            page.mappings().all(),
            {
                table.name: connection.execute(
                    select(table).where(table.c.job.between(start, last)).order_by(table.c.job, *order)
                )
                .mappings()
                .all()
                for table, order in (
                    (attempts, (attempts.c.number,)),
                    (transitions, (transitions.c.id,)),
                    (artifacts, (artifacts.c.name,)),
                )
            },
        )


def metric_rows(connection: Connection, campaign: int) -> Iterator[RowMapping]:
    """Every metric of a campaign, one at a time."""
    order = (metrics.c.iteration, metrics.c.step, metrics.c.job, metrics.c.name)
    statement = select(metrics).where(metrics.c.campaign == campaign).order_by(*order)
    yield from connection.execute(statement.execution_options(yield_per=5000)).mappings()


def agents_named(connection: Connection, ids: Iterable[str]) -> dict[str, RowMapping]:
    """The agents with these identities."""
    rows = connection.execute(select(agents).where(agents.c.id.in_(list(ids)))).mappings()
    return {row["id"]: row for row in rows}


def agent_rows(connection: Connection) -> Sequence[RowMapping]:
    """All agents that were ever seen, the latest first."""
    return connection.execute(select(agents).order_by(agents.c.started.desc())).mappings().all()
