"""FASER's ``config.json``, in both of its generations.

The older one has the sections ``paths``, ``htcondor``, ``alignment``, ``storage``, and leaves year, run and files to
options. The newer one says everything: ``raw``, ``workflow``, ``dag``, ``data``, ``tpl``, ``src``, ``env``; in its
texts ``{format}`` stands for the campaign's name, ``{iter}`` for an iteration's number and ``{file}`` for a file's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from fiducial.alignment.faser.limits import parse_count, parse_flavour, parse_memory, parse_yes
from fiducial.alignment.faser.pede import Pede
from fiducial.alignment.faser.recipes import recipe_of_sets
from fiducial.alignment.faser.request import (
    Request,
    Storage,
    expand,
    parse_files,
    parse_iterations,
    parse_run,
    parse_stations,
    parse_year,
    plain,
)
from fiducial.core.errors import ConfigurationError, NotFoundError, UsageError

__all__ = ["is_faser", "read_config"]

T = TypeVar("T")

#: What the scripts needed and a workflow does not, by generation.
_NEEDLESS_OLD = ("htcondor", "alignment", "storage.cleanup_database_files")
_NEEDLESS_NEW = ("dag", "data.config", "data.initial", "tpl")
_LEVELS = ("VERBOSE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL")


class _Table:
    """A table of the file, which remembers what was read of it."""

    def __init__(self, file: Path, data: dict[str, Any], place: str = "") -> None:
        self.file, self.data, self.place = file, data, place
        self.inner: dict[str, _Table] = {}
        self.read: set[str] = set()

    def where(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def table(self, key: str) -> _Table:
        """The table under a key; an empty one where there is none."""
        if key not in self.inner:
            value = self.data.get(key, {})
            if not isinstance(value, dict):
                raise self.wrong(key, "must be a table, { … }")
            self.inner[key] = _Table(self.file, value, self.where(key))
        return self.inner[key]

    def get(self, key: str, parse: Callable[[Any], T]) -> T | None:
        """The value of a key, made what it stands for; None where there is none.

        Raises:
            ConfigurationError: it cannot be.
        """
        self.read.add(key)
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, dict | list):
            raise self.wrong(key, f"must be one value; here: {json.dumps(value)[:40]}")
        try:
            return parse(plain(value))
        except UsageError as error:
            raise self.wrong(key, error.message, error.hint) from None

    def path(self, key: str) -> Path | None:
        """A path; a relative one begins at the file's folder, and an empty one, as ``config.py`` wrote it, is none."""
        return self.get(key, self._path)

    def _path(self, value: Any) -> Path | None:
        if value == "":
            return None
        return self.file.absolute().parent / Path(_text(value)).expanduser()

    def wrong(self, key: str, message: str, hint: str = "") -> ConfigurationError:
        return ConfigurationError(f"{self.file}: {self.where(key)}: {message}", hint=hint)

    def unread(self) -> Iterator[str]:
        """Places of all keys that nobody asked for."""
        for key in self.data:
            if key in self.inner:
                yield from self.inner[key].unread()
            elif key not in self.read:
                yield self.where(key)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"must be text in quotes; here: {json.dumps(value)}")
    return value


def is_faser(file: Path) -> bool:
    """Whether a file has a section that only FASER's ``config.json`` has.

    Raises:
        ConfigurationError: it cannot be read, or is no JSON; the message gives the line. What stands in it is then not
            known, and another alignment must not run in its place.
    """
    data = _json(file, hint="mend it, or put it away: without --config, a config.json that lies here is read")
    return isinstance(data, dict) and bool({"raw", "paths"} & data.keys())


def read_config(file: Path) -> Request:
    """Read a ``config.json`` of either generation.

    Raises:
        NotFoundError: there is no such file.
        ConfigurationError: it is no JSON, of neither generation, or a value cannot be taken; names the key.
    """
    top = _Table(file, _load(file))
    if "raw" in top.data:
        return _newer(top)
    if "paths" in top.data:
        return _older(top)
    hint = "the older generation has a section 'paths', the newer one a section 'raw'"
    raise ConfigurationError(f"{file} is no config.json of FASER's alignment", hint=hint)


def _load(file: Path) -> dict[str, Any]:
    yaml = file.suffix in (".yaml", ".yml")
    data = _json(file, hint="YAML is not read: say the same in config.json, or by options" if yaml else "")
    if not isinstance(data, dict):
        raise ConfigurationError(f"{file} must be a table, {{ … }}")
    return data


def _json(file: Path, hint: str) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError(
            f"there is no file '{file}'", hint="--config names another; without one, options say all"
        ) from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{file}:{error.lineno}: not JSON: {error.msg}", hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {file}: {error}") from None


def _notes(top: _Table, needless: tuple[str, ...]) -> tuple[str, ...]:
    left = list(top.unread())
    known = [place for place in left if any(f"{place}.".startswith(f"{name}.") for name in needless)]
    unknown = [place for place in left if place not in known]
    notes = []
    if known:
        notes.append(f"{top.file}: not needed any more: {', '.join(known)}")
    if unknown:
        notes.append(f"{top.file}: not known, and left out: {', '.join(unknown)}")
    return tuple(notes)


# ------------------------------------------------------------------------------------------ paths, htcondor, …


def _older(top: _Table) -> Request:
    paths, alignment, storage = top.table("paths"), top.table("alignment"), top.table("storage")
    folder, data = _older_folders(paths, storage.get("use_eos_for_output", parse_yes))
    stations = alignment.get("default_stations", parse_stations)
    request = Request(
        iterations=alignment.get("default_iterations", parse_iterations),
        stations=stations,
        sets=_sets(top, stations or 3),
        folder=folder,
        data=data,
        storage=_storage(storage),
        environment_script=paths.path("reco_env_script") or paths.path("env_script"),
        calypso=paths.path("calypso_install"),
        pede=Pede(paths.path("pede_install"), paths.path("millepede_env_script")),
        edits=_limits(top.table("htcondor")),
    )
    return request.over(Request(config=top.file, notes=_notes(top, _NEEDLESS_OLD)))


def _older_folders(paths: _Table, on_eos: bool | None) -> tuple[str | None, str | None]:
    """Folders of the campaign and of its data: these went to EOS where there was one, unless that was switched off."""
    eos, work = paths.path("eos_output_dir"), paths.path("work_dir")
    if eos and work and eos != work and on_eos is not False:
        return f"{work}/{{format}}", f"{eos}/{{format}}"
    base = eos if eos and on_eos is not False else work
    return f"{base}/{{format}}" if base else None, None


def _storage(storage: _Table) -> Storage:
    return Storage(
        keep_ntuples=storage.get("keep_intermediate_root_files", parse_yes) is not False,
        keep_constants=storage.get("keep_alignment_constants", parse_yes) is not False,
        keep_scratch=storage.get("cleanup_reco_temp_files", parse_yes) is False,
    )


def _limits(htcondor: _Table) -> dict[str, Any]:
    """What a reconstruction may use; what a fit was given is too little for one that keeps its data in memory."""
    reco = htcondor.table("reco") if "reco" in htcondor.data else htcondor
    found = {
        "cpus": reco.get("request_cpus", parse_count),
        "memory": reco.get("request_memory", lambda value: parse_memory(value, "MB")),
        "disk": reco.get("request_disk", lambda value: parse_memory(value, "KB")),
        "flavour": reco.get("job_flavour", parse_flavour),
    }
    retries = reco.get("max_retries", lambda value: parse_count(value, least=0))
    resources = {key: value for key, value in found.items() if value is not None}
    edits: dict[str, Any] = {"steps.reco.resources": resources} if resources else {}
    return edits | ({} if retries is None else {"steps.reco.retry": {"max": retries}})


# ------------------------------------------------------------------------------------------------ raw, data, …


def _newer(top: _Table) -> Request:
    raw, data, tpl = top.table("raw"), top.table("data"), top.table("tpl")
    env = top.table("env")
    calypso = env.table("calypso")
    asetup, setup = calypso.path("asetup"), calypso.path("setup")
    templates, template = tpl.path("dir"), tpl.get("inputforalign", _text)
    level = raw.get("verbosity", _level)
    stations = raw.get("stations", parse_stations)
    folder, beside = _newer_folders(_as_text(top.table("dag").path("dir")), _as_text(data.path("dir")))
    request = Request(
        year=raw.get("year", parse_year),
        run=raw.get("run", parse_run),
        files=raw.get("files", parse_files),
        iterations=raw.get("iters", parse_iterations),
        stations=stations,
        sets=_sets(top, stations or 3),
        name=raw.get("format", _name),
        folder=folder,
        data=beside,
        first_iteration=0,
        initial_constants=(templates or top.file.absolute().parent) / template if template else None,
        source=top.table("src").path("dir"),
        calypso=(asetup, setup) if asetup and setup else None,
        pede=Pede(env.path("pede"), None, env.path("root")),
        reco_words=("--output_level", level) if level else (),
        variables=_folders(data.table("iter")),
    )
    return request.over(Request(config=top.file, notes=_notes(top, _NEEDLESS_NEW)))


def _newer_folders(dag: str | None, data: str | None) -> tuple[str | None, str | None]:
    """Folders of the campaign and of its data, which were the DAG's and another."""
    return (dag, data) if dag and data and dag != data else (data or dag, None)


def _sets(top: _Table, stations: int) -> dict[str, Any]:
    """What the steps of pede hold; which recipe does the same is seen when the options have said how many stations."""
    top.read.add("workflow")
    sets = top.data.get("workflow") or {}
    if not isinstance(sets, dict):
        raise top.wrong("workflow", "must be a table, { … }")
    try:
        recipe_of_sets(sets, stations)
    except UsageError as error:
        raise top.wrong("workflow", error.message) from None
    return sets


def _as_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _name(value: Any) -> str:
    if "/" in _text(value):
        raise UsageError(f"'{value}' is no name of a folder")
    expand(value, dict.fromkeys(("year", "run", "files", "stations"), ""))
    return str(value)


def _level(value: Any) -> str:
    if str(value).upper() not in _LEVELS:
        raise UsageError(f"'{value}' is no level", hint=f"known: {', '.join(_LEVELS)}")
    return str(value).upper()


def _folders(iteration: _Table) -> dict[str, Any]:
    """Names of folders in an iteration's, as variables of the workflow."""
    found = {"iter": iteration.get("dir", lambda value: _numbered(_inside(value)))}
    for variable, key in (("reco_folder", "reco"), ("ntuple_folder", "kfalign"), ("fit_folder", "millepede")):
        name = iteration.get(key, lambda value: _with_number(_inside(value)))
        found[variable] = None if name is None else f"{{{{ iter }}}}/{name}"
    return {variable: value for variable, value in found.items() if value is not None}


def _with_number(text: str) -> str:
    return expand(text, {"iter": "{{ number | pad(2) }}"})


def _numbered(text: str) -> str:
    if "{iter}" not in text:
        hint = 'for example "iter{iter}"'
        raise UsageError(f"'{text}' is the same folder for all iterations: {{iter}} is missing", hint=hint)
    return _with_number(text)


def _inside(value: Any) -> str:
    parts = PurePosixPath(_text(value)).parts
    if value.startswith("/") or ".." in parts:
        raise UsageError(f"'{value}' leads out of the campaign's folder")
    return str(value)
