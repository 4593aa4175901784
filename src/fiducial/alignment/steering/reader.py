"""The Millepede steering language, as `pede` reads it.

A steering file names binary and text files and sets options; text files hold parameters, constraints and measurements.
See the Millepede-II manual, "Steering file" and "Text files". Where pede passes over a line that it cannot use, and so
loses a constraint or a presigma without a word, reading ends here with an error.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from fiducial.alignment.mille.reader import MilleFile
from fiducial.alignment.steering.keywords import EXACT, KEYWORDS, METHODS, find_keyword, match_keyword, suggestion
from fiducial.alignment.steering.text import BadSteeringError, Line, check_words, label_of, read_lines, split_numbers

__all__ = ["Combination", "Method", "Option", "Parameter", "Places", "Steering", "read_steering"]

_NO_BINARY, _OPEN_BINARY, _UNKNOWN_METHOD = 14, 15, 36
_NUMBERS_OF_A_LINE = 100


@dataclass(frozen=True, slots=True)
class Parameter:
    """Start value of a global parameter, and its presigma: < 0 fixed, 0 none or default, > 0 a soft bound."""

    value: float = 0.0
    presigma: float = 0.0


@dataclass(frozen=True, slots=True)
class Combination:
    """A linear combination of global parameters with its value: a constraint, or with a sigma a measurement.

    Args:
        where: file and line.
        value: of the combination.
        sigma: of a measurement; 0 for a constraint.
        terms: pairs of label and factor; factors of the same label add up.
        weighted: factors are multiplied with the entries of their parameters in the data.
    """

    where: str
    value: float
    sigma: float
    terms: tuple[tuple[int, float], ...] = ()
    weighted: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """Method of the global solution, iterations at most, and the expected decrease of F that ends them."""

    where: str
    name: str = "sparseMINRES"
    iterations: int = 1
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Option:
    """Any other keyword, with the numbers after it."""

    where: str
    keyword: str
    numbers: tuple[float, ...] = ()


@dataclass
class Steering:
    """What a steering file and its text files say.

    Args:
        path: the steering file.
        files: binary files in the order in which pede reads them, Fortran files first.
        parameters: by label, as far as given.
        constraints: combinations that shall have their value exactly.
        measurements: combinations that were measured.
        comments: on parameters, by label.
        method: the last `method` given.
        given: all other keywords in order, as a later one may change what an earlier one says.
        warnings: what was read but has no effect, or not the one that one may think, with file and line.
    """

    path: Path
    files: list[MilleFile] = field(default_factory=list)
    parameters: dict[int, Parameter] = field(default_factory=dict)
    constraints: list[Combination] = field(default_factory=list)
    measurements: list[Combination] = field(default_factory=list)
    comments: dict[int, str] = field(default_factory=dict)
    method: Method = Method("")
    given: list[Option] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, tuple[float, ...]]:
        """Numbers after each keyword, the last time that it is given."""
        return {option.keyword: option.numbers for option in self.given}


def read_steering(path: Path) -> Steering:
    """Read a steering file and the text files that it names.

    Files are looked for beside the steering file, then in the current folder.

    Raises:
        SteeringNotFoundError: there is no such steering file.
        BadSteeringError: a line cannot be understood; file and line are named.
    """
    steering = Steering(path)
    texts: list[Path] = []
    body = list(_take_files(steering, read_lines(path, steering=True), texts))
    parser = _Parser(steering)
    for line in body:
        parser.read(line)
    for text in texts:
        for line in read_lines(text):
            parser.read(line)
    parser.finish()
    if not steering.files:
        raise BadSteeringError(
            f"{path}: names no binary file", verdict=_NO_BINARY, hint="add a line with the name of a Mille file"
        )
    steering.files.sort(key=lambda file: not file.fortran)
    return steering


def _take_files(steering: Steering, lines: Iterator[Line], texts: list[Path]) -> Iterator[Line]:
    """Sort out the lines that name files; give back the others."""
    fortran = False
    places = Places(steering.path.parent)
    seen: set[Path] = set()
    for line in lines:
        kind = line.text.lower()
        if kind in EXACT:
            fortran = fortran if kind == "closeandreopen" else kind == "fortranfiles"
            continue
        name, marked, weight = line.text.partition(" -- ")
        found = places.find(name.strip())
        if found is None:
            yield line
        elif any(mark in found.name[-4:].lower() for mark in ("xt", "tx")):
            texts.append(found)
        else:
            _check_readable(line, found)
            if (same := found.resolve()) in seen:
                steering.warnings.append(f"{line.where}: {found.name} is given twice, so all its records count twice")
            seen.add(same)
            steering.files.append(MilleFile(found, fortran, _weight(steering, line, weight) if marked else 1.0))


class Places:
    """Where files are looked for: beside the steering file, then in the current folder.

    Folders are listed once, for every line may name a file, and there may be hundreds of thousands.

    Args:
        folder: that of the steering file.
    """

    def __init__(self, folder: Path) -> None:
        self._folders = [(place, _names(place)) for place in (folder, Path())]

    def find(self, name: str) -> Path | None:
        """The file of this name, or None."""
        for folder, names in self._folders:
            if ("/" in name or name in names) and (path := folder / name).is_file():
                return path
        return None


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:  # a folder that may be entered but not listed
        return set()


def _check_readable(line: Line, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise line.error(f"{path} cannot be read: {error.strerror}", verdict=_OPEN_BINARY) from None


def _weight(steering: Steering, line: Line, text: str) -> float:
    _, numbers = split_numbers(Line(line.path, line.number, text), steering.warnings)
    if not numbers or numbers[0] <= 0:
        raise line.error(f"the weight of a file must be a positive number, not '{text.strip()}'")
    return numbers[0]


class _Parser:
    """Reads lines; a block holds until the next one starts, over other keywords and the end of files too."""

    def __init__(self, steering: Steering) -> None:
        self.steering = steering
        self.warnings = steering.warnings
        self.block = ""
        self.weighted = False
        self._terms: dict[str, list[tuple[int, float]]] = {"constraint": [], "measurement": []}

    def read(self, line: Line) -> None:
        if line.text.lower() in EXACT:
            return
        if self.block == "comment" and self._take_comment(line):
            return
        if line.text.startswith("\t"):
            self.warnings.append(f"{line.where}: starts with a tab, with which pede itself does not take the line")
        word = line.first_word
        keyword = find_keyword(word) if word else None
        if word and keyword is None:
            raise _unknown(line)
        text, numbers = split_numbers(line, self.warnings)
        if len(numbers) > _NUMBERS_OF_A_LINE:
            self.warnings.append(f"{line.where}: newer versions of pede read {_NUMBERS_OF_A_LINE} numbers of a line")
        if keyword is not None:
            self._start(keyword.name, line, text.split()[1:], numbers)
        elif numbers:
            self._continue(line, numbers)

    def finish(self) -> None:
        """Complete the last blocks, and warn of what can be seen only at the end."""
        for kind in self._terms:
            self._complete(kind)
        for kind, combinations in (
            ("constraint", self.steering.constraints),
            ("measurement", self.steering.measurements),
        ):
            for combination in combinations:
                self._warn_of_repeated(kind, combination)
        for measurement in self.steering.measurements:
            if measurement.sigma <= 0:
                self.warnings.append(f"{measurement.where}: a measurement without a positive sigma has no effect")

    def _warn_of_repeated(self, kind: str, combination: Combination) -> None:
        times = Counter(label for label, _ in combination.terms)
        if repeated := sorted(label for label, count in times.items() if count > 1):
            shown = ", ".join(map(str, repeated[:5]))
            self.warnings.append(f"{combination.where}: the {kind} names labels twice, whose factors add up: {shown}")

    def _take_comment(self, line: Line) -> bool:
        """Take a line ``label text`` after the keyword `comment`."""
        label, _, text = line.text.partition(" ")
        if not (label.isascii() and label.isdigit()):
            return False
        self.steering.comments[label_of(line, float(label))] = text.strip()
        return True

    def _start(self, keyword: str, line: Line, rest: list[str], numbers: list[float]) -> None:
        match keyword:
            case "parameter":
                self.block = keyword
                if numbers:
                    self._continue(line, _exactly(line, numbers, 3))
            case "constraint":
                self.block = keyword
                value = _exactly(line, numbers, 1, 2)[0]
                self._complete(keyword)
                self.steering.constraints.append(Combination(line.where, value, 0.0, weighted=self.weighted))
            case "measurement":
                self.block = keyword
                value, sigma = _exactly(line, numbers, 2)
                self._complete(keyword)
                self.steering.measurements.append(Combination(line.where, value, sigma))
            case "method":
                self.block = ""
                self.steering.method = _method(line, " ".join(rest), numbers)
            case "comment" | "pardiso":
                self.block = keyword
            case _:
                if keyword != "postprocessing":
                    check_words(line, rest, self.warnings)
                self._option(line, keyword, tuple(numbers))

    def _option(self, line: Line, name: str, numbers: tuple[float, ...]) -> None:
        keyword = KEYWORDS[name]
        if len(numbers) < keyword.least:
            raise line.error(f"'{name}' needs {keyword.least} number{'s' * (keyword.least > 1)}, found {len(numbers)}")
        for number in numbers[: keyword.bounded]:
            if number < keyword.lowest:
                raise line.error(f"'{name}' cannot be {number:g}")
        if numbers and not keyword.ignored_below <= numbers[0] <= keyword.ignored_above:
            self.warnings.append(f"{line.where}: '{name} {numbers[0]:g}' is left out, as pede does")
        if name == "postprocessing":
            self.warnings.append(f"{line.where}: the command after 'postprocessing' is not run; run it after the fit")
        if name == "weightedcons":
            self.weighted = not numbers or round(numbers[0]) > 0
        self.steering.given.append(Option(line.where, name.replace("regularization", "regularisation"), numbers))

    def _continue(self, line: Line, numbers: list[float]) -> None:
        match self.block:
            case "parameter":
                self._set_parameter(line, _at_least(line, numbers, 3))
            case "constraint" | "measurement":
                self._terms[self.block] += _terms(line, numbers)
            case "pardiso":
                pass  # settings of a library that is not used here
            case _:
                raise line.error(
                    "numbers that belong to no parameter, constraint or measurement",
                    "a line `Parameter`, `Constraint` or `Measurement` starts such a block",
                )

    def _complete(self, kind: str) -> None:
        """Give the last combination of a kind the terms that were read for it."""
        combinations = self.steering.constraints if kind == "constraint" else self.steering.measurements
        if combinations and self._terms[kind]:
            combinations[-1] = replace(combinations[-1], terms=tuple(self._terms[kind]))
            self._terms[kind] = []

    def _set_parameter(self, line: Line, numbers: list[float]) -> None:
        """Set what is not zero: pede leaves zeros out, so that they do not overwrite what was said before."""
        label, (value, presigma) = label_of(line, numbers[0]), numbers[1:3]
        before = self.steering.parameters.get(label)
        if before is None:
            if value or presigma:
                self.steering.parameters[label] = Parameter(value, presigma)
            return
        after = Parameter(value or before.value, presigma or before.presigma)
        if after != before or after != Parameter(value, presigma):
            self.warnings.append(
                f"{line.where}: label {label} was given before; now value {after.value:g}, presigma {after.presigma:g}"
                + (" (a 0 changes nothing)" if after != Parameter(value, presigma) else "")
            )
        self.steering.parameters[label] = after


def _at_least(line: Line, numbers: list[float], count: int) -> list[float]:
    if len(numbers) < count:
        raise line.error(f"expected {count} numbers, found {len(numbers)}")
    return numbers


def _exactly(line: Line, numbers: list[float], least: int, most: int = 0) -> list[float]:
    if len(_at_least(line, numbers, least)) > max(least, most):
        raise line.error(
            f"expected {least}{f' or {most}' if most else ''} numbers, found {len(numbers)}",
            "labels and factors start in the next line",
        )
    return numbers


def _terms(line: Line, numbers: list[float]) -> list[tuple[int, float]]:
    if len(numbers) % 2:
        raise line.error("expected pairs of label and factor")
    pairs = [(label_of(line, label), factor) for label, factor in zip(numbers[::2], numbers[1::2], strict=True)]
    return [pair for pair in pairs if pair[1] != 0]


def _method(line: Line, text: str, numbers: list[float]) -> Method:
    iterations, limit = _at_least(line, numbers, 2)[:2]
    name = match_keyword(text, METHODS)
    if name is None:
        raise line.error(f"there is no method '{text}'", suggestion(text, METHODS), verdict=_UNKNOWN_METHOD)
    return Method(line.where, name, max(round(iterations), 1), limit)


def _unknown(line: Line) -> BadSteeringError:
    if not line.text.replace("\t", " ").isprintable():
        return line.error(f"{line.path.name} is not a text file", "give the steering file, which names the data files")
    word = line.first_word
    what = f"'{line.text[:60]}' is neither a keyword nor the name of a file that exists"
    hint = suggestion(word, list(KEYWORDS))
    name = line.text.partition(" -- ")[0].strip()
    if any((folder / name).exists() for folder in (line.path.parent, Path())):
        hint = "it is a folder, a pipe or a device; data are read more than once, from files"
    elif not hint and ("." in word or "/" in word):
        hint = f"files are looked for beside {line.path.name} and in the current folder"
    return line.error(what, hint)
