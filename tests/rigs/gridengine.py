"""Grid Engine under test."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, ClassVar

from fiducial.batch.queue.words import places_in
from rigs.rig import Rig


class GridEngine(Rig):
    """Grid Engine of one host."""

    kind = "gridengine"
    fixture = "gridengine_pool"
    refused: ClassVar[dict[str, Any]] = {"queue": "nosuch"}

    def hold(self, names: Sequence[str]) -> None:
        self.pool.run("qhold", *names)

    def release(self, names: Sequence[str]) -> None:
        self.pool.run("qrls", *names)

    def remove(self, names: Sequence[str]) -> None:
        self.pool.run("qdel", *names)

    def in_queue(self) -> int:
        tree = ET.fromstring(self.pool.run("qstat", "-xml", "-u", "*"))
        return sum(len(list(places_in(entry.findtext("tasks") or "1"))) for entry in tree.iter("job_list"))

    def submit_foreign(self) -> str:
        said = self.pool.run("qsub", "-terse", "-t", "1-1", "-b", "y", "-o", "/dev/null", "-j", "y", "sleep", "60")
        return said.split(".")[0].strip()


RIGS = [GridEngine]
