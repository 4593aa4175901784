"""HTCondor under test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rigs.rig import Rig


class HTCondor(Rig):
    """HTCondor with a shared file system, by its commands."""

    kind = "htcondor"
    fixture = "condor_pool"
    keys: ClassVar[dict[str, Any]] = {"bindings": False}
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


class HTCondorByBindings(HTCondor):
    """The same by the Python module."""

    variant = True
    keys: ClassVar[dict[str, Any]] = {"bindings": True}


class HTCondorTransfer(HTCondor):
    """HTCondor that brings files to nodes that share none."""

    variant = True
    keys: ClassVar[dict[str, Any]] = {"mode": "transfer", "bindings": False}


class HTCondorSpool(HTCondor):
    """HTCondor with a scheduler that sees no folder of ours either."""

    variant = True
    keys: ClassVar[dict[str, Any]] = {"mode": "spool", "shared": False, "bindings": False}

    def in_queue(self) -> int:
        """What has ended stays in the queue until its files are fetched."""
        return len(self.pool.run("condor_q", "-allusers", "-constraint", "JobStatus != 4", "-af", "ClusterId").split())


class HTCondorSpoolToSharing(HTCondor):
    """HTCondor with a scheduler that sees no folder of ours, and nodes that do."""

    variant = True
    keys: ClassVar[dict[str, Any]] = {"mode": "spool", "bindings": False}


class HTCondorSpoolByBindings(HTCondorSpool):
    """The same by the Python module."""

    variant = True
    keys: ClassVar[dict[str, Any]] = {"mode": "spool", "shared": False, "bindings": True}


def _id(name: str) -> str:
    return name.rpartition("#")[2]


RIGS = [HTCondor, HTCondorByBindings, HTCondorTransfer, HTCondorSpool, HTCondorSpoolToSharing]
