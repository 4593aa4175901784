"""Is there a scheduler of that name at all? One that does not answer may be back soon; a name nobody bears will not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fiducial.batch.htcondor.schedd import LABEL, Schedd
from fiducial.core.errors import BackendError
from fiducial.core.variables import nearest
from fiducial.storage.replace import replace_text

__all__ = ["must_be_known"]


@contextmanager
def must_be_known(schedd: Schedd, name: str | None, queue: Path) -> Iterator[None]:
    """A submission to a scheduler that the settings name.

    One that is restarted is unknown to its collector meanwhile. So a name is doubted only as long as it never took a
    submission of this campaign.

    Args:
        name: in the settings; None for the scheduler that HTCondor finds by itself.
        queue: folder of the campaign's submissions at the site; beside it is noted who has taken one.

    Raises:
        BackendError: as the submission raises it; permanent where the collector answers, and knows no such scheduler.
    """
    taken = queue.with_name(f"{queue.name}.scheduler")
    try:
        yield
    except BackendError as error:
        if name and error.transient and _read(taken) != name:
            _must_be_listed(schedd, name, error)
        raise
    if name and _read(taken) != name:
        replace_text(taken, name)


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _must_be_listed(schedd: Schedd, name: str, error: BackendError) -> None:
    try:
        names = schedd.listed()
    except BackendError:  # the pool itself does not answer
        return
    if names and _host(name) not in map(_host, names):
        close = nearest(name, names)
        raise BackendError(
            f"{LABEL}: the pool knows no scheduler '{name}' ({error.message.removeprefix(f'{LABEL}: ')})",
            hint=f"{f'{close}; ' if close else ''}the site's key `schedd` names one of: {', '.join(sorted(names))}",
        ) from None


def _host(name: str) -> str:
    """A scheduler's host; people leave out its domain, and what stands before @."""
    return name.rpartition("@")[2].partition(".")[0].lower()
