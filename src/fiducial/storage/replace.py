"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fiducial.core.errors import UsageError

__all__ = ["keep_apart", "replace_bytes", "replace_text", "replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside a file to write to, which takes the file's place when all went well.

    Whoever reads the file meanwhile sees the old one or the new one, and never a part. If writing fails, what was
    written is removed, and the old file stays. Two processes that write the same file do not mix what they write.

    Args:
        path: of the file, in a folder that is there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Put text, in UTF-8, in the place of a file in one go; folders that are missing are made."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Put content in the place of a file in one go; folders that are missing are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def keep_apart(written: Iterable[Path | None], read: Iterable[Path | None]) -> None:
    """See, before anything is written or removed, that no output is an input, another output or a folder.

    Args:
        written: the outputs; None stands for one that is not wanted.
        read: the inputs, likewise.

    Raises:
        UsageError: one is.
    """
    taken = {path.resolve(): "it is read" for path in read if path is not None}
    for path in written:
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"{path} is a folder", hint="give the name of a file in it")
        if why := taken.get(path.resolve()):
            raise UsageError(f"{path} would be overwritten: {why}", hint="give the output another name")
        taken[path.resolve()] = "two outputs have this name"
