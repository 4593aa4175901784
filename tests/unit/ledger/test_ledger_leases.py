"""Leases and what is written about them, straight at the ledger's functions."""

from __future__ import annotations

from sqlalchemy import select

from campaigns import Stage, failure, fan, recount, step
from fiducial.core.plan import Instance
from fiducial.core.states import JobState
from fiducial.ledger import ledger as write
from fiducial.ledger import queries
from fiducial.ledger.agents import insert_agent, stop_agent
from fiducial.ledger.ledger import Lease
from fiducial.ledger.schema import agents, artifacts, attempts, groups, jobs, metrics

MINE, OTHER = Lease("mine", "here", 60.0), Lease("other", "there", 60.0)


def test_a_lease_names_agent_site_and_end(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    group = stage.group(campaign, "a")["id"]
    with stage.database.write() as connection:
        (job,) = write.lease(connection, [group], 9, MINE, 1000.0)
    assert (job.attempt, job.state) == (1, JobState.SUBMITTED)
    (attempt,) = stage.attempts(job.id)
    assert (attempt["agent"], attempt["site"]) == ("mine", "here")
    assert (attempt["leased"], attempt["lease_until"]) == (1000.0, 1060.0)


def test_groups_are_leased_from_in_the_order_that_is_asked_for(stage: Stage) -> None:
    stage.create({"a": step(fanout=fan(2)), "b": step(fanout=fan(2))})
    with stage.database.write() as connection:
        taken = write.lease(connection, [2, 1], 3, MINE, 0.0)
    assert [(job.group, job.key) for job in taken] == [(2, "00000"), (2, "00001"), (1, "00000")]


def test_a_lease_of_nothing_is_empty(stage: Stage) -> None:
    stage.create({"a": step()})
    with stage.database.write() as connection:
        assert write.lease(connection, [], 5, MINE, 0.0) == []
        assert write.lease(connection, [99], 5, MINE, 0.0) == []


def test_only_the_agents_own_open_leases_are_prolonged(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3))})
    with stage.database.write() as connection:
        mine = write.lease(connection, [1], 2, MINE, 0.0)
        theirs = write.lease(connection, [1], 1, OTHER, 0.0)
    stage.end({"job": mine[0].id, "attempt": 1})
    with stage.database.write() as connection:
        assert write.renew(connection, MINE, 500.0) == 1
        until = dict(connection.execute(select(attempts.c.job, attempts.c.lease_until)).fetchall())
    assert until == {mine[0].id: 60.0, mine[1].id: 560.0, theirs[0].id: 60.0}
    assert stage.group(campaign, "a")["done"] == 1


def test_an_adopted_attempt_is_the_new_agents(stage: Stage) -> None:
    stage.create({"a": step(fanout=fan(2))})
    with stage.database.write() as connection:
        one, two = write.lease(connection, [1], 2, OTHER, 0.0)
        write.adopt(connection, [(one.id, 1)], MINE, 100.0)
        write.adopt(connection, [], MINE, 100.0)
        write.order(connection, [one.id, two.id], "kill")
        assert [row[0] for row in queries.orders(connection, "mine")] == [one.id]
        assert [row[0] for row in queries.orders(connection, "other")] == [two.id]


def test_orders_are_for_what_is_under_way(stage: Stage) -> None:
    stage.create({"a": step(fanout=fan(3))})
    with stage.database.write() as connection:
        (leased,) = write.lease(connection, [1], 1, MINE, 0.0)
        assert write.order(connection, [1, 2, 3], "hold") == 1
        assert [tuple(row) for row in queries.orders(connection, "mine")] == [(leased.id, 1, "hold")]
        assert write.order(connection, [leased.id], None) == 1
        assert queries.orders(connection, "mine") == []


def test_what_is_forgotten_is_that_of_these_jobs_alone(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(3))})
    place = {"campaign": campaign.id, "iteration": 0, "step": "a"}
    with stage.database.write() as connection:
        for job in (1, 2, 3):
            row = {"job": job, "name": "0", "path": f"/{job}", "size": 1, "adler32": "00000001"}
            connection.execute(artifacts.insert().values(**row))
        write.write_metrics(connection, [{**place, "job": job, "name": "m", "value": float(job)} for job in (1, 2, 3)])
        (group,) = queries.group_rows(connection, campaign.id)
        write.forget(connection, campaign.id, group, [2])
        write.forget(connection, campaign.id, group, [])
        assert list(connection.execute(select(artifacts.c.job)).scalars()) == [1, 3]
        assert list(connection.execute(select(metrics.c.job)).scalars()) == [1, 3]


def test_files_of_an_output_are_found_under_its_name(stage: Stage) -> None:
    stage.create({"a": step()})
    names = ("fit", "fit/two/b", "fit/one/a", "fit0", "fits/one/a", "fit.x")
    with stage.database.write() as connection:
        for name in names:
            row = {"job": 1, "name": name, "path": f"/{name}", "size": 1, "adler32": "00000001"}
            connection.execute(artifacts.insert().values(**row))
        found = [row[0] for row in queries.pending_artifacts(connection, 1, 1, "fit")]
    assert found == ["/fit", "/fit/one/a", "/fit/two/b"]


def test_numbers_of_jobs_are_never_given_twice(stage: Stage) -> None:
    first = stage.create({"a": step(fanout=fan(4)), "b": step()}, name="one")
    second = stage.create({"a": step(fanout=fan(2))}, name="two")
    assert [row["id"] for row in stage.rows(first)] == [1, 2, 3, 4, 5]
    assert [row["id"] for row in stage.rows(second)] == [6, 7]


def test_a_large_group_is_stored_in_parts(stage: Stage) -> None:
    campaign = stage.create({"a": step()})
    total = write.BATCH + 7
    with stage.database.write() as connection:
        made = (Instance(str(number), {"file": number}) for number in range(total))
        group = write.insert_group(connection, campaign.id, "many", 0, made)
        row = connection.execute(select(groups).where(groups.c.id == group)).mappings().one()
        assert (row["total"], row["waiting"], row["first_job"]) == (total, total, 2)
        keys = list(connection.execute(select(jobs.c.key).where(jobs.c.group == group).order_by(jobs.c.id)).scalars())
        assert keys == [str(number) for number in range(total)]
        assert write.open_group(connection, connection.execute(select(groups)).all()[-1], 5.0) == total
        assert recount(connection)[group]["ready"] == total
        assert list(queries.instances_of(connection, row))[-1] == Instance(str(total - 1), {"file": total - 1})


def test_a_mass_change_is_counted_and_written_into_the_history(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(4))})
    (spec,) = stage.lease(campaign, 1)
    stage.end(spec, failure())
    with stage.database.write() as connection:
        (group,) = queries.group_rows(connection, campaign.id)
        states = (JobState.READY, JobState.HELD)
        assert write.change_all(connection, group, states, JobState.KILLED, "me", "enough", 9.0) == 4
    assert stage.group(campaign, "a")["killed"] == 4
    assert stage.group(campaign, "a")["retrying"] == 0
    assert [stage.history(job)[-1] for job in (1, 2, 3, 4)] == ["killed"] * 4


def test_agents_are_known_from_start_to_end(stage: Stage) -> None:
    with stage.database.write() as connection:
        row = {"id": "mine", "site": "here", "host": "node1", "pid": 7, "started": 1.0, "seen": 1.0}
        insert_agent(connection, row)
        write.renew(connection, MINE, 2.0)
        assert connection.execute(select(agents.c.seen, agents.c.stopped)).one() == (2.0, None)
        stop_agent(connection, "mine", 3.0)
        assert connection.execute(select(agents.c.seen, agents.c.stopped)).one() == (3.0, 3.0)


def test_what_every_step_cost_is_told_over_all_its_attempts(stage: Stage) -> None:
    campaign = stage.create({"a": step(fanout=fan(2)), "b": step(after="a")})
    first, second = stage.lease(campaign)
    stage.end(first, {**failure(), "usage": {"wall_s": 10.0, "cpu_s": 4.0, "max_rss": 900}})
    stage.end(second)
    (again,) = stage.lease(campaign)
    stage.end(again)
    with stage.database.read() as connection:
        a, b = queries.usage(connection, campaign.id)
    assert (a["step"], a["attempts"], a["wall_s"], a["cpu_s"], a["max_rss"]) == ("a", 3, 12.0, 5.0, 900)
    assert (b["step"], b["attempts"], b["wall_s"]) == ("b", 0, 0.0)


def test_a_campaign_is_found_by_name_before_number(stage: Stage) -> None:
    first = stage.create({"a": step()}, name="first")
    stage.create({"a": step()}, name="1")
    with stage.database.read() as connection:
        by_name, by_number = queries.find_campaign(connection, "1"), queries.find_campaign(connection, "2")
        assert by_name is not None
        assert by_number is not None
        assert (by_name["name"], by_number["name"]) == ("1", "1")
        assert queries.find_campaign(connection, "3") is None
        assert queries.campaign_row(connection, first.id)["name"] == "first"
