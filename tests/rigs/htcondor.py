"""HTCondor under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rigs.rig import Rig, split


class HTCondor(Rig):
    """HTCondor with a shared file system."""

    kind = "htcondor"
    fixture = "condor_pool"
    refused: ClassVar[dict[str, Any]] = {"requirements": "((("}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("condor_hold", *map(_id, names))

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("condor_release", *map(_id, names))

    def remove(self, names: Sequence[str]) -> None:
        self.pool.run("condor_rm", *map(_id, names))

    def in_queue(self) -> int:
        return len(self.pool.run("condor_q", "-allusers", "-af", "ClusterId").split())

    def submit_foreign(self) -> str:
        said = self.pool.run("condor_submit", "-terse", "executable=/bin/sleep", "arguments=60", "-queue", "1")
        return said.split(".")[0].strip()


def _id(name: str) -> str:
    native, place = split(name)
    return f"{native.rpartition('#')[2]}.{place - 1}"


RIGS = [HTCondor]
