"""A schedd by HTCondor's Python module ``htcondor2``, which is imported when a site wants it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from fiducial.batch.htcondor.schedd import LABEL, TRANSIENT, Action, Ad, minding_limits
from fiducial.core.errors import BackendError, ConfigurationError

__all__ = ["ScheddByBindings"]

_HINT = "pip install 'fiducial[htcondor]', or set bindings = false, which uses the commands"


class ScheddByBindings:
    """A scheduler.

    Args:
        name: its name; None for the one of this machine, or that the configuration names.

    Raises:
        ConfigurationError: the module is not installed, or finds no HTCondor here.
    """

    def __init__(self, name: str | None = None) -> None:
        try:
            import htcondor2
        except ImportError as error:
            raise ConfigurationError(
                f"{LABEL}: the Python module htcondor2 cannot be used: {error}", hint=_HINT
            ) from None
        self._module: Any = htcondor2
        self._name = name
        with _told():
            htcondor2.reload_config()

    @cached_property
    def name(self) -> str:
        """By which it is found from elsewhere."""
        settings = self._module.param
        return str(
            self._name or settings.get("SCHEDD_HOST") or settings.get("SCHEDD_NAME") or settings["FULL_HOSTNAME"]
        )

    def works(self) -> bool:
        """Whether it answers; older schedulers do not understand newer modules."""
        try:
            self.jobs("false", ["ClusterId"])
        except BackendError:
            return False
        return True

    def _schedd(self) -> Any:
        if self._name is None:
            return self._module.Schedd()
        ad = self._module.Collector().locate(self._module.DaemonType.Schedd, self._name)
        if ad is None:  # of which the module makes this machine's scheduler
            raise BackendError(f"{LABEL}: can't find address of schedd {self._name}", transient=True)
        return self._module.Schedd(ad)

    def listed(self) -> list[str]:
        """Names of all schedulers that the pool's collector knows."""
        with _told():
            return [str(ad["Name"]) for ad in self._module.Collector().locateAll(self._module.DaemonType.Schedd)]

    def submit(self, description: str, folder: Path, *, spool: bool) -> int:
        """Hand over the jobs of a submit description, which is left in the folder, and return their cluster."""
        (folder / "jobs.sub").write_text(description, "utf-8")
        with minding_limits(), _told():
            schedd = self._schedd()
            result = schedd.submit(self._module.Submit(description), spool=spool)
        if spool:
            self._spool(schedd, result)
        return int(result.cluster())

    def _spool(self, schedd: Any, result: Any) -> None:
        """Send the files; jobs whose files did not arrive would be on hold for ever."""
        try:
            with _told():
                schedd.spool(result)
        except BackendError:
            self.act("remove", f"ClusterId == {result.cluster()}")
            raise

    def jobs(self, constraint: str, attributes: Sequence[str]) -> list[Ad]:
        """Jobs in the queue."""
        with _told():
            return list(map(_plain, self._schedd().query(constraint, list(attributes))))

    def history(self, constraint: str, attributes: Sequence[str], limit: int) -> list[Ad]:
        """The last jobs that left the queue."""
        with _told():
            return list(map(_plain, self._schedd().history(constraint, list(attributes), limit)))

    def act(self, action: Action, constraint: str) -> None:
        """Remove, hold or release jobs; that there are none is no error."""
        kinds = self._module.JobAction
        what = {"remove": kinds.Remove, "hold": kinds.Hold, "release": kinds.Release}[action]
        with _told():
            self._schedd().act(what, constraint)

    def retrieve(self, constraint: str) -> None:
        """Bring what jobs that were spooled have left to where they were submitted from."""
        with _told():
            self._schedd().retrieve(constraint)


def _plain(ad: Any) -> Ad:
    """Attributes as Python has them; what is not a value yet (an expression) is left out."""
    simple = (str, int, float, bool)
    return {name: ad[name] for name in ad if isinstance(ad[name], simple)}


@contextmanager
def _told() -> Iterator[None]:
    """What the module says, as our errors; its warnings repeat what is in the submit description."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BackendError:
        raise
    except Exception as error:  # the module has exceptions of its own, and of Python nearly all
        words = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"{LABEL}: {words}", transient=TRANSIENT.search(words) is not None) from None
