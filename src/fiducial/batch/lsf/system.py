"""LSF's commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from fiducial.batch.lsf import parse, render
from fiducial.batch.queue.commands import Commands
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.queue.words import portions
from fiducial.storage.replace import replace_text

if TYPE_CHECKING:
    from fiducial.batch.lsf.site import LsfSite

__all__ = ["Lsf"]

#: What the commands say when LSF does not answer.
_TRANSIENT = re.compile(
    r"cannot connect to LSF|please wait|LSF is down|daemon (is )?not responding|not reachable|library call|"
    r"timed? ?out|connection refused|try again|temporarily",
    re.IGNORECASE,
)
_FULL = re.compile(r"pending job threshold|reached .*(limit|maximum)|too many (pending )?jobs", re.IGNORECASE)
_GONE = re.compile(
    r"is not found|no matching job|already finished|no (unfinished )?job found|not suspended|already (been )?suspended|"
    r"is being (terminated|stopped|resumed)|being processed",
    re.IGNORECASE,
)
_BJOBS = ("bjobs", "-a", "-json", "-o", parse.FIELDS)


class Lsf:
    """LSF: an array for each submission, ``bjobs`` for news, ``bhist`` as second witness."""

    label = "LSF"
    most = 1000
    reads_log = False
    holds_parts = True

    def __init__(self, site: LsfSite) -> None:
        self._site = site
        self._commands = Commands(self.label, _TRANSIENT, full=_FULL, folder=site.commands)

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle, by ``bsub``."""
        script = bundle.folder / render.SCRIPT
        replace_text(script, render.script(bundle))
        script.chmod(0o755)
        return parse.submitted(self._commands.run(render.submission(bundle, self._site), directory=bundle.folder))

    def find(self, bundle: Bundle) -> str | None:
        """The number of the job that has the bundle's name."""
        return parse.numbers(self._commands.ask(_BJOBS, allowed=_GONE)).get(render.name(bundle))

    def job_id(self, ref: Ref) -> str:
        """The job as the commands take it: ``17[1]``."""
        return render.elements([ref])[0]

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """All elements of our arrays, with those that ended within the last hour or what the cluster keeps."""
        names = _names(bundles)
        return parse.jobs(self._commands.ask([*_BJOBS, *names], allowed=_GONE), names)

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """What the event log says, which goes back much further."""
        wanted = set(refs)
        found: dict[Ref, Status] = {}
        for words in portions(render.elements(sorted(wanted))):
            answer = self._commands.ask(["bhist", "-l", "-n", "2", *words], allowed=_GONE)
            found |= parse.histories(answer, _names(bundles))
        return {ref: status for ref, status in found.items() if ref in wanted}

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Kill jobs, running or not."""
        self._carry("bkill", refs)

    def hold(self, refs: Iterable[Ref]) -> None:
        """Suspend jobs that wait."""
        self._carry("bstop", refs)

    def release(self, refs: Iterable[Ref]) -> None:
        """Resume suspended jobs."""
        self._carry("bresume", refs)

    def _carry(self, command: str, refs: Iterable[Ref]) -> None:
        for words in portions(render.elements(sorted(refs))):
            self._commands.ask([command, *words], allowed=_GONE)

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Nothing to do: LSF's nodes share the file system."""

    def forget(self, bundle: Bundle) -> None:
        """Nothing to do."""


def _names(bundles: Sequence[Bundle]) -> dict[str, str]:
    return {bundle.native: render.name(bundle) for bundle in bundles}
