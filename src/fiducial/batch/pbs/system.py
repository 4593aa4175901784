"""PBS's commands, in both dialects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fiducial.batch.pbs import parse, render
from fiducial.batch.queue.commands import Commands
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.queue.words import portions
from fiducial.storage.replace import replace_text

if TYPE_CHECKING:
    from fiducial.batch.pbs.site import PbsSite

__all__ = ["Pbs"]

#: What the commands say when the server does not answer.
_TRANSIENT = re.compile(
    r"cannot connect|errno=1501\d|connection (refused|timed out|reset)|timed? ?out|end of file|premature|try again|"
    r"server (is )?(shutting down|not (running|responding)|busy)|communication failure|munge|resource temporarily",
    re.IGNORECASE,
)
_FULL = re.compile(r"would exceed .*limit|maximum number of jobs|limit on (number of )?jobs", re.IGNORECASE)
_GONE = re.compile(
    r"unknown job|has finished|not (been )?held|illegal state|invalid state|maintain job history", re.IGNORECASE
)


class Pbs:
    """PBS: an array for each submission, ``qstat`` for news, and its history, where it has one, as second witness."""

    label = "PBS"
    most = 10_000
    reads_log = False

    def __init__(self, site: PbsSite) -> None:
        self._site = site
        self._torque = site.dialect == "torque"
        self._commands = Commands(self.label, _TRANSIENT, full=_FULL, folder=site.commands)
        # OpenPBS keeps, releases and tells of arrays as a whole.
        self.holds_parts = self._torque

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle, by ``qsub``."""
        replace_text(bundle.folder / render.SCRIPT, render.script(bundle))
        return parse.submitted(self._commands.run(render.submission(bundle, self._site), directory=bundle.folder))

    def find(self, bundle: Bundle) -> str | None:
        """What the job is called that has the bundle's name, in the queue or in the history."""
        name = render.name(bundle, self._site)
        return parse.numbers(self._ask(history=True)).get(name) or parse.numbers(self._ask()).get(name)

    def job_id(self, ref: Ref) -> str:
        """The job as the commands take it: ``17[1].server``."""
        return render.subjobs([ref])[0]

    def _ask(self, *words: str, history: bool = False) -> Iterator[parse.Record]:
        """Jobs that are named, or all. Torque keeps no history beyond jobs that ended lately, which it always tells."""
        if self._torque:
            return parse.torque_records(self._commands.ask(["qstat", "-x", *words], allowed=_GONE))
        command = ["qstat", *(["-x"] if history else []), "-f", "-F", "json", *words]
        return parse.openpbs_records(self._commands.ask(command, allowed=_GONE))

    def _names(self, bundles: Iterable[Bundle]) -> dict[str, str]:
        return {bundle.native: render.name(bundle, self._site) for bundle in bundles}

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """All jobs of our arrays, with those that have ended as long as their array is there."""
        names = self._names(bundles)
        return parse.jobs(self._ask("-t", *names), names, self._site.dialect)

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """What the history says, which OpenPBS has where its administrator wants one."""
        wanted = set(refs)
        names = self._names(bundle for bundle in bundles if bundle.native in {ref.native for ref in wanted})
        if not names:
            return {}
        found = parse.jobs(self._ask("-t", *names, history=True), names, self._site.dialect)
        return {ref: status for ref, status in found.items() if ref in wanted}

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Delete jobs."""
        self._carry("qdel", refs)

    def hold(self, refs: Iterable[Ref]) -> None:
        """Hold jobs that wait; with OpenPBS the whole array, of which what runs goes on."""
        self._carry("qhold", refs)

    def release(self, refs: Iterable[Ref]) -> None:
        """Release held jobs; with OpenPBS the whole array."""
        self._carry("qrls", refs)

    def _carry(self, command: str, refs: Iterable[Ref]) -> None:
        ordered = sorted(refs)
        if self._torque:
            for words in render.arrays(ordered):
                self._commands.ask([command, *words], allowed=_GONE)
            return
        whole = sorted({ref.native for ref in ordered})
        for some in portions(render.subjobs(ordered) if command == "qdel" else whole):
            self._commands.ask([command, *some], allowed=_GONE)

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Nothing to do: PBS's nodes share the file system."""

    def forget(self, bundle: Bundle) -> None:
        """Nothing to do."""
