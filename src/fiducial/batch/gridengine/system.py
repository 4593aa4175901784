"""Grid Engine's commands."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fiducial.batch.gridengine import parse, render
from fiducial.batch.queue.commands import Commands
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.queue.words import portions
from fiducial.storage.replace import replace_text

if TYPE_CHECKING:
    from fiducial.batch.gridengine.site import GridEngineSite

__all__ = ["GridEngine"]

#: What the commands say when the qmaster does not answer.
_TRANSIENT = re.compile(
    r"commlib error|unable to (send|receive|contact|connect)|got (send|receive|select|read|write) (error|timeout)|"
    r"can't (connect|resolve)|timed? ?out|reading answer list|qmaster .*(not|down)",
    re.IGNORECASE,
)
_FULL = re.compile(r"only \d+ jobs are allowed", re.IGNORECASE)
_GONE = re.compile(
    r"do(es)? not exist|comprises no tasks|already in deletion|not found|invalid queue or job", re.IGNORECASE
)
#: The exit code of qmod tells nothing.
_CLEARED = re.compile(r"cleared error state|not in error state|do(es)? not exist|invalid queue or job")
_OURS = "fd??????????????"
_IN_ERROR = "(Eqw)"


def _user() -> str:
    """Whose jobs are asked for: by the number of the user, as Grid Engine sees it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "*"


def _names(bundles: Sequence[Bundle]) -> dict[str, str]:
    return {bundle.native: render.name(bundle) for bundle in bundles}


def _beginning(bundles: Sequence[Bundle]) -> str:
    """When the first of them was written, with an hour for clocks that differ, as ``qacct -b`` reads it in UTC."""
    first = min((bundle.folder / "bundle.json").stat().st_mtime for bundle in bundles)
    return datetime.fromtimestamp(first - 3600, UTC).strftime("%Y%m%d%H%M")


class GridEngine:
    """Grid Engine: an array for each submission, ``qstat`` for news, ``qacct`` as second witness."""

    label = "Grid Engine"
    most = 75_000
    reads_log = False
    holds_parts = True

    def __init__(self, site: GridEngineSite) -> None:
        self._site = site
        self._commands = Commands(self.label, _TRANSIENT, full=_FULL, folder=site.commands)
        self._errors: dict[Ref, str] = {}

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle, by ``qsub``."""
        replace_text(bundle.folder / render.SCRIPT, render.script(bundle))
        return parse.submitted(self._commands.run(render.submission(bundle, self._site), directory=bundle.folder))

    def find(self, bundle: Bundle) -> str | None:
        """The number of the job that has the bundle's name, in the queue or, if it was a short one, in the accounts."""
        name = render.name(bundle)
        found = parse.numbers(self._queue()).get(name)
        return found or parse.accounted(self._commands.ask(["qacct", "-j", name], allowed=_GONE))

    def job_id(self, ref: Ref) -> str:
        """The job as the commands take it: ``17.1``."""
        return render.tasks([ref])[0]

    def _queue(self) -> str:
        return self._commands.ask(["qstat", "-xml", "-u", _user()])

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """All our tasks; why some are in the error state is asked once for all of them."""
        found = parse.jobs(self._queue(), _names(bundles))
        in_error = {ref for ref, status in found.items() if _IN_ERROR in status.reason}
        self._errors = {ref: why for ref, why in self._errors.items() if ref in in_error}
        unknown = sorted({ref.native for ref in in_error - self._errors.keys()})
        if unknown:
            self._errors |= parse.errors(self._commands.ask(["qstat", "-j", ",".join(unknown)], allowed=_GONE))
        return found | {ref: replace(found[ref], reason=why) for ref, why in self._errors.items() if ref in in_error}

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """What the accounting says. It is read from its beginning for each question, so that there is only one."""
        wanted = set(refs)
        natives = {ref.native for ref in wanted}
        if len(natives) == 1:
            words = ["-j", *natives]
        else:
            words = ["-j", f"*.{_OURS}", "-o", _user(), "-b", _beginning(bundles)]
        answer = self._commands.ask(["qacct", *words], allowed=_GONE) if wanted else ""
        return {ref: status for ref, status in parse.records(answer, _names(bundles)).items() if ref in wanted}

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Delete tasks."""
        self._carry("qdel", refs)

    def hold(self, refs: Iterable[Ref]) -> None:
        """Hold tasks that wait."""
        self._carry("qhold", refs)

    def release(self, refs: Iterable[Ref]) -> None:
        """Release tasks that are held, and have those tried again that could not be started."""
        tasks = set(refs)
        failed = tasks & self._errors.keys()
        for words in portions(render.tasks(sorted(failed))):
            self._commands.ask(["qmod", "-cj", *words], allowed=_CLEARED)
        self._carry("qrls", tasks - failed)

    def _carry(self, command: str, refs: Iterable[Ref]) -> None:
        for words in portions(render.tasks(sorted(refs))):
            self._commands.ask([command, *words], allowed=_GONE)

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Nothing to do: Grid Engine's nodes share the file system."""

    def forget(self, bundle: Bundle) -> None:
        """Nothing to do."""
