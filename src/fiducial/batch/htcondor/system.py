"""HTCondor: one cluster and one event log a bundle, followed without a question to the scheduler.

A question is asked for all jobs at once, when their log has not told of them for longer than they may run, or is gone;
and where there is no log to read, because files are spooled to a scheduler elsewhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from fiducial.batch.htcondor.bindings import ScheddByBindings
from fiducial.batch.htcondor.carry import deliver, pack
from fiducial.batch.htcondor.followed import Followed
from fiducial.batch.htcondor.known import must_be_known
from fiducial.batch.htcondor.render import BACK, submit_description
from fiducial.batch.htcondor.schedd import LABEL, SUBMISSION_LOCK, TRANSIENT, Action, Ad, Schedd
from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.htcondor.states import ATTRIBUTES, TOKEN, constraint, status_of_ad
from fiducial.batch.htcondor.tools import ScheddByCommands
from fiducial.batch.kinds import Kind
from fiducial.batch.queue.backend import QueueBackend
from fiducial.batch.queue.commands import Commands
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.core.errors import BackendError, ConfigurationError

__all__ = ["KIND", "HTCondor"]

_EOS = ("/eos/",)


class HTCondor:
    """HTCondor, at one site.

    Args:
        site: how it is to be used.
        clock: seconds, from any beginning.
    """

    label = LABEL
    most = 10_000
    holds_parts = True

    def __init__(self, site: HTCondorSite, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.reads_log = not site.spools
        self._site = site
        self._clock = clock
        self._schedds: dict[str, Schedd] = {}
        self._followed: dict[str, Followed] = {}

    # -------------------------------------------------------------------------------------------------- schedulers

    @cached_property
    def _here(self) -> Schedd:
        """The scheduler to which we submit."""
        return self._open(self._site.schedd)

    def _open(self, name: str | None) -> Schedd:
        """A scheduler, by the module where that is wanted, or works, and else by the commands."""
        if self._site.bindings:
            return ScheddByBindings(name)
        if self._site.bindings is None and self._site.commands is None:
            try:
                bound = ScheddByBindings(name)
            except (ConfigurationError, BackendError):
                pass
            else:
                if bound.works():
                    return bound
        return ScheddByCommands(Commands(LABEL, TRANSIENT, folder=self._site.commands), name)

    def _schedd(self, native: str) -> Schedd:
        """The scheduler that a submission was handed to, which need not be today's."""
        name = native.rpartition("#")[0]
        if not name or name == self._here.name:
            return self._here
        if name not in self._schedds:
            self._schedds[name] = self._open(name)
        return self._schedds[name]

    # -------------------------------------------------------------------------------------------------- submission

    def submit(self, bundle: Bundle) -> str:
        """Hand over a bundle as one cluster, and return the scheduler and the number that it got."""
        site = self._site
        carried = [] if site.shared else pack(bundle, site.python, by_path=site.mode == "eos")
        description = submit_description(bundle, site, carried)
        with must_be_known(self._here, site.schedd, bundle.folder.parent):
            cluster = self._here.submit(description, bundle.folder, spool=site.spools)
        return f"{self._here.name}#{cluster}"

    def find(self, bundle: Bundle) -> str | None:
        """The submission in its own log, or in the queue."""
        if Commands.is_running(bundle.folder / SUBMISSION_LOCK):
            raise BackendError(f"{LABEL}: the submission of {bundle.title} is still under way", transient=True)
        cluster = self._follow(bundle).cluster_in_log()
        if cluster is None:
            expression = f'{TOKEN} =?= "{bundle.token}"'
            ads = self._here.jobs(expression, ("ClusterId",))
            cluster = ads[0]["ClusterId"] if ads else None
        return None if cluster is None else f"{self._here.name}#{cluster}"

    def job_id(self, ref: Ref) -> str:
        """The job as HTCondor's commands take it, behind the name of its scheduler; it counts jobs from 0."""
        return f"{ref.native}.{ref.place - 1}"

    # --------------------------------------------------------------------------------------------------- following

    def _follow(self, bundle: Bundle) -> Followed:
        if bundle.token not in self._followed:
            self._followed[bundle.token] = Followed(bundle, self._site, self._clock)
        followed = self._followed[bundle.token]
        followed.native = bundle.native
        return followed

    def news(self, bundles: Sequence[Bundle]) -> Mapping[Ref, Status]:
        """What the logs have told since the last call; or all that is in the queue, where there is no log."""
        followed = [self._follow(bundle) for bundle in bundles]
        if not self.reads_log:
            return self._asked(followed)
        found: dict[Ref, Status] = {}
        for each in followed:
            found |= each.read()
        overdue = [each for each in followed if each.is_overdue()]
        if overdue:
            found |= self._audit(overdue)
        return found

    def _audit(self, overdue: Sequence[Followed]) -> dict[Ref, Status]:
        """Ask about submissions whose logs are silent; jobs that are not in the queue have ended, nobody knows how."""
        for each in overdue:
            each.audited()
        asked = self._asked(overdue)
        gone = {ref: Status("ended") for each in overdue for ref in each.open_refs() if ref not in asked}
        return gone | asked

    def _asked(self, followed: Iterable[Followed]) -> dict[Ref, Status]:
        """What the queue says of submissions, in one question to each scheduler."""
        found: dict[Ref, Status] = {}
        for schedd, some in self._by_schedd(followed):
            expression = constraint({each.cluster: None for each in some}, self._tokens())
            found |= self._statuses(schedd.jobs(expression, ATTRIBUTES), some)
        return found

    def _by_schedd(self, followed: Iterable[Followed]) -> Iterator[tuple[Schedd, list[Followed]]]:
        groups: dict[int, tuple[Schedd, list[Followed]]] = {}
        for each in followed:
            schedd = self._schedd(each.native)
            groups.setdefault(id(schedd), (schedd, []))[1].append(each)
        yield from groups.values()

    def _statuses(self, ads: Iterable[Ad], some: Iterable[Followed]) -> dict[Ref, Status]:
        """What is said of our jobs; a number that somebody else's job has now says nothing of ours."""
        by_token = {each.token: each for each in some}
        found: dict[Ref, Status] = {}
        for ad in ads:
            each = by_token.get(str(ad.get(TOKEN)))
            if each is not None and ad["ClusterId"] == each.cluster:
                place = ad["ProcId"] + 1
                status = status_of_ad(ad, restarts=each.restarts)
                each.note(place, status)
                found[Ref(each.native, place)] = each.explained(place, status)
        return found

    def endings(self, bundles: Sequence[Bundle], refs: Iterable[Ref]) -> Mapping[Ref, Status]:
        """What the log told, else the queue, else the history, of jobs that left no result."""
        followed = {bundle.native: self._follow(bundle) for bundle in bundles}
        wanted = [ref for ref in refs if ref.native in followed]
        found = {ref: status for ref in wanted if (status := followed[ref.native].ending(ref.place)) is not None}
        left = [ref for ref in wanted if ref not in found]
        for schedd, some in self._by_schedd(followed[native] for native in {ref.native for ref in left}):
            found |= self._witness(schedd, some, left)
        return {ref: found[ref] for ref in wanted if ref in found}

    def _witness(self, schedd: Schedd, some: Sequence[Followed], refs: Iterable[Ref]) -> dict[Ref, Status]:
        natives = {each.native: each.cluster for each in some}
        wanted = {ref for ref in refs if ref.native in natives}
        clusters = _procs(wanted)
        found = self._statuses(schedd.jobs(constraint(clusters, self._tokens()), ATTRIBUTES), some)
        missing = wanted - found.keys()
        if missing:
            expression = constraint(_procs(missing), self._tokens())
            # Newest first: what the queue has just said is not overwritten by an older end.
            found = self._statuses(schedd.history(expression, ATTRIBUTES, len(missing)), some) | found
        return found

    def _tokens(self) -> dict[int, str]:
        return {each.cluster: each.token for each in self._followed.values() if each.native}

    # ------------------------------------------------------------------------------------------------------ orders

    def cancel(self, refs: Iterable[Ref]) -> None:
        """Take jobs out of the queue."""
        self._order("remove", refs)

    def hold(self, refs: Iterable[Ref]) -> None:
        """Keep jobs that wait from starting."""
        self._order("hold", refs)

    def release(self, refs: Iterable[Ref]) -> None:
        """Let held jobs start."""
        self._order("release", refs)

    def _order(self, action: Action, refs: Iterable[Ref]) -> None:
        by_schedd: dict[int, tuple[Schedd, list[Ref]]] = {}
        for ref in refs:
            schedd = self._schedd(ref.native)
            by_schedd.setdefault(id(schedd), (schedd, []))[1].append(ref)
        for schedd, some in by_schedd.values():
            schedd.act(action, constraint(_procs(some), self._tokens()))

    # --------------------------------------------------------------------------------------------- files and traces

    def fetch(self, bundle: Bundle, places: Sequence[int]) -> None:
        """Publish what came back from nodes that do not see our folders, after it was fetched from the scheduler."""
        if self._site.shared:
            return
        followed = self._follow(bundle)
        if self._site.spools and (waiting := followed.to_retrieve(places)):
            procs = {followed.cluster: [place - 1 for place in waiting]}
            expression = f"({constraint(procs, self._tokens())}) && JobStatus == 4"
            self._schedd(bundle.native).retrieve(expression)
            followed.retrieved.update(waiting)
        for place in places:
            deliver(bundle, place, self._arrived(bundle, place))

    def _arrived(self, bundle: Bundle, place: int) -> Path:
        """Where the folder of a job comes back to; a URL of EOS is a path as well where EOS is mounted."""
        if self._site.output_destination is None:
            return bundle.folder / BACK / str(place) / "attempt"
        path = urlsplit(self._site.output_destination).path
        return Path("/" + path.strip("/")) / bundle.token / str(place) / "attempt"

    def forget(self, bundle: Bundle) -> None:
        """Take what is left of a bundle that is over out of the scheduler's spool."""
        self._followed.pop(bundle.token, None)
        if self._site.spools and bundle.native:
            cluster = cluster_of(bundle.native)
            self._schedd(bundle.native).act("remove", constraint({cluster: None}, {cluster: bundle.token}))


def cluster_of(native: str) -> int:
    """The number of a submission at its scheduler."""
    return int(native.rpartition("#")[2])


def _procs(refs: Iterable[Ref]) -> dict[int, list[int]]:
    clusters: dict[int, list[int]] = defaultdict(list)
    for ref in refs:
        clusters[cluster_of(ref.native)].append(ref.place - 1)
    return clusters


def _open(site: HTCondorSite, folder: Path) -> QueueBackend:
    if str(folder.resolve()).startswith(_EOS) and site.mode in ("shared", "transfer"):
        raise ConfigurationError(
            f"site {site.name}: {folder} is on EOS, where HTCondor's event logs cannot be",
            hint=f'set `work` in [sites.{site.name}] to a folder on AFS, or mode = "eos" or "spool"',
        )
    return QueueBackend(HTCondor(site), site, folder)


KIND = Kind("HTCondor", HTCondorSite, _open)
