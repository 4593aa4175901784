"""A simulated LSF under test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from rigs.rig import Rig


class Lsf(Rig):
    """The simulation of LSF: it can be wrong where LSF's documentation is."""

    kind = "lsf"
    fixture = "simulated_lsf"
    refused: ClassVar[dict[str, Any]] = {"queue": "nosuch"}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("bstop", *names)

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("bresume", *names)

    def remove(self, names: Sequence[str]) -> None:
        self.pool.run("bkill", *names)

    def in_queue(self) -> int:
        return self.pool.in_queue()  # type: ignore[attr-defined]

    def submit_foreign(self) -> str:
        said = self.pool.run("bsub", "-J", "other[1]", "-o", "/dev/null", "sleep", "60")
        return re.search(r"<(\d+)>", said)[1]  # type: ignore[index]


RIGS = [Lsf]
