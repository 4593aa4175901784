"""The questions of ``fiducial align init``: what each asks, what an answer may be, and whether it holds here.

Two generations of ``config.json`` are known. An answer is first made what it stands for, which can fail for good, and
then held against this machine: a path may be missing here and be there where the jobs will run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.environment import DEFAULT, files_of
from fiducial.alignment.faser.limits import parse_count, parse_flavour, parse_memory
from fiducial.alignment.faser.pede import DEFAULT as PEDE_DEFAULT
from fiducial.alignment.faser.pede import find_pede
from fiducial.alignment.faser.request import parse_files, parse_iterations, parse_run, parse_stations, parse_year
from fiducial.core.errors import UsageError

__all__ = ["NEWER", "OLDER", "Question", "generation_of", "insert", "known_value", "questions"]

OLDER, NEWER = "older", "newer"
_MADE = "(made where there is none)"


def _fine(value: Any) -> str:
    return ""


@dataclass(frozen=True)
class Question:
    """One value of ``config.json``.

    Args:
        key: its dotted place.
        text: what is asked.
        default: the answer where none is given; None where there has to be one.
        parse: makes text the value; raises UsageError.
        look: says what is off with the value on this machine; empty where nothing is.
        asked: whether somebody at a terminal is asked for it; otherwise it is the default, or set by an option.
        blank: whether it may be left empty; ``-`` empties one that has a default.
    """

    key: str
    text: str
    default: Any
    parse: Callable[[str], Any] = str
    look: Callable[[Any], str] = _fine
    asked: bool = True
    blank: bool = False

    def value(self, text: str) -> Any:
        """What an answer stands for.

        Raises:
            UsageError: nothing.
        """
        text = "" if self.blank and text.strip() == "-" else text.strip()
        if not text and not self.blank:
            raise UsageError("this one is needed")
        return self.parse(text) if text else ""


def generation_of(data: Mapping[str, Any]) -> str:
    """Which generation a ``config.json`` that was read is of."""
    return NEWER if "raw" in data else OLDER


def known_value(data: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted place; None where there is none."""
    found: Any = data
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return None if isinstance(found, Mapping) else found


def insert(data: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted place; tables on the way are made."""
    *tables, name = key.split(".")
    inner = data
    for table in tables:
        if not isinstance(inner.get(table), dict):
            inner[table] = {}
        inner = inner[table]
    inner[name] = value


def questions(generation: str, data: Mapping[str, Any]) -> list[Question]:
    """All questions of a generation, in the order in which they are asked.

    Args:
        data: the configuration that is there already, which may say which keys of two are in use.
    """
    return _newer() if generation == NEWER else _older(data)


def _older(data: Mapping[str, Any]) -> list[Question]:
    here = str(Path.cwd())
    return [
        Question("paths.calypso_install", "Calypso's installation, the folder with setup.sh", None, _path, _calypso),
        Question("paths.pede_install", "folder of pede (- for Fiducial's own fit)", "", _path, _pede, blank=True),
        *_scripts(data),
        Question("paths.work_dir", "folder for logs, submit files and constants (AFS)", here, _path, _folder),
        Question("paths.eos_output_dir", "folder for data (EOS; - for the same)", "", _path, _folder, blank=True),
        *_of_htcondor(data),
        Question("alignment.default_iterations", "iterations, at most", 10, parse_iterations),
        Question("alignment.default_stations", "stations, 3 or 4", 3, parse_stations),
        Question("storage.use_eos_for_output", "data into the folder for data", True, _yes),
        Question("storage.keep_intermediate_root_files", "keep the ntuples of all iterations", True, _yes),
        Question("storage.keep_alignment_constants", "keep the constants of all iterations", True, _yes),
        Question("storage.cleanup_reco_temp_files", "remove a reconstruction's own folder at its end", True, _yes),
    ]


def _scripts(data: Mapping[str, Any]) -> list[Question]:
    """One environment script, or one for each kind of job where the configuration has two."""
    if known_value(data, "paths.reco_env_script") is None:
        return [Question("paths.env_script", f"environment script {_MADE}", DEFAULT, _path, _beside)]
    return [
        Question("paths.reco_env_script", f"environment script of a reconstruction {_MADE}", DEFAULT, _path, _beside),
        Question("paths.millepede_env_script", f"environment script of pede {_MADE}", PEDE_DEFAULT, _path, _beside),
    ]


def _of_htcondor(data: Mapping[str, Any]) -> list[Question]:
    inner = "htcondor.reco" if known_value(data, "htcondor.reco.job_flavour") is not None else "htcondor"
    machines = '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= "AlmaLinux9")'
    return [
        Question(f"{inner}.job_flavour", "flavour of a reconstruction's job", "longlunch", parse_flavour),
        Question(f"{inner}.request_cpus", "its cores", 1, parse_count, asked=False),
        Question(f"{inner}.request_memory", "its memory", "4 GB", lambda text: parse_memory(text, "MB"), asked=False),
        Question(f"{inner}.max_retries", "its retries", 3, lambda text: parse_count(text, least=0), asked=False),
        Question("htcondor.requirements", "HTCondor's requirements", machines, asked=False, blank=True),
    ]


def _newer() -> list[Question]:
    return [
        Question("raw.year", "year of the run", None, parse_year),
        Question("raw.run", "number of the run", None, parse_run),
        Question("raw.files", "raw files, half open: 101-151 are fifty", None, _files),
        Question("raw.iters", "iterations, at most", 15, parse_iterations),
        Question("raw.stations", "stations, 3 or 4", 4, parse_stations),
        Question("raw.format", "name of the alignment", "Y{year}_R{run}_F{files}_ST{stations}", asked=False),
        Question("env.calypso.asetup", "Calypso's asetup.faser", None, _path, _file),
        Question("env.calypso.setup", "Calypso's setup.sh", None, _path, _file),
        Question("env.pede", "folder of pede (- for Fiducial's own fit)", "", _path, _pede, blank=True),
        Question("src.dir", "folder of faser_reco_alignment.py", str(Path.cwd()), _path, _source),
        Question("dag.dir", "folder for logs and submit files (AFS)", f"{Path.cwd()}/{{format}}", _path, _folder),
        Question("data.dir", "folder for data (EOS; - for the same)", "", _path, _folder, blank=True),
        Question("data.iter.dir", "folder of an iteration", "iter{iter}", asked=False),
        Question("data.iter.reco", "folder in it: constants", "1reco", asked=False),
        Question("data.iter.kfalign", "folder in it: ntuples", "2kfalignment", asked=False),
        Question("data.iter.millepede", "folder in it: fit", "3millepede", asked=False),
    ]


# ---------------------------------------------------------------------------------------- what an answer may be


def _path(text: str) -> str:
    return str(Path(text).expanduser())


def _files(text: str) -> str:
    parse_files(text)
    return text


def _yes(text: str) -> bool:
    if text.lower() not in ("y", "yes", "true", "n", "no", "false"):
        raise UsageError(f"'{text}' is neither yes nor no")
    return text.lower() in ("y", "yes", "true")


# ------------------------------------------------------------------------------------------ whether it holds here


def _calypso(install: str) -> str:
    folder = Path(install)
    if not folder.is_dir():
        return f"there is no folder {folder}"
    asetup, setup = files_of(folder)
    missing = next((file for file in (setup, asetup) if not file.is_file()), None)
    return f"there is no {missing}" if missing else ""


def _pede(install: str) -> str:
    return f"there is no pede that can be run in {install}" if install and find_pede(Path(install)) is None else ""


def _file(path: str) -> str:
    return "" if Path(path).is_file() else f"there is no file {path}"


def _source(folder: str) -> str:
    return _file(str(Path(folder) / "faser_reco_alignment.py"))


def _beside(path: str) -> str:
    """A file that is made where it is not there: in a folder that is."""
    folder = Path(path).absolute().parent
    return "" if Path(path).is_file() or folder.is_dir() else f"neither it nor its folder {folder} is there"


def _folder(path: str) -> str:
    """A folder that is there, or can be made."""
    if not path:
        return ""
    folder = Path(path.partition("{")[0]).absolute()
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if there == Path("/") and len(folder.parts) > 1:
        return f"there is no {folder.parts[0]}{folder.parts[1]} here (not mounted?)"
    if not there.is_dir():
        return f"{there} is no folder"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"you may not write into {there}"
