"""A simulated PBS under test, in both dialects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from rigs.rig import Rig


class OpenPbs(Rig):
    """The simulation of OpenPBS: it can be wrong where the documentation of PBS is. It holds whole arrays only."""

    kind = "pbs"
    fixture = "simulated_openpbs"
    refused: ClassVar[dict[str, Any]] = {"queue": "nosuch"}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("qhold", *map(_array, names))

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("qrls", *map(_array, names))

    def remove(self, names: Sequence[str]) -> None:
        self.pool.run("qdel", *names)

    def in_queue(self) -> int:
        return self.pool.in_queue()  # type: ignore[attr-defined]

    def submit_foreign(self) -> str:
        (self.pool.folder / "foreign.sh").write_text("sleep 60\n")
        return self.pool.run("qsub", "-N", "other", "-o", "/dev/null", "foreign.sh").strip()


class Torque(OpenPbs):
    """The simulation of Torque."""

    variant = True
    fixture = "simulated_torque"
    keys: ClassVar[dict[str, Any]] = {"dialect": "torque"}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("qhold", *names)

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("qrls", *names)


def _array(name: str) -> str:
    """The array that a job is of."""
    return re.sub(r"\[\d+\]", "[]", name)


RIGS = [OpenPbs, Torque]
