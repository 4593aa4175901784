"""Run a batch system's command, and tell what may succeed later from what never will."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fiducial.core.errors import BackendError, QueueFullError

__all__ = ["Commands"]


class Commands:
    """The commands of one batch system.

    Args:
        label: the system's name for people.
        transient: matches what the commands say when the same call may succeed later.
        full: matches what they say when the queue takes no more jobs until some have ended.
        folder: where the commands are; by default PATH says it.
        environment: variables that the commands need beside ours, or None for those that they must not have.
        timeout: seconds after which a command is given up, as its daemon does not answer.
    """

    def __init__(
        self,
        label: str,
        transient: re.Pattern[str],
        *,
        full: re.Pattern[str] | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._label = label
        self._transient = transient
        self._full = full
        self._folder = folder
        whole = {**os.environ, **(environment or {})}
        self._environment = {name: value for name, value in whole.items() if value is not None}
        self._timeout = timeout

    def ask(self, argv: Sequence[str], *, allowed: re.Pattern[str] | None = None) -> str:
        """Run a command that answers in words and times, which are then English and UTC: `run` explains the rest."""
        return self._run(argv, {**self._environment, "LC_ALL": "C", "TZ": "UTC"}, None, allowed)

    @staticmethod
    def is_running(lock: Path) -> bool:
        """Whether a command that was run with this lock still runs; somebody else may have started it."""
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # it was never run, or the file system has no locks
            return False
        return False

    def run(
        self,
        argv: Sequence[str],
        *,
        directory: Path | None = None,
        allowed: re.Pattern[str] | None = None,
        timeout: float | None = None,
        lock: Path | None = None,
    ) -> str:
        """Run a command in our environment, which jobs that it submits may inherit; returns what it printed.

        Args:
            directory: to run it in.
            allowed: matches what it says, on either stream, when its exit code is not 0 and yet all is well.
            timeout: seconds after which this command is given up, if it may take longer than others.
            lock: a file that is locked while the command runs, even if we are killed meanwhile: see `is_running`.

        Raises:
            BackendError: the command is not there, did not answer, or failed.
        """
        if lock is None:
            return self._run(argv, self._environment, directory, allowed, timeout)
        with lock.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            return self._run(argv, self._environment, directory, allowed, timeout, (held.fileno(),))

    def _run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        directory: Path | None,
        allowed: re.Pattern[str] | None,
        timeout: float | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> str:
        path = self._path(argv[0])
        try:
            done = subprocess.run(
                [path, *argv[1:]],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=timeout or self._timeout,
                cwd=directory,
                env=environment,
                pass_fds=descriptors,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BackendError(
                f"{self._label}: {argv[0]} did not answer within {timeout or self._timeout:g} s", transient=True
            ) from None
        except OSError as error:
            raise BackendError(f"{self._label}: {argv[0]} cannot be run: {error.strerror}") from None
        out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        if done.returncode and not (allowed and allowed.search(f"{err}\n{out}")):
            raise self._failure(argv[0], done.returncode, err.strip() or out.strip())
        return out

    def _path(self, command: str) -> str:
        if self._folder:
            path = shutil.which(self._folder / command)
            if path is None:
                hint = "the site's key `commands` names its folder; without it, PATH says where commands are"
                raise BackendError(f"{self._label}: there is no command {self._folder / command}", hint=hint)
            return path
        path = shutil.which(command)
        if path is None:
            raise BackendError(
                f"{self._label}: there is no command {command} on this machine",
                hint="is this a machine from which jobs are submitted? the site's key `commands` names another folder",
            )
        return path

    def _failure(self, command: str, code: int, words: str) -> BackendError:
        said = [line.removeprefix(f"{command}: ").removeprefix("error: ") for line in words.splitlines()[-3:]]
        last = "; ".join(said) or f"exit code {code}"
        if self._full and self._full.search(words):
            return QueueFullError(f"{self._label}: {command}: {last}")
        transient = code < 0 or self._transient.search(words) is not None
        return BackendError(f"{self._label}: {command}: {last}", transient=transient)
