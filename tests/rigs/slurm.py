"""Slurm under test, without and with accounting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rigs.rig import Rig


class Slurm(Rig):
    """Slurm that keeps no accounts."""

    kind = "slurm"
    fixture = "slurm_pool"
    refused: ClassVar[dict[str, Any]] = {"queue": "nosuch"}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("scontrol", "hold", *names)

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("scontrol", "release", *names)

    def remove(self, names: Sequence[str]) -> None:
        self.pool.run("scancel", *names)

    def in_queue(self) -> int:
        return len(self.pool.run("squeue", "-h", "-r", "-o", "%i").split())

    def submit_foreign(self) -> str:
        return self.pool.run("sbatch", "--parsable", "--array=1-1", "--mem=10", "--wrap", "sleep 60").strip()


class SlurmWithAccounting(Slurm):
    """Slurm with slurmdbd and its database."""

    variant = True
    fixture = "slurm_pool_with_accounting"


RIGS = [Slurm, SlurmWithAccounting]
