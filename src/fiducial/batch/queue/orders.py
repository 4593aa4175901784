"""Orders for jobs in a queue: gathered, and carried to the batch system in one command for each kind."""

from __future__ import annotations

from typing import Literal

from fiducial.batch.queue.system import BatchSystem, Ref
from fiducial.core.errors import BackendError

__all__ = ["Orders"]

_EVERY_SECONDS = 1.0


class Orders:
    """Jobs that the batch system has still to be told to cancel, hold or release.

    Args:
        system: the batch system.
        pause: seconds to wait when it does not answer.

    Attributes:
        carried: whether something was carried out; the one who looks sets it back.
    """

    def __init__(self, system: BatchSystem, pause: float) -> None:
        self.carried = False
        self._pause = pause
        self._next = 0.0
        self._refs: dict[str, set[Ref]] = {"cancel": set(), "hold": set(), "release": set()}
        self._commands = {"cancel": system.cancel, "hold": system.hold, "release": system.release}

    @property
    def waiting(self) -> bool:
        """Whether there are any."""
        return any(self._refs.values())

    def add(self, kind: Literal["cancel", "hold", "release"], ref: Ref) -> None:
        """Have something done to a job, with others, at the next occasion."""
        self._refs[kind].add(ref)

    def hurry(self) -> None:
        """Make the next occasion now."""
        self._next = 0.0

    def carry(self, now: float) -> str:
        """Tell the batch system what is due; says why it cannot be reached, and then tries again later.

        Raises:
            BackendError: it refuses for good.
        """
        if now < self._next or not self.waiting:
            return ""
        self._next = now + _EVERY_SECONDS
        for kind, refs in self._refs.items():
            if refs:
                try:
                    self._commands[kind](sorted(refs))
                except BackendError as error:
                    if not error.transient:
                        refs.clear()
                        raise
                    self._next = now + self._pause
                    return error.message
                refs.clear()
                self.carried = True
        return ""
