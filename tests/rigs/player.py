"""An engine for campaigns on a batch system, which a test can stop, kill and start again at any time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from campaigns import Stage
from fiducial.batch.backend import Backend
from fiducial.batch.kinds import find_kind
from fiducial.core.places import queue_folder
from fiducial.engine.agent import Agent
from fiducial.engine.campaign import Campaign
from rigs.rig import Rig

#: Nothing takes so long on a machine that is not stuck.
PATIENCE_SECONDS = 180.0


#: The payload of a job that runs until the campaign's folder has a file ``go``.
WAIT_FOR_FILE = 'while [ ! -e "{{ folder }}/go" ]; do sleep 0.1; done'


def script(text: str, **fields: Any) -> dict[str, Any]:
    """A step that runs a script once, unless it fans out; what fails is not tried again unless it is said."""
    return {"script": text, "retry": {"max": 0}, **fields}


def played_on(kind: type[Rig], request: pytest.FixtureRequest, folder: Path) -> Iterator[Player]:
    """An engine on the pool of a kind, whose commands find it by the environment; what it leaves is cleared away."""
    pool = request.getfixturevalue(kind.fixture)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in pool.environment.items():
            patch.setenv(name, value)
        player = Player(folder, kind(pool))
        yield player
        player.close()
        pool.mend()
        pool.clear()


class Player:
    """Plays the engine for one campaign.

    Attributes:
        stage: the ledger.
        rig: the batch system.
        campaign: the one that was created last.
    """

    def __init__(self, folder: Path, rig: Rig) -> None:
        self.stage = Stage(folder)
        self.rig = rig
        self.site_keys: dict[str, Any] = {}
        self.campaign: Campaign
        self.backend: Any = None
        self.agent: Any = None

    def create(self, steps: Mapping[str, Any], *, site: Mapping[str, Any] | None = None, **fields: Any) -> Campaign:
        """Create a campaign; its engine starts with the first `play`."""
        self.site_keys = dict(site or {})
        self.campaign = self.stage.create(steps, **fields)
        self.campaign.folder.mkdir(parents=True, exist_ok=True)
        return self.campaign

    def open(self) -> Backend:
        """A backend as an engine makes it."""
        site = self.rig.site(**self.site_keys)
        return find_kind(site.backend).open(site, queue_folder(self.campaign.folder, site.name))

    def start(self) -> None:
        """Start the engine, which takes over what another has left."""
        self.backend = self.open()
        self.agent = Agent(self.stage.scheduler, self.backend, self.campaign, site="site")
        self.agent.recover()
        self.stage.scheduler.settle(self.campaign.id)

    def stop(self) -> None:
        """End the engine in order; jobs go on."""
        self.agent.stop()
        self.agent = None

    def kill(self) -> None:
        """Forget the engine, as if it had been killed: nothing is told to anybody."""
        self.agent = None

    def play(self, until: Callable[[], bool] | None = None, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Let the engine work until something is so; by default until the campaign is over."""
        if self.agent is None:
            self.start()
        until = until or self.is_over
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {self.rows()}"
            self.agent.step(0.2)

    def is_over(self) -> bool:
        """Whether the campaign has ended."""
        return str(self.stage.row(self.campaign)["state"]) != "active"

    def rows(self) -> list[dict[str, Any]]:
        """All jobs."""
        return self.stage.rows(self.campaign)

    def counts(self) -> Counter[str]:
        """Jobs by state."""
        return Counter(row["state"] for row in self.rows())

    def has(self, **wanted: int) -> Callable[[], bool]:
        """Whether there are at least so many jobs in these states."""
        return lambda: self.counts() >= Counter(wanted)

    def attempts(self, job: str) -> list[dict[str, Any]]:
        """The attempts at a job, which is named by its step, or step/key."""
        return self.stage.attempts(self.stage.job(self.campaign, job)["id"])

    def last(self, job: str) -> dict[str, Any]:
        """The last attempt at a job."""
        return self.attempts(job)[-1]

    def names(self) -> list[str]:
        """What the jobs under way are called in the queue."""
        rows = [row for row in self.rows() if row["state"] in ("submitted", "running", "held", "lost")]
        return [name for row in rows if (name := self.stage.attempts(row["id"])[-1]["backend_id"])]

    def go(self) -> None:
        """Let jobs that wait for the file go on."""
        (self.campaign.folder / "go").touch()

    def close(self) -> None:
        """Leave nothing in the queue, and see that the ledger is consistent."""
        with suppress(Exception):
            if self.agent is not None:
                self.agent.end()
        self.stage.check()
        self.stage.close()
