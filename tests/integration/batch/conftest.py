"""Specifications for the local backend, and ways to wait for its events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.backend import Event, Started
from fiducial.batch.local import LocalBackend


class Campaign:
    """Jobs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def directory(self, job: int, attempt: int = 1) -> Path:
        """Where an attempt lives."""
        return self.folder / "attempts" / f"{job}.{attempt}"

    def spec(self, job: int, script: str = "true", attempt: int = 1, **more: Any) -> dict[str, Any]:
        """A job with a shell script."""
        return {
            "format": 1,
            "ledger": "1ed6e7",
            "job": job,
            "attempt": attempt,
            "name": f"test/{job}",
            "script": script,
            "directory": str(self.directory(job, attempt)),
            "outputs": [],
            "grace": 1.0,
            **more,
        }

    def count(self, job: int) -> str:
        """A line for scripts that leaves a mark each time that the payload runs."""
        return f"echo $$ >> '{self.folder}/ran{job}'"

    def ran(self, job: int) -> int:
        """How often the payload has run."""
        path = self.folder / f"ran{job}"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """An empty campaign."""
    return Campaign(tmp_path)


@pytest.fixture
def backend() -> Iterator[LocalBackend]:
    """Two slots and a gigabyte."""
    with LocalBackend(2, memory=1_000_000_000) as made:
        yield made


def collect(backend: LocalBackend, enough: Callable[[list[Event]], Any], timeout: float = 20.0) -> list[Event]:
    """Poll until the events are enough."""
    events: list[Event] = []
    deadline = time.monotonic() + timeout
    while not enough(events):
        assert time.monotonic() < deadline, f"only {events}"
        events += backend.poll(0.2)
    return events


def ends(backend: LocalBackend, count: int) -> dict[tuple[int, int], Event]:
    """The last events of so many jobs."""

    def last(events: list[Event]) -> list[Event]:
        return [event for event in events if not isinstance(event, Started)]

    found = last(collect(backend, lambda events: len(last(events)) >= count))
    assert len({(event.job, event.attempt) for event in found}) == len(found) == count
    return {(event.job, event.attempt): event for event in found}


@pytest.fixture
def end_of() -> Callable[[LocalBackend, int], dict[tuple[int, int], Event]]:
    """Wait for the last events of so many jobs."""
    return ends


@pytest.fixture
def until() -> Callable[..., list[Event]]:
    """Poll until the events are enough."""
    return collect
