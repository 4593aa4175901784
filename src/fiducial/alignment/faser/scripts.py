"""Shell scripts that are made once, and are the user's from then on."""

from __future__ import annotations

import os
from pathlib import Path

from fiducial.core.errors import FolderError

__all__ = ["make_script"]


def make_script(path: Path, text: str) -> None:
    """Write a script, executable, unless it is there.

    Raises:
        FolderError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        return
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror}", hint="--env_script names another") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
