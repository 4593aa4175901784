"""The Millepede steering language, as `pede` reads it.

A steering file names binary and text files and sets options; text files hold parameters, constraints and measurements.
See the Millepede-II manual, "Steering file" and "Text files".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fiducial.alignment.mille import MilleFile
from fiducial.core.errors import NotFoundError, SteeringError

__all__ = ["Combination", "Method", "Parameter", "Steering", "match_keyword", "read_steering"]

HONOURED = [
    "parameter", "constraint", "measurement", "method", "entries", "chisqcut", "hugecut", "regularization",
    "regularisation", "presigma", "matiter", "outlierdownweighting", "dwfractioncut", "subito", "force",
    "globalcorr", "printcounts", "skipemptycons", "withelimination", "withmultipliers", "nofeasiblestart",
]  # fmt: skip
# They change what pede prints, or how fast it is, but no number that the fit returns.
OUTPUT_ONLY = [
    "print", "debug", "printrecord", "cache", "matmoni", "pullrange", "memorydebug", "monitorresiduals",
    "monitorpulls", "monitorprogress", "threads", "histprint", "localfit", "checkparametergroups",
    "outlierfracwarnthreshold", "comment", "errlabels", "lapackwitherrors", "withlapackelimination",
    "postprocessing", "pardiso", "closeandreopen",
]  # fmt: skip
# They choose how the approximate solvers work; with an exact solver there is nothing to choose.
MINRES_ONLY = [
    "bandwidth", "mrestol", "mrestranscond", "mresmode", "compress", "pairentries",
]  # fmt: skip
UNSUPPORTED = [
    "maxrecord", "linesearch", "weightedcons", "checkinput", "scaleerrors", "iterateentries", "countrecords",
    "wolfe", "readerroraseof", "resolveredundancycons",
]  # fmt: skip
KEYWORDS = [*HONOURED, *OUTPUT_ONLY, *MINRES_ONLY, *UNSUPPORTED]
METHODS = [
    "diagonalization", "inversion", "fullMINRES", "sparseMINRES", "fullMINRES-QLP", "sparseMINRES-QLP",
    "decomposition", "fullLAPACK", "unpackedLAPACK", "sparsePARDISO",
]  # fmt: skip

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_COMMENT = re.compile(r"[!%]")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Start value of a global parameter, and its presigma: < 0 fixed, 0 none or default, > 0 a soft bound."""

    value: float = 0.0
    presigma: float = 0.0


@dataclass(frozen=True, slots=True)
class Combination:
    """A linear combination of global parameters with its value: a constraint, or with a sigma a measurement."""

    where: str
    value: float
    sigma: float
    terms: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """Method of the global solution, iterations at most, and the expected decrease of F that ends them."""

    where: str
    name: str = "sparseMINRES"
    iterations: int = 1
    limit: float = 0.0


@dataclass
class Steering:
    """What a steering file and its text files say.

    Args:
        path: the steering file.
        files: binary files in order.
        parameters: by label, as far as given; the last line for a label counts.
        constraints: combinations that shall have their value exactly.
        measurements: combinations that were measured.
        method: the last `method` given.
        options: numbers after each other keyword, by keyword.
        warnings: what was read but has no effect here, with file and line.
    """

    path: Path
    files: list[MilleFile] = field(default_factory=list)
    parameters: dict[int, Parameter] = field(default_factory=dict)
    constraints: list[Combination] = field(default_factory=list)
    measurements: list[Combination] = field(default_factory=list)
    method: Method = Method("")
    options: dict[str, tuple[float, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    path: Path
    number: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    def error(self, what: str, hint: str = "") -> SteeringError:
        return SteeringError(f"{self.where}: {what}", hint=hint)


def read_steering(path: Path) -> Steering:
    """Read a steering file and the text files that it names.

    Files are looked for beside the steering file, then in the current folder.

    Raises:
        NotFoundError: there is no such steering file.
        SteeringError: a line cannot be understood; file and line are named.
    """
    steering = Steering(path)
    texts: list[Path] = []
    body = list(_take_files(steering, _lines(path), texts))
    parser = _Parser(steering)
    for line in body:
        parser.read(line)
    for text in texts:
        for line in _lines(text):
            parser.read(line)
    if not steering.files:
        raise SteeringError(f"{path}: names no binary file", hint="add a line with the name of a Mille file")
    return steering


def _lines(path: Path) -> Iterator[_Line]:
    """Lines with something in them, without comments, up to `end`."""
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SteeringError(f"{path}: is a folder, not a file") from None
    for number, raw in enumerate(content.splitlines(), 1):
        text = "" if raw.startswith("*") else raw.split("!")[0].strip(" ")
        if text.lower() == "end":
            return
        if text:
            yield _Line(path, number, text)


def _take_files(steering: Steering, lines: Iterator[_Line], texts: list[Path]) -> Iterator[_Line]:
    """Sort out the lines that name files; give back the others."""
    fortran = False
    for line in lines:
        kind = line.text.lower()
        if kind in {"cfiles", "fortranfiles"}:
            fortran = kind == "fortranfiles"
            continue
        name, marked, weight = line.text.partition(" -- ")
        found = _find(line.path.parent, name.strip())
        if found is None:
            yield line
        elif any(mark in found.name[-4:].lower() for mark in ("xt", "tx")):
            texts.append(found)
        else:
            steering.files.append(MilleFile(found, fortran, _weight(line, weight) if marked else 1.0))


def _find(folder: Path, name: str) -> Path | None:
    candidates = [folder / name, Path(name)]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _weight(line: _Line, text: str) -> float:
    numbers = _numbers(text)
    if not numbers or numbers[0] <= 0:
        raise line.error(f"the weight of a file must be a positive number, not '{text.strip()}'")
    return numbers[0]


def _numbers(text: str) -> list[float]:
    words = _COMMENT.split(text)[0].split(" ")
    return [float(re.sub("[dD]", "e", word)) for word in words if _NUMBER.fullmatch(word)]


class _Parser:
    """Reads lines; a keyword holds for the lines of numbers after it, over the end of files too."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering
        self.keyword = ""

    def read(self, line: _Line) -> None:
        words = [word for word in _COMMENT.split(line.text)[0].split(" ") if word]
        if not words:
            return
        numbers = _numbers(line.text)
        if _NUMBER.fullmatch(words[0]):
            if len(numbers) != len(words):
                raise line.error(f"cannot read the number '{next(w for w in words if not _NUMBER.fullmatch(w))}'")
            self._continue(line, numbers)
        else:
            self.keyword = _keyword(line, words[0])
            self._start(line, words[1:], numbers)

    def _start(self, line: _Line, words: list[str], numbers: list[float]) -> None:
        steering = self.steering
        match self.keyword:
            case "parameter":
                if numbers:
                    self._continue(line, numbers)
            case "constraint":
                steering.constraints.append(Combination(line.where, _needed(line, numbers, 1)[0], 0.0))
            case "measurement":
                value, sigma = _needed(line, numbers, 2)[:2]
                steering.measurements.append(Combination(line.where, value, sigma))
            case "method":
                steering.method = _method(line, words, numbers)
            case keyword:
                steering.options[keyword.replace("regularization", "regularisation")] = tuple(numbers)
                if ignored := _ignored(keyword, numbers):
                    steering.warnings.append(f"{line.where}: {ignored} is not supported yet and has no effect")

    def _continue(self, line: _Line, numbers: list[float]) -> None:
        match self.keyword:
            case "parameter":
                label, value, presigma = _needed(line, numbers, 3)[:3]
                self.steering.parameters[_label(line, label)] = Parameter(value, presigma)
            case "constraint":
                _extend(self.steering.constraints, line, numbers)
            case "measurement":
                _extend(self.steering.measurements, line, numbers)
            case _:
                raise line.error("numbers that belong to no parameter, constraint or measurement")


def _ignored(keyword: str, numbers: list[float]) -> str:
    """What of an option would change the fit in pede and does not here."""
    if keyword == "entries" and len(numbers) > 2:
        return f"the third number of 'entries', {numbers[2]:g},"
    return f"'{keyword}'" if keyword in UNSUPPORTED else ""


def _needed(line: _Line, numbers: list[float], count: int) -> list[float]:
    if len(numbers) < count:
        raise line.error(f"expected {count} numbers, found {len(numbers)}")
    return numbers


def _label(line: _Line, number: float) -> int:
    if number < 1 or number > 2**31 - 1 or number != int(number):
        raise line.error(f"the label of a parameter must be a positive integer, not {number:g}")
    return int(number)


def _extend(combinations: list[Combination], line: _Line, numbers: list[float]) -> None:
    if len(numbers) % 2:
        raise line.error("expected pairs of label and factor")
    last = combinations[-1]
    more = tuple((_label(line, label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True))
    combinations[-1] = Combination(last.where, last.value, last.sigma, last.terms + more)


def _method(line: _Line, words: list[str], numbers: list[float]) -> Method:
    iterations, limit = _needed(line, numbers, 2)[:2]
    name = match_keyword(words[0], METHODS)
    if name is None:
        raise line.error(f"there is no method '{words[0]}'", _suggestion(words[0], METHODS))
    return Method(line.where, name, int(iterations), limit)


def _keyword(line: _Line, word: str) -> str:
    keyword = match_keyword(word, KEYWORDS)
    if keyword is not None:
        return keyword
    what = f"'{line.text[:60]}' is neither a keyword nor the name of a file that exists"
    if "\t" in line.text:
        raise line.error(what, "it holds a tab: only blanks separate words")
    raise line.error(what, _suggestion(word, KEYWORDS))


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, 1, 0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def match_keyword(word: str, known: list[str]) -> str | None:
    """The first keyword that a word stands for: at least 80 % of the characters of the longer one match in order."""
    for keyword in known:
        if 100 * _matching(word.lower(), keyword.lower()) >= 80 * max(len(word), len(keyword)):
            return keyword
    return None


def _matching(first: str, second: str) -> int:
    """Number of characters that match while both words are read in step, the longer rest being skipped first."""
    i = j = count = skipped = 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            i, j, count = i + 1, j + 1, count + 1
            continue
        rest, other = len(first) - i, len(second) - j
        if rest == other:
            i, skipped = i + skipped, 1 - skipped
            j += skipped
        elif rest > other:
            i, skipped = i + 1, 0
        else:
            j, skipped = j + 1, 1
    return count
