"""What somebody who aligns FASER's tracker asks for, piece by piece: all of it may come from options or from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.environment import Calypso
from fiducial.alignment.faser.pede import Pede
from fiducial.alignment.faser.recipes import STEERING_NAMES
from fiducial.core.errors import UsageError
from fiducial.core.filerange import format_range, parse_range

__all__ = [
    "Request",
    "Storage",
    "parse_files",
    "parse_iterations",
    "parse_recipe",
    "parse_run",
    "parse_stations",
    "parse_year",
    "plain",
]

_EXAMPLE = "fiducial align -y 2023 -r 011705 -f 450-500 -i 10"
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")


@dataclass(frozen=True)
class Storage:
    """What becomes of files that nobody needs any more.

    Args:
        keep_ntuples: of all iterations; otherwise those of the last one stay.
        keep_constants: of all iterations; otherwise those of the last one stay.
        keep_scratch: what a reconstruction leaves in its own folder.
    """

    keep_ntuples: bool = True
    keep_constants: bool = True
    keep_scratch: bool = False


@dataclass(frozen=True)
class Request:
    """An alignment as it was asked for; None is what nobody said anything about.

    Args:
        year: of the run.
        run: its number.
        files: raw files, half open.
        iterations: at most so many.
        stop_early: as soon as it has converged.
        stations: 3 or 4.
        name: of the campaign, with ``{year}``, ``{run}``, ``{files}`` and ``{stations}``.
        folder: of the campaign's files, with ``{format}`` for its name.
        data: of its large files, likewise, where they shall lie elsewhere.
        storage: what becomes of files that nobody needs any more.
        first_iteration: number of the first iteration's folder.
        initial_constants: constants to begin with.
        taken: ntuples of the first iteration that are there already, by their raw file's five digits.
        recipe: how an iteration is fitted: name of a recipe, or path of a file.
        sets: the same in FASER's words, for where no recipe is named: the section ``workflow`` of ``config.json``.
        source: folder of FASER's scripts.
        environment_script: what is sourced before a reconstruction.
        calypso: what an environment script is made of where there is none: Calypso's asetup file and its setup.sh,
            or the folder of its installation.
        pede: where a pede is.
        with_pede: whether it fits; otherwise our own fit does.
        reco_words: for faser_reco_alignment.py, besides the usual ones.
        variables: others of the workflow.
        edits: of the workflow, by dotted place.
        config: the file that said some of it.
        notes: what a user should know about what became of the words.
    """

    year: int | None = None
    run: int | None = None
    files: range | None = None
    iterations: int | None = None
    stop_early: bool | None = None
    stations: int | None = None
    name: str | None = None
    folder: str | None = None
    data: str | None = None
    storage: Storage | None = None
    first_iteration: int | None = None
    initial_constants: Path | None = None
    taken: Mapping[str, str] = field(default_factory=dict)
    recipe: str | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    environment_script: Path | None = None
    calypso: Calypso | None = None
    pede: Pede | None = None
    with_pede: bool | None = None
    reco_words: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    edits: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None
    notes: tuple[str, ...] = ()

    def over(self, other: Request) -> Request:
        """This, and where it says nothing the other."""
        merged: dict[str, Any] = {}
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(other, item.name)
            if isinstance(mine, Mapping):
                merged[item.name] = {**theirs, **mine}
            elif item.name in ("notes", "reco_words"):
                merged[item.name] = (*theirs, *mine)
            else:
                merged[item.name] = theirs if mine is None else mine
        return Request(**merged)

    def with_variables(self, variables: Mapping[str, Any]) -> Request:
        """The same with variables of the workflow set; those that an option names as well are that option.

        Raises:
            UsageError: one of these cannot be what it stands for.
        """
        own = {name: value for name, value in variables.items() if name in _OPTIONS}
        asked = {_OPTIONS[name][0]: _OPTIONS[name][1](plain(value, name)) for name, value in own.items()}
        others = {name: value for name, value in variables.items() if name not in own}
        return replace(self, **asked, variables={**self.variables, **others})

    def must_be_complete(self) -> None:
        """Year, run and files have to be said.

        Raises:
            UsageError: some are not; names all of them.
        """
        needed = {"the year (-y)": self.year, "the run (-r)": self.run, "the files (-f)": self.files}
        missing = [words for words, value in needed.items() if value is None]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise UsageError(
                f"{_listed(missing)} {verb} missing", hint=f"for example {_EXAMPLE}, or --config config.json"
            )

    @property
    def default_name(self) -> str:
        """``Y2023_R011705_F450-500``, as every generation of the scripts had it."""
        return self.expand("Y{year}_R{run}_F{files}")

    def expand(self, text: str, **more: str) -> str:
        """Fill in ``{year}``, ``{run}``, ``{files}`` and ``{stations}``, padded as in names of files.

        Raises:
            UsageError: the text has another name in braces.
        """
        known = {
            "year": f"{self.year:04d}",
            "run": f"{self.run:06d}",
            "files": format_range(self.files or range(0)),
            "stations": str(self.stations or 3),
            **more,
        }
        return expand(text, known)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace ``{name}`` by what is known; nothing else of Python's format language is understood.

    Raises:
        UsageError: a name that is not known.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise UsageError(f"'{text}': {match[0]} is not known", hint=f"known: {_braced(known)}")
        return known[match[1]]

    return re.sub(r"\{([^{}]*)\}", value, text)


def _braced(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _whole(text: str | int, what: str, digits: int, example: str) -> int:
    if not re.fullmatch(r"\d+", str(text), re.ASCII):
        raise UsageError(f"'{text}' is no {what}: it has digits only", hint=f"for example {example}")
    if len(str(text)) > digits:
        raise UsageError(f"'{text}' is no {what}: it has at most {digits} digits", hint=f"for example {example}")
    return int(text)


def parse_year(text: str | int) -> int:
    """A year of four digits.

    Raises:
        UsageError: it is none.
    """
    year = _whole(text, "year", 4, "2023")
    if year < 1000:
        raise UsageError(f"'{text}' is no year: it has four digits", hint="for example 2023")
    return year


def parse_run(text: str | int) -> int:
    """A run's number: ``011705`` and ``11705`` are the same.

    Raises:
        UsageError: it is none.
    """
    return _whole(text, "run", 6, "011705")


def parse_files(text: str | int) -> range:
    """Numbers of raw files: ``400``, or half open ``450-500`` and ``450:500``.

    Raises:
        UsageError: it is neither.
    """
    files = parse_range(text)
    if files.stop > 100_000:
        raise UsageError(f"the range '{text}' is too large: numbers of files have at most five digits")
    return files


def parse_iterations(text: str | int, *, what: str = "number of iterations", least: int = 1) -> int:
    """A number up to 99, for folders of iterations have two digits.

    Raises:
        UsageError: it is none.
    """
    number = _whole(text, what, 2, "10")
    if number < least:
        raise UsageError(f"'{text}' is no {what}: it is {least} at least", hint="for example 10")
    return number


def parse_stations(text: str | int) -> int:
    """3 or 4.

    Raises:
        UsageError: it is neither.
    """
    if str(text) not in ("3", "4"):
        raise UsageError(f"'{text}' stations: there are 3, or 4 with the interface tracker", hint="--threest, --fourst")
    return int(text)


def parse_recipe(text: str) -> str:
    """Name of a recipe, or the whole path of its file; a steering file of FASER's is the recipe that does the same.

    Raises:
        UsageError: it looks like a template.
    """
    text = STEERING_NAMES.get(text, text)
    file = "/" in text or text.endswith(".toml")
    return str(plain(str(Path(text).expanduser().absolute()) if file else text, "--recipe"))


def plain(value: Any, where: str = "") -> Any:
    """A value from outside that shall stand in a workflow as it is, and not be filled in there.

    Raises:
        UsageError: it looks like a template.
    """
    if isinstance(value, str | Path) and _TEMPLATE.search(str(value)):
        place = f"{where}: " if where else ""
        raise UsageError(f"{place}'{value}' holds a template, {{{{ … }}}}, which is not filled in here")
    return str(value) if isinstance(value, Path) else value


def _file(text: Any) -> Path | None:
    return Path(str(text)).absolute() if text else None


#: Variables that are fields of a request, and what makes a field of their value.
_OPTIONS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "year": ("year", parse_year),
    "run": ("run", parse_run),
    "files": ("files", parse_files),
    "stations": ("stations", parse_stations),
    "max_iterations": ("iterations", parse_iterations),
    "first_iteration": ("first_iteration", partial(parse_iterations, what="number of an iteration", least=0)),
    "initial_constants": ("initial_constants", _file),
    "recipe": ("recipe", lambda text: parse_recipe(str(text))),
}
