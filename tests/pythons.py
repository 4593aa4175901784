"""Older interpreters of this machine, such as worker nodes have."""

from __future__ import annotations

from pathlib import Path

NAMES = [f"python3.{minor}" for minor in range(6, 11)]


def old_pythons() -> list[str]:
    """Interpreters of this machine, the oldest first."""
    folders = [*Path.home().glob(".pyenv/versions/*/bin"), Path("/usr/bin"), Path("/usr/local/bin")]
    found = [folder / name for name in NAMES for folder in folders if (folder / name).exists()]
    return [str(path) for path in found] or ["/usr/bin/python3"]
