"""What all batch systems do alike: the same workflow, the same states in the ledger, whatever happens to the jobs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan
from fiducial.core.errors import BackendError
from rigs.player import WAIT_FOR_FILE, Player, script

# ------------------------------------------------------------------------------------------------ ends of jobs


@pytest.mark.every_variant
def test_a_job_is_done_when_its_outputs_are_proved(player: Player) -> None:
    text = 'echo hello > "{{ output }}"; echo \'{"chi2": 1.5}\' > "$FIDUCIAL_METRICS"; sleep 1'
    player.create({"a": script(text, fanout=fan(3), outputs=["out {{ file }} ü.txt"], metrics=["chi2"])})
    player.play()
    assert player.counts() == {"done": 3}
    assert sorted(path.name for path in player.campaign.folder.glob("out*")) == [f"out {n} ü.txt" for n in range(3)]
    attempt = player.last("a/00001")
    assert attempt["host"]
    assert attempt["backend_id"]
    assert attempt["wall_s"] >= 1.0
    assert "running" in player.stage.history(player.stage.job(player.campaign, "a/00001")["id"])


def test_an_exit_code_is_told_and_tried_again_as_often_as_the_step_says(player: Player) -> None:
    player.create({"a": script("exit 3", retry={"max": 1})})
    player.play()
    assert player.counts() == {"failed": 1}
    assert [(each["cause"], each["exit_code"]) for each in player.attempts("a")] == [("exit", 3)] * 2


def test_a_signal_is_told(player: Player) -> None:
    player.create({"a": script("kill -SEGV $$")})
    player.play()
    assert (player.last("a")["cause"], player.last("a")["signal"]) == ("signal", 11)


def test_a_job_that_ran_out_of_memory_gets_more(player: Player) -> None:
    hungry = 'python3 -c "import time; x = bytearray(150_000_000); time.sleep(3)"'
    player.create(
        {"a": script(hungry, resources={"memory": "100 MB"}, retry={"max": 1, "memory_factor": 4})},
    )
    player.play()
    assert player.counts() == {"done": 1}
    assert [each["cause"] for each in player.attempts("a")] == ["memory", "ok"]


def test_a_job_that_ran_too_long_is_stopped(player: Player) -> None:
    player.create({"a": script("sleep 60", resources={"walltime": "2s"})})
    player.play()
    assert player.counts() == {"failed": 1}
    assert player.last("a")["cause"] == "wall_time"


def test_a_missing_output_is_a_failure(player: Player) -> None:
    player.create({"a": script("true", outputs=["never.txt"])})
    player.play()
    assert player.last("a")["cause"] == "output"
    assert "never.txt" in player.last("a")["message"]


def test_a_runner_that_was_killed_with_all_it_ran_is_run_again(player: Player) -> None:
    text = 'if [ "$FIDUCIAL_ATTEMPT" = 1 ]; then kill -9 $PPID; sleep 0.5; kill -9 $$; fi'
    player.create({"a": script(text)})
    player.play()
    assert player.counts() == {"done": 1}
    assert [each["cause"] for each in player.attempts("a")] == ["lost", "ok"]


# ---------------------------------------------------------------------------------------- steps and environment


FIT = """
cat {% for path in inputs.all %}"{{ path }}" {% endfor %} > "{{ output }}"
echo "{\\"shift\\": 0.$((4 - {{ iteration }}))}" > "$FIDUCIAL_METRICS"
"""


def test_steps_wait_for_each_other_and_iterations_end_when_they_may(player: Player) -> None:
    reco = script(
        'echo {{ iteration }} > "{{ output }}"', fanout=fan(3), iterate=True, outputs=["{{ iteration }}.{{ file }}"]
    )
    inputs = {"all": {"from": "reco"}}
    fit = script(FIT, iterate=True, after="reco", inputs=inputs, outputs=["fit.{{ iteration }}"], metrics=["shift"])
    player.create({"reco": reco, "fit": fit}, iteration={"max": 5, "until": "fit.shift < 0.25"})
    player.play()
    assert player.stage.row(player.campaign)["state"] == "done"
    assert player.stage.row(player.campaign)["iteration"] == 2
    assert (player.campaign.folder / "fit.2").read_text() == "2\n2\n2\n"


def test_the_site_brings_environment_and_scratch(player: Player, tmp_path: Path) -> None:
    setup = tmp_path / "set up.sh"
    setup.write_text('export GREETING="grüß Gott"\n')
    scratch = tmp_path / "node scratch"
    scratch.mkdir()
    player.create(
        {"a": script('echo "$GREETING from $PWD" > {{ output }}', outputs=["said.txt"])},
        site={"environment_script": str(setup), "scratch": str(scratch)},
    )
    player.play()
    said = (player.campaign.folder / "said.txt").read_text()
    assert said.startswith("grüß Gott from ")
    assert str(scratch) in said


# --------------------------------------------------------------------------------------------- holds and orders


def test_a_job_that_is_held_by_hand_goes_on_when_it_is_released_by_hand(player: Player) -> None:
    busy = player.rig.pool.slots
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(busy + 1))})
    player.play(player.has(running=busy))
    [waiting] = [row for row in player.rows() if row["state"] == "submitted"]
    name = player.stage.attempts(waiting["id"])[-1]["backend_id"]
    player.rig.hold([name])
    player.play(player.has(held=1))
    assert player.stage.history(waiting["id"])[-1] == "held"
    player.go()
    player.play(player.has(done=busy))
    player.rig.release([name])
    player.play()
    assert player.counts() == {"done": busy + 1}
    assert len(player.stage.attempts(waiting["id"])) == 1


def test_a_job_that_is_held_by_order_stays_in_the_queue_until_it_is_released(player: Player) -> None:
    busy = player.rig.pool.slots
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(busy + 1))})
    player.play(player.has(running=busy))
    [waiting] = [row["id"] for row in player.rows() if row["state"] == "submitted"]
    player.stage.scheduler.hold([waiting], "me")
    player.play(player.has(held=1))
    player.go()
    player.play(player.has(done=busy))
    player.stage.scheduler.release(player.campaign.id, [waiting], "me")
    player.play()
    assert player.counts() == {"done": busy + 1}
    assert len(player.stage.attempts(waiting)) == 1


@pytest.mark.every_variant
def test_a_campaign_is_cancelled_whatever_its_jobs_do(player: Player) -> None:
    player.create({"a": script("sleep 100", fanout=fan(player.rig.pool.slots + 8))})
    player.play(player.has(running=2))
    player.stage.scheduler.cancel(player.campaign.id, "me")
    player.play(lambda: player.counts()["killed"] == player.rig.pool.slots + 8)
    player.rig.pool.wait_for(lambda: player.rig.in_queue() == 0, "an empty queue", 60)


def test_one_job_of_many_is_killed(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(4))})
    player.play(player.has(running=4))
    wanted = player.stage.job(player.campaign, "a/00002")["id"]
    player.stage.scheduler.kill([wanted], "me")
    player.play(player.has(killed=1))
    player.go()
    player.play()
    assert player.counts() == {"done": 3, "killed": 1}


@pytest.mark.every_variant
def test_what_somebody_removes_by_hand_is_killed_and_not_run_again(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    name = player.last("a/00001")["backend_id"]
    player.rig.remove([name])
    player.play(player.has(killed=1))
    assert player.last("a/00001")["cause"] == "removed"
    player.go()
    player.play()
    assert player.counts() == {"done": 2, "killed": 1}


# ----------------------------------------------------------------------------------- trouble of the batch system


def test_a_queue_that_cannot_be_reached_for_a_while_loses_nothing(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3)), "b": script("true", after="a", fanout=fan(3))})
    player.play(player.has(running=3))
    player.rig.pool.stop_scheduler()
    player.go()
    end = time.monotonic() + 20
    player.play(lambda: time.monotonic() > end)
    player.rig.pool.start_scheduler()
    player.play()
    assert player.counts() == {"done": 6}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_a_scheduler_that_restarts_keeps_running_jobs(player: Player) -> None:
    player.create({"a": script(WAIT_FOR_FILE, fanout=fan(3))})
    player.play(player.has(running=3))
    player.rig.pool.restart()
    player.go()
    player.play()
    assert player.counts() == {"done": 3}


def test_what_is_refused_fails_with_the_systems_own_words(player: Player) -> None:
    player.create({"a": script("true", fanout=fan(3))}, site=player.rig.refused)
    player.play()
    assert player.counts() == {"failed": 3}
    assert player.last("a/00001")["cause"] == "refused"
    assert len(player.last("a/00001")["message"]) > 20


def test_a_submission_whose_answer_was_lost_is_in_the_queue_once(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    player.create({"a": script('echo once >> "{{ folder }}/log.{{ file }}"; sleep 1', fanout=fan(3))})
    player.start()
    system = player.backend._system
    submit, calls = system.submit, []

    def lose_answer(bundle: Any) -> str:
        calls.append(submit(bundle))
        raise BackendError("the answer was lost", transient=True)

    monkeypatch.setattr(system, "submit", lose_answer)
    player.play(lambda: bool(calls))
    monkeypatch.undo()
    for name, value in player.rig.pool.environment.items():
        monkeypatch.setenv(name, value)
    player.play()
    assert player.counts() == {"done": 3}
    assert all(player.last(f"a/{n:05d}")["backend_id"] for n in range(3))
    assert [(player.campaign.folder / f"log.{n}").read_text() for n in range(3)] == ["once\n"] * 3


# ------------------------------------------------------------------------------------- engines that come and go


@pytest.mark.every_variant
def test_an_engine_killed_between_submission_and_its_record_left_each_job_in_the_queue_once(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    player.create({"a": script('echo once >> "{{ folder }}/log.{{ file }}"; sleep 2', fanout=fan(5))})
    player.start()

    def die(bundle: Any, native: str) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(player.backend._journal, "accepted", die)
        with pytest.raises(KeyboardInterrupt):
            player.play(player.has(running=1))
    player.kill()
    player.play()
    assert player.counts() == {"done": 5}
    assert all(player.last(f"a/{n:05d}")["backend_id"] for n in range(5))
    assert [(player.campaign.folder / f"log.{n}").read_text() for n in range(5)] == ["once\n"] * 5
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_jobs_go_on_without_an_engine_and_the_next_one_finds_them(player: Player) -> None:
    player.create({"a": script('sleep 2; echo done > "{{ output }}"', fanout=fan(4), outputs=["{{ file }}.txt"])})
    player.play(player.has(submitted=1))
    player.stop()
    player.rig.pool.wait_for(lambda: player.rig.in_queue() == 0, "an empty queue", 90)
    player.play()
    assert player.counts() == {"done": 4}
    assert all(len(player.stage.attempts(row["id"])) == 1 for row in player.rows())


def test_a_job_of_somebody_else_that_has_our_number_is_not_taken_for_ours(player: Player) -> None:
    player.create({"a": script("sleep 100")})
    player.play(player.has(submitted=1))
    [name] = player.names()
    player.kill()
    player.rig.remove([name])
    foreign = player.rig.submit_foreign()
    [folder] = (player.campaign.folder / ".fiducial" / ".queue" / "site").glob("fd*")
    (folder / "native").write_text(foreign)
    player.play(lambda: len(player.attempts("a")) == 2)
    assert player.attempts("a")[0]["cause"] in ("lost", "removed")
    player.agent.end()
    player.rig.pool.wait_for(lambda: player.rig.in_queue() < 2, "the end of ours", 60)
    assert player.rig.in_queue() == 1  # theirs


# ------------------------------------------------------------------------------------------------------ numbers

MANY = 1000


def test_many_jobs_are_submitted_at_once_and_taken_back_at_once(player: Player) -> None:
    player.create({"a": script("sleep 0.2", fanout=fan(MANY))})
    player.play(player.has(done=20))
    player.stage.scheduler.cancel(player.campaign.id, "me")
    player.play(lambda: player.counts()["done"] + player.counts()["killed"] == MANY)
    player.rig.pool.wait_for(lambda: player.rig.in_queue() == 0, "an empty queue", 60)
    bundles = list((player.campaign.folder / ".fiducial" / ".queue" / "site").glob("fd*/bundle.json"))
    assert sum(len(json.loads(path.read_text())["keys"]) for path in bundles) <= MANY
