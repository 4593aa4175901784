"""Tell what a long call is doing: in place on a terminal, in lines elsewhere if it takes more than a second."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

__all__ = ["told"]

_EVERY_SECONDS = 1.0


@contextmanager
def told() -> Iterator[Callable[[str], None]]:
    """Yields what to call with words; they appear on standard error."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("starting") as status:
            yield status.update
        return
    lines = _Lines()
    try:
        yield lines.say
    finally:
        lines.stop()


class _Lines:
    """Prints what is being done, at most once a second; nothing if all is over in a second."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._words = self._printed = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, words: str) -> None:
        self._words = words

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            if self._words != self._printed:
                self._printed = self._words
                typer.echo(f"{time.monotonic() - self._started:5.0f} s  {self._printed}", err=True)
