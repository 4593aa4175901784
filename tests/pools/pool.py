"""What the pools of all systems share: a folder, daemons under a keeper, waiting with the logs in the error."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from pools.keeper import Keeper
from pools.obtain import Prefix
from processes import is_running

READY_SECONDS = 60.0
LAST_LINES = 15


class PoolError(Exception):
    """A pool does not do what it should; the last lines of its logs are in the message."""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Pool:
    """A private batch system in a folder, run by the calling user, who is not root.

    ``environment`` is what the commands of the system need beyond the environment of the caller. Lines in ``extra`` go
    into the system's configuration. The folder of a ``passing`` pool goes with it, also when the caller is killed.
    """

    system: ClassVar[str]
    scheduler: ClassVar[str]  # the daemon that clients speak to

    def __init__(self, folder: Path, *, slots: int = 24, extra: str = "", passing: bool = False) -> None:
        self.folder = folder.resolve()
        self.slots = slots
        self.extra = extra
        self.passing = passing
        self.prefix = self.default_prefix()
        self.environment: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self.keeper: Keeper | None = None
        self.scheduler_runs = True

    @classmethod
    def default_prefix(cls) -> Prefix:
        """Where the system's programs are."""
        return Prefix(cls.system)

    @classmethod
    def obstacle(cls) -> str | None:
        """Why there can be no pool here, if so."""
        if os.geteuid() == 0:
            return "batch systems refuse root, who can become a plain user for `pytest tests/batch` and nothing besides"
        prefix = cls.default_prefix()
        return None if prefix.ready else prefix.reason

    # What each system says for itself.

    def configure(self) -> None:
        """Write the configuration and set the environment."""
        raise NotImplementedError

    def command(self, daemon: str) -> list[str]:
        """The command line of a daemon in the foreground."""
        raise NotImplementedError

    def launch(self) -> None:
        """Start all daemons in their order."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the scheduler answers, and knows a place for jobs."""
        raise NotImplementedError

    def clear(self) -> None:
        """Remove all jobs, and return when the queue is empty."""
        raise NotImplementedError

    def log_files(self) -> list[Path]:
        """Where the daemons write their logs."""
        return sorted((self.folder / "log").iterdir())

    # What all can do.

    def start(self) -> Self:
        """Start the pool, and return when it takes jobs."""
        if obstacle := self.obstacle():
            raise PoolError(obstacle)
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        self.keeper = Keeper(self.folder / "log" / "keeper")
        try:
            if self.passing:
                self.keeper.remove_in_the_end(self.folder)
            self.configure()
            self.launch()
            self.wait_for(self.answers, "the pool's first answer")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill all daemons and jobs."""
        if self.keeper is not None:
            self.keeper.close()
            self.keeper = None
        self.pids.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_daemon(self, daemon: str) -> None:
        """Start one daemon."""
        assert self.keeper, "the pool is not running"
        output = self.folder / "log" / f"{daemon}.output"
        self.pids[daemon] = self.keeper.start(self.command(daemon), self.complete_environment(), self.folder, output)

    def stop_daemon(self, daemon: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End one daemon, and wait until it is gone."""
        pid = self.pids.pop(daemon)
        os.kill(pid, number)
        self.wait_for(lambda: not is_running(pid), f"the end of {daemon}")

    def stop_scheduler(self, *, crash: bool = False) -> None:
        """End the scheduler, in order or by SIGKILL; jobs that run go on."""
        self.scheduler_runs = False
        self.stop_daemon(self.scheduler, signal.SIGKILL if crash else signal.SIGTERM)

    def start_scheduler(self) -> None:
        """Start the scheduler again, and return when it answers."""
        self.start_daemon(self.scheduler)
        self.wait_for(self.answers, f"an answer of {self.scheduler}")
        self.scheduler_runs = True

    def restart(self, daemon: str | None = None, *, crash: bool = False) -> None:
        """Restart a daemon, the scheduler unless another one is named, and return when the pool answers."""
        if daemon in (None, self.scheduler):
            self.stop_scheduler(crash=crash)
            self.start_scheduler()
        else:
            self.stop_daemon(str(daemon), signal.SIGKILL if crash else signal.SIGTERM)
            self.start_daemon(str(daemon))
            self.wait_for(self.answers, f"an answer after the restart of {daemon}")

    def mend(self) -> None:
        """Start the scheduler again if a test left it stopped."""
        if self.keeper is not None and not self.scheduler_runs:
            self.start_scheduler()

    def complete_environment(self) -> dict[str, str]:
        """The caller's environment with what the pool adds."""
        return {**os.environ, **self.environment}

    def exports(self) -> str:
        """Lines for a shell that is to use the pool."""
        own = {name: shlex.quote(value) for name, value in self.environment.items() if name != "PATH"}
        programs = self.environment["PATH"].removesuffix(f":{os.environ['PATH']}")
        return "\n".join(f"export {name}={value}" for name, value in {**own, "PATH": f'{programs}:"$PATH"'}.items())

    def ask(self, *command: str, folder: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the system, whatever its exit code."""
        return subprocess.run(
            command,
            env=self.complete_environment(),
            cwd=folder or self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
        )

    def run(self, *command: str, folder: Path | None = None, stdin: str = "") -> str:
        """Run a command that must succeed, and return what it prints.

        Raises:
            PoolError: It failed.
        """
        done = self.ask(*command, folder=folder, stdin=stdin)
        if done.returncode != 0:
            told = f"{done.stderr}{done.stdout}".strip()
            raise PoolError(f"{shlex.join(command)} ended with {done.returncode}: {told}\n{self.last_lines()}")
        return done.stdout

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = READY_SECONDS) -> Any:
        """Wait until something is true, and return it.

        Raises:
            PoolError: It did not come in time, or a daemon has died; with the last lines of the logs.
        """
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            dead = [daemon for daemon, pid in self.pids.items() if not is_running(pid)]
            if dead or time.monotonic() > deadline:
                why = f"{', '.join(dead)} died" if dead else f"not within {seconds:.0f} s"
                raise PoolError(f"{self.system}: waited in vain for {what}: {why}\n{self.last_lines()}")
            time.sleep(0.02)
        return found

    def last_lines(self) -> str:
        """The end of each log."""
        told = []
        for path in self.log_files():
            if path.is_file() and (text := path.read_text(errors="replace").strip()):
                told += [f"--- {path}", *text.splitlines()[-LAST_LINES:]]
        return "\n".join(told)
