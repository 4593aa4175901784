"""Jobs whose nodes see none of our folders: what goes with them, and what comes back.

A job takes along the runner, its specification and its inputs. It brings back one folder, ``attempt``, with log and
result, and in ``files`` its outputs by their numbers; here they are held against the result once more, and published.
The attempt's directory appears last, and whole.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from fiducial.batch.claims import read_result
from fiducial.batch.htcondor.render import BACK, CARRY
from fiducial.batch.queue.system import Bundle
from fiducial.core.errors import BackendError
from fiducial.runner import runner
from fiducial.storage.replace import replace_text, replacing

__all__ = ["deliver", "pack"]

_SCRIPT = """\
#!/bin/bash
# Starts one job of this submission on a node that does not see its folder. What it leaves comes back from "attempt",
# which is there also if nothing could be started.
mkdir -p attempt
exec {python} runner.py --carried job.json
"""
_LOADS = "carried"
#: Software that every node has, and its environment scripts.
_EVERYWHERE = ("/cvmfs/",)


def pack(bundle: Bundle, python: str, *, by_path: bool) -> list[list[str]]:
    """Write what goes with each job, and say which files that are, by their places in the bundle's folder.

    Args:
        python: that the nodes have.
        by_path: whether inputs go by their own paths, as file transfer plugins want it, not by links.

    Raises:
        BackendError: a job cannot be carried as it is.
    """
    script = bundle.folder / CARRY
    script.write_text(_SCRIPT.format(python=shlex.quote(python)), "utf-8")
    script.chmod(0o755)
    return [["runner.py", *_load(bundle, place, by_path)] for place in range(1, len(bundle.keys) + 1)]


def _load(bundle: Bundle, place: int, by_path: bool) -> list[str]:
    spec: dict[str, Any] = json.loads((bundle.folder / "jobs" / f"{place}.json").read_bytes())
    (bundle.folder / BACK / str(place)).mkdir(parents=True, exist_ok=True)
    folder = bundle.folder / _LOADS / str(place)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [*(spec.get("inputs") or ()), *_more_inputs(spec)]
    names = [_send(Path(item["path"]), number, folder, by_path) for number, item in enumerate(inputs)]
    if len({"runner.py", "job.json", *(PurePosixPath(name).name for name in names)}) < len(names) + 2:
        raise BackendError(
            f"two inputs of job {spec['name']} would have the same name on the node",
            hint="give one of them another name",
        )
    carried = [{**item, "carried": PurePosixPath(name).name} for item, name in zip(inputs, names, strict=True)]
    away = {**spec, "inputs": carried, "python": None}
    (folder / "job.json").write_text(json.dumps(away), "ascii")
    return [f"{_LOADS}/{place}/job.json", *names]


def _more_inputs(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Files that the payload needs and no step declares: an environment script, and the file of a callable."""
    paths = [spec.get("environment_script") or "", (spec.get("call") or "").rpartition(":")[0]]
    here = [path for path in paths if path.startswith("/") and not path.startswith(_EVERYWHERE)]
    return [{"path": path, "name": None} for path in here if Path(path).is_file()]


def _send(path: Path, number: int, folder: Path, by_path: bool) -> str:
    """How a file is named for its transfer."""
    if by_path:
        return str(path)
    link = folder / f"input.{number}"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return f"{_LOADS}/{folder.name}/{link.name}"


def deliver(bundle: Bundle, place: int, arrived: Path) -> bool:
    """Publish what came back from a job; true if its attempt's directory is there now.

    Harmless to repeat, also after it was cut short anywhere. What came back for an attempt that was revoked stays where
    it is.

    Args:
        arrived: the folder ``attempt`` that the job has sent.
    """
    directory = bundle.directories[place - 1]
    if not arrived.is_dir() or (directory.is_dir() and any(directory.iterdir())):
        return False
    result = read_result(arrived)
    if result is not None:
        fault = _publish_all(result, arrived, _wanted(bundle, place))
        if fault:
            failure = {"state": "failed", "cause": "output", "message": fault, "outputs": []}
            replace_text(arrived / "result.json", json.dumps({**result, **failure}))
    _move(arrived, directory)
    return True


def _wanted(bundle: Bundle, place: int) -> list[dict[str, Any]]:
    spec: dict[str, Any] = json.loads((bundle.folder / "jobs" / f"{place}.json").read_bytes())
    return spec.get("outputs") or []


def _publish_all(result: dict[str, Any], arrived: Path, wanted: Sequence[dict[str, Any]]) -> str:
    """Bring all outputs to their places, once all of them are found to be as the result says; else what is wrong."""
    ready: list[tuple[Path, Path]] = []
    for number, entry in enumerate(result.get("outputs") or ()):
        source, final = arrived / "files" / str(number), Path(entry["path"])
        if not _is_wanted(entry["path"], wanted):
            return f"its result names the output {final}, which it was not to make"
        if _is(source, entry):
            ready.append((source, final))
        elif not _is(final, entry):
            return f"output {final} has not come back as it was on the node"
    for source, final in ready:
        final.parent.mkdir(parents=True, exist_ok=True)
        with replacing(final) as temporary:
            shutil.move(source, temporary)
    with suppress(OSError):
        (arrived / "files").rmdir()
    return ""


def _is_wanted(path: str, wanted: Sequence[dict[str, Any]]) -> bool:
    """Whether a path from a node is one that the job was told to publish to."""
    for item in wanted:
        if path == item["path"] and not item.get("files"):
            return True
        if item.get("files") and path.startswith(f"{item['path']}/") and ".." not in path.split("/"):
            return True
    return False


def _is(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file has the size and checksum that a result tells of it."""
    try:
        if path.stat().st_size != entry["size"]:
            return False
        return not entry["size"] or runner.checksum(str(path))[1] == entry["adler32"]
    except OSError:
        return False


def _move(arrived: Path, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(arrived, directory)  # noqa: PTH104 - onto a directory only if it is empty
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = directory.with_name(f".{directory.name}.arriving")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(arrived, beside, symlinks=True)
        os.rename(beside, directory)  # noqa: PTH104
