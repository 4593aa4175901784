"""Whether the folders of an alignment can be written, and have room and quota for what it will write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fiducial.alignment.faser.checkup.looks import answer_of
from fiducial.core.rows import FAIL, OK, WARN, Row
from fiducial.ledger.database import filesystem_of

__all__ = ["AFS", "EOS", "Needed", "folder_rows", "kind_of", "parse_eos_quota", "parse_fs_quota", "size_text"]

AFS, EOS, LOCAL = "AFS", "EOS", ""
#: What a raw file of FASER becomes: fifty of them give about 500 MB of ntuples in an iteration, and as much of Mille.
_NTUPLE = 10 * 2**20
_RECORDS = 10 * 2**20
#: Logs and small files: fifty jobs leave about 10 MB.
_LOGS = 2**18
_SMALL = 2 * 2**20
#: So much shall be left when all is written, so that nothing else stops.
_RESERVE = 1.1
_AFS_KINDS = ("afs", "auristorfs")
_INSTANCES = {"user": "root://eosuser.cern.ch", "project": "root://eosproject.cern.ch"}
_PUBLIC = "root://eospublic.cern.ch"


@dataclass(frozen=True)
class Needed:
    """What an alignment will write, in bytes.

    Args:
        small: logs, constants, tables.
        large: ntuples and the fit's records.
    """

    small: int
    large: int

    @classmethod
    def of(cls, files: int, iterations: int, *, keep_ntuples: bool, keep_records: bool) -> Needed:
        """By FASER's experience with fifty files."""
        ntuples = (iterations if keep_ntuples else min(2, iterations)) * files * _NTUPLE
        records = iterations * files * _RECORDS if keep_records else files * _RECORDS
        return cls(iterations * (files * _LOGS + _SMALL), ntuples + records)


def kind_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """AFS, EOS, or nothing of both."""
    resolved = str(path.resolve())
    kind = filesystem_of(path, mounts)
    if kind in _AFS_KINDS or resolved.startswith("/afs/"):
        return AFS
    return EOS if kind.startswith("fuse.eos") or resolved.startswith("/eos/") else LOCAL


def folder_rows(what: str, folder: Path, needed: int, kind: str) -> Iterator[Row]:
    """Whether a folder is there or can be made, and has room.

    Args:
        needed: bytes.
        kind: of the file system, by `kind_of`.
    """
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if there == Path("/") and len(folder.parts) > 2:
        yield Row(FAIL, what, f"{folder}: there is no /{folder.parts[1]} here", "is it mounted on this machine?")
        return
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "is no folder" if not there.is_dir() else "may not be written to"
        yield Row(FAIL, what, f"{folder}: {there} {why}", "--folder, or config.json, names another")
        return
    state = "is there" if there == folder else "will be made"
    yield Row(OK, what, f"{folder} {state}" + (f", on {kind}" if kind else ""))
    yield _free(f"{what}: space", there, needed)
    if kind:
        yield _quota(f"{what}: quota", there, needed, kind)


def _free(what: str, folder: Path, needed: int) -> Row:
    disk = os.statvfs(folder)
    return _judged(what, disk.f_bavail * disk.f_frsize, needed, "free")


def _judged(what: str, free: int, needed: int, words: str) -> Row:
    told = f"{size_text(free)} {words}" + (f", about {size_text(needed)} needed" if needed else "")
    if free < needed:
        mend = "fewer files or iterations, another folder, or storage.keep_intermediate_root_files false in config.json"
        return Row(FAIL, what, told, mend)
    return Row(OK if free > _RESERVE * needed else WARN, what, told)


def size_text(size: int) -> str:
    """A number of bytes as people say it."""
    for unit, power in (("TB", 40), ("GB", 30), ("MB", 20)):
        if size >= 2**power:
            return f"{size / 2**power:.3g} {unit}" if size < 1000 * 2**power else f"{size / 2**power:.0f} {unit}"
    return f"{max(size, 0) / 2**10:.0f} KB"


# -------------------------------------------------------------------------------------------------------- quotas


def _quota(what: str, folder: Path, needed: int, kind: str) -> Row:
    if kind == AFS:
        words, environment = ["fs", "listquota", "-path", str(folder)], None
        parse = parse_fs_quota
    else:
        words, environment = ["eos", "quota", "ls", "-m", "-p", str(folder)], _eos_environment(folder)
        parse = parse_eos_quota
    answer = answer_of(words, environment)
    if answer is None:
        return Row(WARN, what, f"cannot be told: '{words[0]}' is not here, or does not answer", f"try: {_typed(words)}")
    code, text = answer
    free = parse(text)
    if code or free is None:
        last = text.strip().splitlines()[-1:] or ["nothing"]
        return Row(WARN, what, f"cannot be told: '{words[0]}' says: {last[0][:120]}", f"try: {_typed(words)}")
    return Row(OK, what, "no limit") if free < 0 else _judged(what, free, needed, "left")


def _typed(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


def _eos_environment(folder: Path) -> dict[str, str]:
    """The instance that the path is on; the usual one may be another."""
    parts = folder.resolve().parts
    kind = parts[2] if len(parts) > 2 else ""
    return {"EOS_MGM_URL": _INSTANCES.get(kind.partition("-")[0], _PUBLIC), **os.environ}


def parse_fs_quota(text: str) -> int | None:
    """Bytes that are left by ``fs listquota``: -1 for no limit, None where it says nothing that is known.

    It prints a heading, and a line with the volume's name, quota and use in KB, and percentages.
    """
    for line in text.splitlines():
        found = re.fullmatch(r"\s*\S+\s+(\d+|no limit)\s+(\d+)\s.*", line)
        if found:
            return -1 if found[1] == "no limit" else 1024 * (int(found[1]) - int(found[2]))
    return None


def parse_eos_quota(text: str) -> int | None:
    """Bytes that are left by ``eos quota ls -m``, the least of the user's and the project's; -1 and None as above.

    Each line holds ``key=value``; ``maxlogicalbytes`` of 0 is no limit.
    """
    left = []
    for line in text.splitlines():
        values = dict(word.split("=", 1) for word in line.split() if "=" in word)
        most, used = values.get("maxlogicalbytes", ""), values.get("usedlogicalbytes", "")
        if most.isdecimal() and used.isdecimal():
            left.append(int(most) - int(used) if int(most) else -1)
    limited = [free for free in left if free != -1]
    return min(limited) if limited else (-1 if left else None)
