"""Real campaigns by the real command, in a folder of their own: start, signal, look at what is left."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns import check_ledger
from fiducial.ledger.database import Database
from processes import wait_for

MARK = "FIDUCIAL_TEST_MARK"


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Site:
    """A folder with workflows and a ledger; all its processes carry a mark by which they are found again."""

    folder: Path
    ledger: Path = field(init=False)
    engines: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = self.folder / "ledger.db"

    @property
    def records(self) -> Path:
        """Where payloads tell what they do."""
        return self.folder / "records"

    def told(self) -> list[str]:
        return self.records.read_text().splitlines() if self.records.exists() else []

    def write(self, text: str, name: str = "w") -> None:
        """A workflow file."""
        (self.folder / f"{name}.toml").write_text(f'format = 1\nname = "{name}"\n{text}')

    def start(self, *options: str, name: str = "w", workers: int = 2) -> subprocess.Popen[str]:
        """An engine; batch systems have no workers of ours: 0 for them."""
        words = [*(["-j", str(workers)] if workers else []), "--quiet", *options]
        command = [sys.executable, "-m", "fiducial", "run", f"{name}.toml", *words]
        environment = {**os.environ, MARK: str(self.folder), "FIDUCIAL_LEDGER": str(self.ledger)}
        with (self.folder / f"{name}.messages").open("ab") as messages:
            engine = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment | {"RECORDS": str(self.records)},
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                text=True,
            )
        self.engines.append(engine)
        return engine

    def run(self, *options: str, name: str = "w") -> int:
        """Run a campaign to its end; the exit code."""
        return self.start(*options, name=name).wait(timeout=90)

    def said(self, name: str = "w") -> str:
        return (self.folder / f"{name}.messages").read_text(errors="replace")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.ledger, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute(sql)]
        finally:
            connection.close()

    def campaign(self, name: str = "w") -> dict[str, Any]:
        return self.rows(f"SELECT * FROM campaigns WHERE name = '{name}'")[0]

    def states(self) -> dict[str, str]:
        sql = 'SELECT g.step, j.key, j.state FROM jobs j JOIN groups g ON g.id = j."group" ORDER BY j.id'
        return {f"{row['step']}/{row['key']}": row["state"] for row in self.rows(sql)}

    def attempts(self, step: str) -> list[dict[str, Any]]:
        """All attempts at the jobs of a step, in their order."""
        return self.rows(
            f"""SELECT a.*, j.key FROM attempts a JOIN jobs j ON j.id = a.job JOIN groups g ON g.id = j."group"
            WHERE g.step = '{step}' ORDER BY a.job, a.number"""
        )

    def metrics(self, step: str) -> list[dict[str, Any]]:
        return self.rows(f"SELECT iteration, name, value FROM metrics WHERE step = '{step}' ORDER BY iteration, name")

    def processes(self) -> dict[int, list[str]]:
        """Command lines of all processes that carry the mark, by number."""
        mark = f"{MARK}={self.folder}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it ended while we looked
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return found

    def wait_until_all_are_gone(self) -> None:
        wait_for(lambda: not self.processes(), "the end of all processes", 10.0)

    def check(self) -> None:
        """What must hold after everything."""
        assert self.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        database = Database(f"sqlite:///{self.ledger}")
        try:
            with database.read() as connection:
                check_ledger(connection)
        finally:
            database.close()

    def close(self) -> None:
        for pid in self.processes():
            kill(pid)
        for engine in self.engines:
            engine.wait()
