"""A batch system of a real cluster, which the tests cannot start themselves, such as LSF or PBS.

``FIDUCIAL_TEST_SITE`` holds the site's table, and ``FIDUCIAL_TEST_FOLDER`` a folder that the nodes see::

    export FIDUCIAL_TEST_SITE=$'backend = "lsf"\\nqueue = "short"' FIDUCIAL_TEST_FOLDER=$HOME
    pytest tests/batch/test_live_site.py
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaigns import fan
from fiducial.batch.kinds import read_site
from fiducial.batch.site import Site
from rigs.player import Player, script

#: A cluster has other users.
PATIENCE_SECONDS = 3600.0


class LiveRig:
    """The site that the environment describes."""

    pool = None

    def site(self, **more: Any) -> Site:
        table = tomllib.loads(os.environ["FIDUCIAL_TEST_SITE"])
        return read_site("site", {"fastest_poll": 5.0, **table, **more}, "FIDUCIAL_TEST_SITE")


@pytest.fixture
def player() -> Iterator[Player]:
    with tempfile.TemporaryDirectory(dir=os.environ["FIDUCIAL_TEST_FOLDER"], prefix="try out ") as folder:
        made = Player(Path(folder), LiveRig())  # type: ignore[arg-type]
        yield made
        made.close()


def test_jobs_run_and_prove_their_outputs(player: Player) -> None:
    player.create({"a": script('echo hello > "{{ output }}"', fanout=fan(3), outputs=["{{ file }}.txt"])})
    player.play(seconds=PATIENCE_SECONDS)
    assert player.counts() == {"done": 3}


def test_an_exit_code_is_told(player: Player) -> None:
    player.create({"a": script("exit 3")})
    player.play(seconds=PATIENCE_SECONDS)
    assert (player.last("a")["cause"], player.last("a")["exit_code"]) == ("exit", 3)


def test_a_campaign_is_cancelled(player: Player) -> None:
    player.create({"a": script("sleep 600", fanout=fan(3))})
    player.play(player.has(running=1), seconds=PATIENCE_SECONDS)
    player.stage.scheduler.cancel(player.campaign.id, "me")
    player.play(player.has(killed=3), seconds=PATIENCE_SECONDS)


def test_a_job_that_is_held_by_order_is_released(player: Player) -> None:
    player.create({"a": script("sleep 20", fanout=fan(2))})
    player.play(player.has(submitted=2), seconds=PATIENCE_SECONDS)
    jobs = [row["id"] for row in player.rows()]
    player.stage.scheduler.hold(jobs, "me")
    player.play(player.has(held=2), seconds=PATIENCE_SECONDS)
    player.stage.scheduler.release(player.campaign.id, jobs, "me")
    player.play(seconds=PATIENCE_SECONDS)
    assert player.counts() == {"done": 2}
