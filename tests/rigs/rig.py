"""What a test of all batch systems needs of each: a pool, a site, and what a person can do to jobs by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fiducial.batch.kinds import read_site
from fiducial.batch.site import Site
from pools.pool import Pool

__all__ = ["Rig"]


class Rig:
    """One batch system under test. ``names`` of jobs are those of the ledger, which the system's own commands take.

    Attributes:
        kind: name of the batch system for ``fiducial.toml``.
        fixture: the pool's, in ``tests/batch/conftest.py``.
        variant: whether it is another way to use a system that has a rig of its own.
        keys: of the site, beside those for quick tests.
        refused: keys of a site whose submissions are refused.
    """

    kind: ClassVar[str]
    fixture: ClassVar[str]
    variant: ClassVar[bool] = False
    keys: ClassVar[dict[str, Any]] = {}
    refused: ClassVar[dict[str, Any]]

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def site(self, **more: Any) -> Site:
        """A site that is asked often and has little patience, as fits short tests."""
        quick = {"fastest_poll": 1.0, "slowest_poll": 2.0, "grace": 12.0, "result_grace": 2.0}
        return read_site("site", {"backend": self.kind, **quick, **self.keys, **more}, "test")

    def hold(self, names: Sequence[str]) -> None:
        """Hold jobs by hand."""
        raise NotImplementedError

    def release(self, names: Sequence[str]) -> None:
        """Release held jobs by hand."""
        raise NotImplementedError

    def remove(self, names: Sequence[str]) -> None:
        """Remove jobs by hand."""
        raise NotImplementedError

    def in_queue(self) -> int:
        """How many jobs are in the queue, whosever they are."""
        raise NotImplementedError

    def submit_foreign(self) -> str:
        """Submit one job of 60 s that is not ours, and return the name of its submission, as ours are called."""
        raise NotImplementedError
