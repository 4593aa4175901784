"""All files of a fit together: in which order they appear, and what is left of earlier ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiducial.alignment.fit.outputs.res import result_text
from fiducial.alignment.verdict import MESSAGES, WriteError, verdict_of
from fiducial.core.errors import FiducialError
from fiducial.core.jsontext import json_text
from fiducial.storage.replace import replace_text, replacing

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["NAMES", "announce", "put_end", "read_end", "write_failure", "write_results"]

#: Every file that a fit may write.
NAMES = tuple(f"millepede.{kind}" for kind in ("res", "end", "log", "json", "his", "mon", "eve", "parquet"))


def announce(directory: Path) -> None:
    """Make room for a new result: rename earlier files to ``name~`` and note in millepede.end that a fit runs."""
    with _written(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for path in (directory / name for name in NAMES):
        with _written(path):
            if path.exists() and not _says_running(path):
                path.replace(directory / f"{path.name}~")
    put_end(directory, -1, MESSAGES[-1])


def _says_running(path: Path) -> bool:
    return path.name == "millepede.end" and path.read_text(errors="replace") == _end(-1, MESSAGES[-1])


def write_results(result: FitResult, directory: Path, *, parquet: bool = False) -> None:
    """Write the files of a result; see `FitResult.write`."""
    from fiducial.alignment.fit.outputs import log

    announce(directory)
    texts = {"millepede.log": log.log_text(result)} | _extra_texts(result)
    try:
        if parquet:
            from fiducial.alignment.fit.outputs.table import write_table

            whole = directory / "millepede.parquet"
            with _written(whole), replacing(whole) as path:
                write_table(result, path)
        for name, text in texts.items():
            _put(directory / name, text)
        _put(directory / "millepede.json", json_text(result.to_json(), indent=1) + "\n")
        _put(directory / "millepede.res", result.checked or result_text(result))
        put_end(directory, result.verdict, result.message)
    except BaseException:
        (directory / "millepede.res").unlink(missing_ok=True)
        raise


def _extra_texts(result: FitResult) -> dict[str, str]:
    """What only some fits write."""
    from fiducial.alignment.fit.outputs import eve, his, mon

    texts: dict[str, str] = {}
    if result.histograms:
        curve = his.Curve(1, "Function value in iterations", [(row.loop, row.chi2) for row in result.iterations])
        texts["millepede.his"] = his.histogram_text([*result.histograms, curve])
    if result.monitored is not None:
        texts["millepede.mon"] = mon.monitor_text(result.monitored)
    if result.eigenvectors is not None:
        texts["millepede.eve"] = eve.eigenvector_text(result.eigenvectors)
    return texts


def write_failure(directory: Path, error: BaseException) -> None:
    """Write in millepede.end, .json and .log why there is no result."""
    verdict, what = verdict_of(error), " ".join(str(error).split()) or type(error).__name__
    said: dict[str, Any] = {"verdict": verdict, "message": f"Aborted: {what}", "hint": getattr(error, "hint", "")}
    said["warnings"] = error.warnings if isinstance(error, FiducialError) else []
    lines = f"Aborted: {what}\n" + (f"Hint: {said['hint']}\n" if said["hint"] else "")
    lines += "".join(f"warning: {warning}\n" for warning in said["warnings"])
    texts = {"log": lines, "json": json_text(said, indent=1) + "\n", "end": _end(verdict, said["message"])}
    for kind, text in texts.items():
        with suppress(WriteError):  # what should be seen is the error itself
            _put(directory / f"millepede.{kind}", text)


def put_end(directory: Path, verdict: int, message: str) -> None:
    """Write millepede.end."""
    _put(directory / "millepede.end", _end(verdict, message))


def _end(verdict: int, message: str) -> str:
    return f"{verdict:5d}   {message}\n"


def read_end(path: Path) -> tuple[int, str]:
    """Read a millepede.end: code and message.

    Raises:
        ValueError: it does not begin with a code.
        OSError: it cannot be read.
    """
    code, _, message = path.read_text(errors="replace").strip().partition(" ")
    return int(code), message.strip()


def _put(path: Path, text: str) -> None:
    with _written(path):
        replace_text(path, text)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say what cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror or error}",
            hint="there must be a folder that may be written, with space for the result",
        ) from error
