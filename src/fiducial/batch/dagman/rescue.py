"""Rescue DAGs that can be submitted themselves, which DAGMan's own rescue files cannot.

DAGMan writes what is done (``NAME.dag.rescue001``) before it begins the FINAL node. Such a file has no nodes, and is
read beside the DAG when that is submitted again. HTCondor 23.9 can write whole ones, too, by the setting
DAGMAN_WRITE_PARTIAL_RESCUE = False: they are deprecated, the same DAGMan ends with an assertion when it reads one, and
the DAG can then no longer be submitted itself. So the script behind the FINAL node puts a whole one in the place of
DAGMan's, with what is done marked at the nodes, and DAGMan's at the next number: the newest is still what goes beside
the DAG.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fiducial.batch.dagman.control import rescue_file
from fiducial.storage.replace import replace_bytes, replacing

__all__ = ["complete_rescue"]

#: DAGMan's own limit to their number (manual, DAGMAN_MAX_RESCUE_NUM).
_MOST = 999
_PARTIAL = re.compile(rb"^# Rescue DAG version: .*\(partial\)", re.MULTILINE)
_NODE = re.compile(r"(?P<words>\s*(?P<kind>JOB|FINAL)\s+(?P<name>\S+)\s+[^\s{]+)(?P<rest>.*)", re.IGNORECASE)
_PLACE = re.compile(r"(\s*(?:CONFIG|NODE_STATUS_FILE)\s+)(?!/)(\S.*)", re.IGNORECASE)
_LAST = re.compile(r"\s*SCRIPT\s+POST\s+campaign\.final\s", re.IGNORECASE)
_DONE = re.compile(r"^DONE (\S+)", re.MULTILINE)


def complete_rescue(here: Path, dag: str, ran: str) -> Path | None:
    """Write a DAG of what is left, to be submitted from any folder; None where DAGMan left no rescue file.

    Args:
        here: the DAG's folder.
        dag: the campaign's DAG.
        ran: the file that DAGMan had been given: the DAG, or a rescue DAG of it that was submitted itself.

    Raises:
        OSError: it cannot be written. What DAGMan goes on with is there in any case.
    """
    partial = rescue_file(here, ran)
    if partial is None or not _PARTIAL.search(partial.read_bytes()[:4096]):
        return None
    newest = rescue_file(here, dag)
    number = _number(newest) + (newest != partial) if newest else 1
    if number >= _MOST:
        return None
    path = here / f"{dag}.rescue{number:03d}"
    replace_bytes(here / f"{dag}.rescue{number + 1:03d}", partial.read_bytes())
    done = frozenset(_DONE.findall(partial.read_text("utf-8")))
    with replacing(path) as temporary, (here / dag).open(encoding="utf-8") as lines, temporary.open("w") as file:
        file.writelines(_whole(here, path.name, lines, done))
    return path


def _number(rescue: Path) -> int:
    return int(rescue.name[-3:])


def _whole(here: Path, name: str, lines: Iterable[str], done: frozenset[str]) -> Iterator[str]:
    """The lines of a rescue DAG.

    Where the folder's name has no blanks, which no DAG file can quote, every node is told its folder, and the file may
    be submitted from anywhere.
    """
    anywhere = "" if re.search(r"\s", str(here)) else str(here)
    yield f"# What was left of {name.rpartition('.')[0]} when DAGMan had ended. Submit it"
    yield f": condor_submit_dag {anywhere}/{name}\n" if anywhere else f" in its folder: condor_submit_dag {name}\n"
    for line in lines:
        yield _changed(line.rstrip("\n"), anywhere, name, done) + "\n"


def _changed(line: str, folder: str, name: str, done: frozenset[str]) -> str:
    """A line of the DAG as it stands in a rescue DAG."""
    if _LAST.match(line):
        return f"{line} {name}"  # tells the script which DAG has ended
    if folder and (place := _PLACE.fullmatch(line)):
        return f"{place[1]}{folder}/{place[2]}"
    node = _NODE.fullmatch(line)
    if node is None:
        return line
    rest = node["rest"]
    if folder and not re.search(r"\sDIR\s", rest, re.IGNORECASE):
        rest = f" DIR {folder}{rest}"
    if node["name"] in done and not re.search(r"\sDONE\b", rest, re.IGNORECASE):
        rest += " DONE"
    return f"{node['words']}{rest}"
