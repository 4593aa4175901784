"""Slurm by its commands: one array for a bundle, one `squeue` for all that is in the queue."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from fiducial.batch.kinds import Kind
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.queue.commands import Commands
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.queue.words import portions
from fiducial.batch.slurm import parse
from fiducial.batch.slurm.reasons import FULL, HINTS, TRANSIENT
from fiducial.batch.slurm.render import SCRIPT, sbatch_words, script, task_lists
from fiducial.batch.slurm.site import SlurmSite
from fiducial.core.errors import BackendError, QueueFullError

__all__ = ["KIND", "Slurm"]

#: Words of commands about jobs that are not in the queue, or not in a state for it.
_PASSED_OVER = re.compile(
    r"Invalid job id|already completing or completed|already finished|no longer|"
    r"Job is (?:no longer )?(?:pending|running)|Requested operation is presently disabled|Job/step",
    re.IGNORECASE,
)
_NO_SUCH_JOB = re.compile("Invalid job id")
#: What the node's part of Slurm writes into a job's log when the kernel, or it, has killed for want of memory.
_OUT_OF_MEMORY = re.compile(rb"slurmstepd.*(?:oom.kill|memory limit|out.of.memory)", re.IGNORECASE)
_LOG_TAIL = 8192
_NEVER_STARTED = Status("ended", "it was cancelled before it started", "removed")
#: More numbers than these are not told: Slurm then answers about all jobs of the user.
_MOST_NUMBERS = 500
#: Jobs are looked for in the accounts from this long before their submission, as clocks differ.
_EARLIER_SECONDS = 86400.0
#: So old may a submission be whose folder somebody has removed.
_LONG_SECONDS = 30 * 86400.0


class Slurm:
    """One Slurm cluster.

    Args:
        site: how it is to be used.
        clock: seconds, from any beginning.
    """

    label = "Slurm"
    reads_log = False
    holds_parts = True

    def __init__(self, site: SlurmSite, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._node_disk = site.node_disk
        self._clock = clock
        self._waiting: dict[Ref, float] = {}
        self._submission = Commands(self.label, TRANSIENT, folder=site.commands)
        # Times as numbers, lists in full; and what a user sets for his own eyes must not hide jobs from us.
        plain = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
        hidden = dict.fromkeys(name for name in os.environ if name.startswith(("SQUEUE_", "SACCT_")))
        self._commands = Commands(self.label, TRANSIENT, folder=site.commands, environment={**hidden, **plain})

    @cached_property
    def _facts(self) -> parse.Facts:
        return parse.facts(self._commands.ask(["scontrol", "show", "config"]))

    @property
    def most(self) -> int:
        """Jobs that fit in one array; asked once."""
        if self._facts.most < 1:
            raise BackendError(
                "Slurm: job arrays are switched off here (MaxArraySize)", hint="ask its administrators for arrays"
            )
        return self._facts.most

    # ------------------------------------------------------------------------------------------------- submission

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle as one job array, and return its number."""
        (bundle.folder / SCRIPT).write_text(script(bundle), "utf-8")
        return self.hand_over(sbatch_words(bundle, node_disk=self._node_disk))

    def hand_over(self, words: Sequence[str]) -> str:
        """Run ``sbatch``, and return the number of what it has made."""
        try:
            answer = self._submission.run(words)
        except BackendError as error:
            if full := FULL.search(error.message):
                raise QueueFullError(f"Slurm: the queue takes no more of your jobs for now ({full[0]})") from None
            raise _with_hint(error) from None
        native = parse.array_id(answer)
        if not native:
            raise BackendError(f"Slurm: sbatch answered {answer.strip()!r}, which is no job's number", transient=True)
        return native

    def find(self, bundle: Bundle) -> str | None:
        """The number of a submission by its token, in the queue or among what ended already."""
        return self.find_all([bundle]).get(bundle.token)

    def find_all(self, bundles: Sequence[Bundle]) -> dict[str, str]:
        """The numbers of those submissions that there are, by their tokens."""
        listing = self._commands.ask(["squeue", "--me", "--all", "--noheader", "--states=all", "--format=%F|%j"])
        found = parse.find_tokens(listing, [bundle.token for bundle in bundles])
        silent = [bundle for bundle in bundles if bundle.token not in found]
        if silent and self._facts.accounting:
            listing = self._sacct("JobID,JobName", silent)
            found |= parse.find_tokens(listing, [bundle.token for bundle in silent])
        return found

    def job_id(self, ref: Ref) -> str:
        """The job as Slurm's commands take it: ``12_1``."""
        return f"{ref.native}_{ref.place}"

    # ---------------------------------------------------------------------------------------------------- questions

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """All jobs of the bundles that are in the queue, by one question."""
        found = parse.queued(self._squeue(bundles, f"--format={parse.QUEUED_FIELDS}"), _tokens(bundles))
        self._waiting |= dict.fromkeys((ref for ref, status in found.items() if _waits(status)), self._clock())
        return found

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """What accounting says of jobs that ended and, where there is none or it is silent, the controller."""
        wanted, tokens = set(refs), _tokens(bundles)
        found: dict[Ref, Status] = {}
        if self._facts.accounting:
            with suppress(BackendError):  # the controller knows as well, for a while
                jobs = f"--jobs={','.join(tokens)}"
                found = parse.accounted(self._sacct(parse.SACCT_FIELDS, bundles, jobs), tokens)
        if wanted - found.keys():
            text = self._squeue(bundles, "--states=all", f"--Format={parse.ENDED_FIELDS}")
            remembered = parse.remembered(text, tokens)
            found = {**remembered, **found}
            known = {ref.native for ref in remembered}
            silent = [ref for ref in wanted - found.keys() if ref.native in known]
            found |= {ref: _NEVER_STARTED for ref in silent if self._cannot_have_started(ref)}
        folders = {bundle.native: bundle.folder for bundle in bundles}
        return {ref: _killed_for_memory(found[ref], ref, folders) for ref in wanted & found.keys()}

    def _cannot_have_started(self, ref: Ref) -> bool:
        """Whether a job, of which the controller knows nothing, though it knows its array, waited not long ago.

        Had it started, the controller would still know of it. Of a job that is taken out of an array before it starts
        nothing stays, neither there nor in the accounts.
        """
        return self._clock() - self._waiting.get(ref, -math.inf) < self._facts.memory

    def _squeue(self, bundles: Sequence[Bundle], *words: str) -> str:
        numbers = sorted({bundle.native for bundle in bundles})
        jobs = [f"--jobs={','.join(numbers)}"] if len(numbers) <= _MOST_NUMBERS else []
        return self._commands.ask(
            ["squeue", "--me", "--all", "--array", "--noheader", *jobs, *words], allowed=_NO_SUCH_JOB
        )

    def _sacct(self, fields: str, bundles: Sequence[Bundle], *words: str) -> str:
        """Ask the accounts, from before the first of the bundles on: by default they tell of today only."""
        written = min(_written(bundle) for bundle in bundles)
        since = datetime.fromtimestamp(written - _EARLIER_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._commands.ask(
            [
                "sacct",
                "--allocations",
                "--noheader",
                "--parsable2",
                f"--starttime={since}",
                f"--format={fields}",
                *words,
            ]
        )

    # ------------------------------------------------------------------------------------------------------- orders

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Take jobs out of the queue; those that run get SIGTERM, and SIGKILL when the site's KillWait is over."""
        for words in task_lists(refs):
            self._commands.run(["scancel", *words], allowed=_PASSED_OVER)

    def cancel_all(self, natives: Sequence[str]) -> None:
        """Take whole arrays out of the queue."""
        self._commands.run(["scancel", *natives], allowed=_PASSED_OVER)

    def let_go(self, natives: Iterable[str]) -> None:
        """Let whole arrays start that were handed over held."""
        for words in portions(list(natives)):
            self._commands.run(["scontrol", "release", ",".join(words)], allowed=_PASSED_OVER)

    def hold(self, refs: Iterable[Ref]) -> None:
        """Keep jobs that wait from starting."""
        for words in task_lists(refs):
            self._commands.run(["scontrol", "hold", *words], allowed=_PASSED_OVER)

    def release(self, refs: Iterable[Ref]) -> None:
        """Let held jobs start."""
        for words in task_lists(refs):
            self._commands.run(["scontrol", "release", *words], allowed=_PASSED_OVER)

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Nothing to do: nodes share the file system."""

    def forget(self, bundle: Bundle) -> None:
        """Forget what was seen of a bundle; Slurm forgets by itself."""
        self._waiting = {ref: seen for ref, seen in self._waiting.items() if ref.native != bundle.native}


def _waits(status: Status) -> bool:
    return status.state in ("pending", "held")


def _tokens(bundles: Iterable[Bundle]) -> dict[str, str]:
    return {bundle.native: bundle.token for bundle in bundles}


def _written(bundle: Bundle) -> float:
    try:
        return (bundle.folder / "bundle.json").stat().st_mtime
    except OSError:
        return time.time() - _LONG_SECONDS


def _with_hint(error: BackendError) -> BackendError:
    words = error.message.lower()
    hint = next((hint for part, hint in HINTS.items() if part in words), "")
    return BackendError(error.message, hint=error.hint or hint, transient=error.transient)


def _killed_for_memory(status: Status, ref: Ref, folders: Mapping[str, Path]) -> Status:
    """See in its log why a job was killed: without cgroups for that, Slurm does not say it elsewhere."""
    if status.cause or status.signal is None:
        return status
    with suppress(OSError), (folders[ref.native] / "logs" / f"{ref.place}.log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
        if _OUT_OF_MEMORY.search(log.read()):
            return replace(status, cause="memory", reason="Slurm killed it for more memory than it gave it")
    return status


def _open(site: SlurmSite, folder: Path) -> QueueBackend:
    return QueueBackend(Slurm(site), site, folder)


KIND = Kind("Slurm", SlurmSite, _open)
