"""A pede of the user's that fits in place of our own fit: found, and called with its environment."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFAULT", "find_pede"]

#: What the script was called that is sourced before pede.
DEFAULT = "millepede_env.sh"


def find_pede(install: Path) -> Path | None:
    """The program: the path itself, or ``pede`` in that folder; None where there is none that can be run."""
    places = (install, install / "pede", install / "bin" / "pede")
    return next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None)
