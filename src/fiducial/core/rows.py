"""One thing that was looked at, and how it was found: what checks are told in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FAIL", "OK", "WARN", "Row", "State"]

State = Literal["ok", "warn", "fail"]
OK: State = "ok"
WARN: State = "warn"
FAIL: State = "fail"


@dataclass(frozen=True)
class Row:
    """One line of a check.

    Args:
        state: ok, warn (it can be gone on with), fail (it cannot).
        what: was looked at.
        told: how it was found.
        mend: what to do about it; empty where nothing has to be done.
    """

    state: State
    what: str
    told: str
    mend: str = ""
