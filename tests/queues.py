"""A fake batch system with a clock of its own: it shows faults and delays that a real one shows too rarely."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fiducial.batch.backend import Event
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.site import Site
from fiducial.core.errors import BackendError, QueueFullError


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)


class FakeSystem:
    """A queue in memory. A test moves its jobs by hand, and makes its commands fail.

    Attributes:
        queue: what is in the queue, and how it is.
        history: what accounting will say.
        room: how many jobs fit into the queue.
        calls: names of the commands that were run, in their order.
    """

    label = "fake queue"
    holds_parts = True

    def __init__(self, *, most: int = 1000, reads_log: bool = False) -> None:
        self.most = most
        self.reads_log = reads_log
        self.queue: dict[Ref, Status] = {}
        self.history: dict[Ref, Status] = {}
        self.bundles: dict[str, Bundle] = {}
        self.calls: list[str] = []
        self.failures: dict[str, list[BackendError]] = {}
        self.lose_answers = 0
        self.forgotten: list[str] = []
        self.room: float = math.inf

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nothing answers."""
        for name in ("submit", "find", "news", "endings", "cancel", "hold", "release"):
            self.failures[name] = [BackendError("the controller does not answer", transient=True)] * 10_000
        try:
            yield
        finally:
            self.failures.clear()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failures.get(name):
            raise self.failures[name].pop()

    def submit(self, bundle: Bundle) -> str:
        self._call("submit")
        if len(self.queue) + len(bundle.keys) > self.room:
            raise QueueFullError("so many jobs are enough")
        native = str(100 + len(self.bundles))
        self.bundles[native] = bundle
        self.queue |= {Ref(native, place): Status("pending") for place in range(1, len(bundle.keys) + 1)}
        if self.lose_answers:
            self.lose_answers -= 1
            raise BackendError("the answer did not come", transient=True)
        return native

    def find(self, bundle: Bundle) -> str | None:
        self._call("find")
        return next((native for native, known in self.bundles.items() if known.token == bundle.token), None)

    def job_id(self, ref: Ref) -> str:
        return f"{ref.native}/{ref.place}"

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        self._call("news")
        wanted = {bundle.native for bundle in bundles}
        found = {ref: status for ref, status in self.queue.items() if ref.native in wanted}
        if self.reads_log:
            self.queue = {}
        return found

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        self._call("endings")
        said = {**self.queue, **self.history}
        return {ref: said[ref] for ref in refs if ref in said}

    def cancel(self, refs: Iterable[Ref]) -> None:
        self._call("cancel")
        for ref in refs:
            self.queue.pop(ref, None)

    def hold(self, refs: Iterable[Ref]) -> None:
        self._call("hold")
        self.queue |= dict.fromkeys(refs, Status("held", "held by its owner"))

    def release(self, refs: Iterable[Ref]) -> None:
        self._call("release")
        self.queue |= dict.fromkeys(refs, Status("pending"))

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Nothing: the file system is shared."""

    def forget(self, bundle: Bundle) -> None:
        self.forgotten.append(bundle.native)

    # ---------------------------------------------------------------- what a test does to jobs

    def run(self, ref: Ref, *, marked: bool = False) -> None:
        """A job's payload begins."""
        self.queue[ref] = Status("running", host="node1")
        bundle = self.bundles[ref.native]
        bundle.directories[ref.place - 1].mkdir(parents=True, exist_ok=True)
        (bundle.directories[ref.place - 1] / "log.txt").touch()
        if marked:
            (bundle.folder / "begun" / str(ref.place)).touch()

    def end(self, ref: Ref, result: Mapping[str, Any] | None, *, marked: bool = True) -> None:
        """A job leaves the queue, with a result or without."""
        bundle = self.bundles[ref.native]
        directory = bundle.directories[ref.place - 1]
        directory.mkdir(parents=True, exist_ok=True)
        self.queue.pop(ref, None)
        if result is not None:
            job, attempt = bundle.keys[ref.place - 1]
            (directory / "result.json").write_text(json.dumps({**result, "job": job, "attempt": attempt}))
            if marked:
                (bundle.folder / "ended" / str(ref.place)).touch()


class Rig:
    """A queue backend on a fake system, and short ways to drive it."""

    def __init__(self, folder: Path, system: FakeSystem | None = None, **site: Any) -> None:
        self.folder = folder
        self.clock = Clock()
        self.system = system or FakeSystem()
        self.site = Site(name="test", backend="fake", **site)
        self.backend = self.again()

    def again(self) -> QueueBackend:
        """Another backend over the same submissions, as after a restart."""
        self.backend = QueueBackend(
            self.system, self.site, self.folder / "queue", clock=self.clock, sleep=self.clock.sleep
        )
        return self.backend

    def spec(self, job: int, attempt: int = 1, step: str = "reco", **fields: Any) -> dict[str, Any]:
        """A specification as the engine writes it."""
        return {
            "format": 1,
            "ledger": "l",
            "job": job,
            "attempt": attempt,
            "name": f"camp/{step}/01/{job:05d}",
            "argv": ["true"],
            "directory": str(self.folder / "attempts" / f"{job}.{attempt}"),
            "environment_script": None,
            "scratch": None,
            **fields,
        }

    def submit(self, count: int, **fields: Any) -> list[Ref]:
        """Hand over jobs 1 to ``count``; their names in the queue."""
        taken = self.backend.submit([self.spec(job, **fields) for job in range(1, count + 1)])
        assert len(taken) == count
        return sorted(self.system.queue)

    def wait(self, seconds: float) -> list[Event]:
        """All events of a time span."""
        end, events = self.clock.now + seconds, []
        while self.clock.now < end:
            events += self.backend.poll(end - self.clock.now)
        return events

    def traces(self) -> list[str]:
        """Folders of submissions that are there."""
        folder = self.folder / "queue"
        return sorted(each.name for each in folder.iterdir()) if folder.exists() else []
