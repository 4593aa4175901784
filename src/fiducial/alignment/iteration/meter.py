"""Time and memory that the parts of a step of work take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["metered"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@contextmanager
def metered(steps: list[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """Measure a part and append it to the list of all: its name, wall time in s, largest resident memory in MiB.

    The memory is that of the whole process while the part ran; None where the system cannot tell (not Linux).
    """
    step: dict[str, Any] = {"name": name}
    resettable = _reset_peak()
    started = time.perf_counter()
    yield step
    seconds = round(time.perf_counter() - started, 4)
    step |= {"seconds": seconds, "peak_mib": _peak_mib() if resettable else None}
    steps.append(step)


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_mib() -> float | None:
    try:
        words = next(line.split() for line in _STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return round(int(words[1]) / 1024, 1)
