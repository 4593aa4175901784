"""A DAG as a backend: what DAGMan's logs tell of its nodes, and orders to HTCondor for their jobs."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fiducial.batch.backend import JobKey
from fiducial.batch.dagman.control import Manager, command, manager
from fiducial.batch.htcondor.eventlog import EventLog, Kind, LogEvent
from fiducial.batch.planned.followed import NodeState, Phase, PlannedBackend
from fiducial.batch.planned.plan import read_plan
from fiducial.core.errors import BackendError

__all__ = ["DagBackend"]


class DagBackend(PlannedBackend):
    """Follows the DAG in a folder.

    Args:
        here: the DAG's folder.
        commands: folder of HTCondor's commands; by default as PATH says.
    """

    over = "DAGMan ended before it began"

    def __init__(self, here: Path, commands: Path | None = None) -> None:
        super().__init__(read_plan(here))
        self.here = here
        self.manager: Manager = manager(here, self.plan.dag)
        self._commands = commands
        self._log = EventLog(here / f"{self.plan.dag}.nodes.log")
        self._clusters: dict[int, str] = {}

    @property
    def phase(self) -> Phase:
        """How DAGMan itself is."""
        return self.manager.phase

    def _is_silent(self, step: str) -> bool:
        """Of what scripts run, no log tells."""
        return step in self.plan.layout.local or bool(self.plan.until and self.plan.is_after(step))

    def _read(self) -> None:
        """Take in what the logs say."""
        self.manager = manager(self.here, self.plan.dag)
        try:
            for event in self._log.read():
                self._note(event)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._log.path} cannot be read: {error.strerror}"

    def _note(self, event: LogEvent) -> None:
        if event.kind == Kind.SUBMITTED and event.node:
            self._clusters[event.cluster] = event.node
            self._nodes[event.node] = NodeState(str(event.cluster))
        node = self._nodes.get(self._clusters.get(event.cluster, ""))
        if node is None or node.name != str(event.cluster):
            return
        match event.kind:
            case Kind.EXECUTING:
                node.started, node.host, node.held = event.at, event.host, ""
            case Kind.HELD:
                node.held, node.started = event.reason or "held", 0.0
            case Kind.RELEASED | Kind.EVICTED:
                node.held, node.started = "", 0.0
            case Kind.TERMINATED | Kind.ABORTED:
                node.ended, node.held = event.at, ""
                node.why = event.reason if event.kind == Kind.ABORTED else ""
        key = self._of_node.get(self._clusters[event.cluster])
        if key in self._jobs:
            self._dirty.add(key)

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Take nodes' jobs out of the queue; DAGMan is told nothing, and may try them again."""
        wanted = {key for key in jobs if key in self._jobs}
        self._order("condor_rm", wanted)
        self._unwanted |= {key for key in wanted if not self._is_queued(key)}

    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Keep nodes' jobs from starting."""
        self._order("condor_hold", jobs)

    def release(self, jobs: Iterable[JobKey]) -> None:
        """Let held jobs start."""
        self._order("condor_release", jobs)

    def _order(self, what: str, jobs: Iterable[JobKey]) -> None:
        queued = [key for key in jobs if key in self._jobs and self._is_queued(key)]
        clusters = [self._nodes[self._jobs[key].node].name for key in queued]
        if not clusters:
            return
        with suppress(BackendError):  # what left the queue meanwhile cannot be ordered about, and tells by its events
            command([what, *clusters], self.here, self._commands)
