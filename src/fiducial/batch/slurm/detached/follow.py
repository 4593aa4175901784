"""A campaign that Slurm was given at once, as a backend: marks and results tell most, and now and then one question."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fiducial.batch.backend import Event, Finished, JobKey, Lost
from fiducial.batch.claims import read_result
from fiducial.batch.planned.followed import FollowedJob, NodeState, Phase, PlannedBackend, key_number
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.slurm.detached.arrays import Array
from fiducial.batch.slurm.detached.store import Run, last_run, marks_folder, summed_up
from fiducial.batch.slurm.detached.write import plan_in, to_bundle
from fiducial.batch.slurm.site import SlurmSite
from fiducial.batch.slurm.system import Slurm
from fiducial.core.errors import BackendError

__all__ = ["DetachedBackend"]

#: Which of several tasks of a job tells how it is.
_ORDER = ("running", "held", "pending", "ended")
#: After so many questions in vain, nobody will know any more.
_MOST_ASKED = 3
_STOPPED = Status("ended", "it was stopped, and Slurm does not say by whom", "removed")
#: A folder's time that is older than this, in nanoseconds, will change with its content.
_SETTLED = 2_000_000_000


@dataclass
class _Marks:
    """Marks of one kind that jobs of a group have left.

    Args:
        changed: of the folder, when it was read last, in nanoseconds since the epoch.
    """

    folder: Path
    changed: int = 0
    seen: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Take in those that came since the last look."""
        with suppress(OSError):
            changed = self.folder.stat().st_mtime_ns
            # What is written while we look may not change the folder's time once more.
            if changed != self.changed or time.time_ns() - changed < _SETTLED:
                self.seen = {mark.name for mark in self.folder.iterdir()}
            self.changed = changed


class DetachedBackend(PlannedBackend):
    """Follows the campaign in a folder.

    Args:
        here: the campaign's folder.
        site: the Slurm that was given it.
    """

    over = "nothing of the campaign is in the queue any more"

    def __init__(self, here: Path, site: SlurmSite) -> None:
        super().__init__(plan_in(here))
        self.here = here
        self._site = site
        self._slurm = Slurm(site)
        self._next_question = 0.0
        self._pause = site.fastest_poll
        self._refs: dict[JobKey, list[Ref]] = {}
        self._of_marks: dict[JobKey, str] = {}
        self._asked: Counter[JobKey] = Counter()  # how often Slurm was asked what became of a job
        self._stopped: set[JobKey] = set()  # by somebody of whom Slurm knows
        self._ordered: set[JobKey] = set()  # by us
        self._endings: dict[JobKey, Status] = {}
        self._begin_with(last_run(here))

    def _begin_with(self, run: Run | None) -> None:
        """Follow a submission: the newest."""
        self.run = run
        self._marks: dict[str, tuple[_Marks, _Marks]] = {}
        self._arrays: dict[tuple[str, int], list[Array]] = {}
        self._bundles: dict[str, Bundle] = {}
        self._places: dict[tuple[str, int], dict[str, int]] = {}
        self._left: set[str] = set()  # arrays that are in the queue no more
        self._empty = 0
        self._next_question = 0.0
        if run is None:
            return
        for array in run.arrays:
            if array.name in run.natives:
                self._bundles[array.name] = to_bundle(self.plan, run, array, self._site)
            if array.kind in ("jobs", "again"):
                self._arrays.setdefault((array.step, array.iteration), []).append(array)

    @property
    def phase(self) -> Phase:
        """How the newest submission is, as far as is known."""
        if self.run is None or not self.run.is_marked("released"):
            return "new"
        if self.run.is_marked("gone") or summed_up(self.here, self.run) is not None:
            return "over"
        return "running"

    # ------------------------------------------------------------------------------------------------------ looking

    def _associate(self, key: JobKey, directory: Path) -> None:
        super()._associate(key, directory)
        step, iteration, name = directory.parent.parent.name, int(directory.parent.name), directory.name
        refs = self._refs[key] = list(self._refs_of(step, iteration, name.rpartition(".")[0]))
        # The second array is there for what needs more of something.
        more = _before(directory).get("cause") in ("memory", "wall_time")
        self._nodes[self._jobs[key].node] = NodeState(_shown(refs[-1 if more else 0]) if refs else "")
        prefix = self.plan.group(step, iteration).prefix
        if self.run is not None and prefix not in self._marks:
            folder = marks_folder(self.run, prefix)
            self._marks[prefix] = (_Marks(folder / "begun"), _Marks(folder / "ended"))
        self._of_marks[key] = prefix
        self._next_question = min(self._next_question, time.monotonic() + self._site.fastest_poll)

    def _refs_of(self, step: str, iteration: int, key: str) -> Iterator[Ref]:
        """The tasks that may run a job: that of its group's array, and of the one behind that."""
        if (step, iteration) not in self._places:
            made = self.plan.instances(step, iteration)
            self._places[step, iteration] = {instance.key: place for place, instance in enumerate(made, 1)}
        place = self._places[step, iteration][key]
        arrays = [array for array in self._arrays.get((step, iteration), ()) if array.offset < place]
        part = max((array.offset for array in arrays), default=0)
        for array in arrays:
            if array.offset == part and array.name in self._bundles:
                yield Ref(self._bundles[array.name].native, place - part)

    def _read(self) -> None:
        """Look at the marks, and ask Slurm if it is time."""
        run = last_run(self.here) if not self.at_work else self.run
        if run is not None and (self.run is None or run.number != self.run.number):
            self._begin_with(run)
        for begun, ended in self._marks.values():
            begun.look()
            ended.look()
        for key, job in self._jobs.items():
            if self._of_marks[key] not in self._marks:  # nothing was submitted yet
                continue
            begun, ended = self._marks[self._of_marks[key]]
            name, node = job.directory.name, self._nodes[job.node]
            if name in ended.seen:
                self._dirty.add(key)
            elif name in begun.seen and not node.started:
                node.started = _written(begun.folder / name)
                self._dirty.add(key)
        if self.at_work and time.monotonic() >= self._next_question:
            self._ask()

    # ------------------------------------------------------------------------------------------------------ question

    def _ask(self) -> None:
        """One question about all arrays that were there the last time, and another if jobs are missing."""
        bundles = [bundle for name, bundle in self._bundles.items() if name not in self._left]
        try:
            found = self._slurm.news(bundles)
            self._note(found)
            self._explain([key for key in self._jobs if self._is_missing(key, found)])
            self.trouble = ""
        except BackendError as error:
            self.trouble = error.message
        else:
            there = {ref.native for ref in found}
            self._left |= {name for name, bundle in self._bundles.items() if bundle.native not in there}
            self._see_whether_gone(bool(there))
        self._pause = self._site.fastest_poll if self._dirty else min(2 * self._pause, self._site.slowest_poll)
        self._next_question = time.monotonic() + self._pause

    def _note(self, found: Mapping[Ref, Status]) -> None:
        """What the queue says of each job."""
        for key, job in self._jobs.items():
            there = [(ref, found[ref]) for ref in self._refs.get(key, ()) if ref in found]
            if not there:
                continue
            ref, status = min(there, key=lambda one: _ORDER.index(one[1].state))
            node = self._nodes[job.node]
            held = (status.reason or "held") if status.state == "held" else ""
            if held != node.held:
                self._dirty.add(key)
            node.name, node.held, node.host = _shown(ref), held, status.host

    def _is_missing(self, key: JobKey, found: Mapping[Ref, Status]) -> bool:
        """Whether nobody runs a job any more of which no result is known, or none that says who stopped it."""
        job = self._jobs[key]
        there = [ref in found for ref in self._refs.get(key, ())]
        if key in self._stopped:
            return not all(there)
        return not any(there) and not self._nodes[job.node].ended and read_result(job.directory) is None

    def _explain(self, keys: Sequence[JobKey]) -> None:
        """Ask what became of jobs that are in the queue no more and have left no result."""
        if not keys:
            return
        refs = [ref for key in keys for ref in self._refs.get(key, ())]
        natives = {ref.native for ref in refs}
        bundles = [bundle for bundle in self._bundles.values() if bundle.native in natives]
        told = self._slurm.endings(bundles, refs) if refs else {}
        for key in keys:
            statuses = [told[ref] for ref in self._refs.get(key, ()) if ref in told and told[ref].state == "ended"]
            by_hand = [one for one in statuses if one.cause and "DependencyNeverSatisfied" not in one.reason]
            self._asked[key] += 1
            if key in self._stopped:
                if by_hand or self._asked[key] >= _MOST_ASKED:
                    self._endings[key] = by_hand[0] if by_hand else _STOPPED
                continue
            node = self._nodes[self._jobs[key].node]
            node.ended, node.held = time.time(), ""
            node.why = by_hand[0].reason if by_hand else "" if statuses else "Slurm knows nothing of it any more"
            node.host = next((one.host for one in statuses if one.host), "")
            self._dirty.add(key)

    def _see_whether_gone(self, there: bool) -> None:
        """Nothing is in the queue, and the last job has left no summary, twice in a row: somebody has removed it."""
        self._empty = 0 if there else self._empty + 1
        if self._empty > 1 and self.run is not None and summed_up(self.here, self.run) is None:
            self.run.mark("gone")

    def _examine(self, key: JobKey, job: FollowedJob) -> list[Event]:
        """Of a runner that was stopped, Slurm knows by whom: a person, a time limit, or jobs that came first."""
        result = read_result(job.directory)
        if result is None or result.get("cause") != "stopped" or key in self._ordered:
            return super()._examine(key, job)
        status = self._endings.get(key)
        if status is None and self.at_work:
            self._stopped.add(key)
            return []
        status = status or _STOPPED
        if status.cause == "lost":
            return [self._end(key, Lost(*key, status.reason))]
        told = {**self._ours(key, result), "state": "killed", "cause": status.cause, "message": status.reason}
        return [self._end(key, Finished(*key, told))]

    def _after_end(self, key: JobKey, job: FollowedJob, node: NodeState) -> list[Event]:
        before = _before(job.directory)
        events = super()._after_end(key, job, node)
        if node.why or before.get("state") != "failed":
            return events
        return [_not_again(event, before) if isinstance(event, Finished) else event for event in events]

    def _end(self, key: JobKey, event: Event) -> Event:
        self._refs.pop(key, None)
        self._of_marks.pop(key, None)
        self._stopped.discard(key)
        self._ordered.discard(key)
        self._endings.pop(key, None)
        del self._asked[key]
        return super()._end(key, event)

    # ------------------------------------------------------------------------------------------------------- orders

    def cancel(self, jobs: Iterable[JobKey]) -> None:
        """Take jobs out of the queue; what waits for them is then cancelled by Slurm."""
        wanted = {key for key in jobs if key in self._jobs}
        self._slurm.cancel(self._tasks(wanted))
        self._unwanted |= wanted
        self._ordered |= wanted

    def hold(self, jobs: Iterable[JobKey]) -> None:
        """Keep jobs from starting."""
        self._slurm.hold(self._tasks(jobs))
        self._next_question = 0.0

    def release(self, jobs: Iterable[JobKey]) -> None:
        """Let held jobs start."""
        self._slurm.release(self._tasks(jobs))
        self._next_question = 0.0

    def _tasks(self, jobs: Iterable[JobKey]) -> list[Ref]:
        return [ref for key in jobs for ref in self._refs.get(key, ())]


def _before(directory: Path) -> Mapping[str, Any]:
    """The result of the attempt before the one of a directory."""
    return read_result(directory.with_suffix(f".{key_number(directory) - 1}")) or {}


def _shown(ref: Ref) -> str:
    """A task as Slurm's commands and its users name it."""
    return f"{ref.native}_{ref.place}"


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _not_again(event: Finished, before: Mapping[str, Any]) -> Finished:
    """An attempt that nobody makes, as the jobs of Slurm saw no use in it: it fails as the one before."""
    kept = {name: before.get(name) for name in ("cause", "exit_code", "signal")}
    message = f"not tried again: {before.get('message', '')}"
    return Finished(event.job, event.attempt, {**event.result, **kept, "state": "failed", "message": message})
