"""Lines, words and numbers of steering and text files, as `pede` reads them.

See the Millepede-II manual, "Steering file": blanks separate, ``*`` in the first column and ``!`` (before numbers also
``%``) start comments, a line ``end`` ends the file, numbers may be written as in Fortran.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fiducial.core.errors import NotFoundError, SteeringError

__all__ = [
    "BadSteeringError",
    "Line",
    "SteeringNotFoundError",
    "check_words",
    "label_of",
    "read_lines",
    "split_numbers",
]

LONGEST_LINE = 1024
LARGEST_LABEL = 2**31 - 1
UNKNOWN_KEYWORD, NO_STEERING_FILE, OPEN_STEERING, OPEN_TEXT = 13, 10, 11, 16

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?"
_FIRST_NUMBER = re.compile(r"[+-]?[ \t]*(?:\d|\.\d)")
_NUMBERS = re.compile(rf"(?:{_NUMBER})+")
_ONE_NUMBER = re.compile(_NUMBER)
_LONE_SIGN = re.compile(r"(?<![\w.])([+-])[ \t]+(?=[\d.])")
# Most lines, and all of a long constraint, are numbers with blanks between them.
_PLAIN = re.compile(r"(?:[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d\d?)?(?: +|$))+")
_SEPARATORS = re.compile(r"[\s,;]+")


class BadSteeringError(SteeringError):
    """A mistake in a steering or text file, with the number that pede writes to millepede.end for it.

    Args:
        message: file, line and mistake.
        verdict: the number for millepede.end.
        hint: the way out.
    """

    def __init__(self, message: str, *, verdict: int = UNKNOWN_KEYWORD, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict


class SteeringNotFoundError(NotFoundError):
    """The steering file is not there.

    Args:
        message: which.
        verdict: the number for millepede.end.
        hint: the way out.
    """

    def __init__(self, message: str, *, verdict: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Line:
    """A line with something in it, without its comment."""

    path: Path
    number: int
    text: str

    @property
    def where(self) -> str:
        """File and line in the form that editors jump to."""
        return f"{self.path}:{self.number}"

    @property
    def first_word(self) -> str:
        """The word that a line without a number at its start starts with, or nothing; numbers end it, too."""
        text = self.text.split("%")[0]
        first = _FIRST_NUMBER.search(text)
        if first is not None and first.start() == 0:
            return ""
        return next(iter((text if first is None else text[: first.start()]).split()), "")

    def error(self, what: str, hint: str = "", verdict: int = UNKNOWN_KEYWORD) -> BadSteeringError:
        """A mistake in this line."""
        return BadSteeringError(f"{self.where}: {what}", verdict=verdict, hint=hint)


def read_lines(path: Path, *, steering: bool = False) -> Iterator[Line]:
    """Lines with something in them, without comments, up to `end`.

    Args:
        path: the file.
        steering: whether it is the steering file itself, not a text file that one names.

    Raises:
        SteeringNotFoundError: there is no such file.
        BadSteeringError: it cannot be read, or a line is longer than pede reads.
    """
    for number, raw in enumerate(_content(path, steering=steering).splitlines(), 1):
        text = "" if raw.startswith("*") else raw.split("!")[0].strip(" \r")
        if text.lower() == "end":
            return
        if text:
            line = Line(path, number, text)
            if len(raw.split("!")[0].rstrip()) > LONGEST_LINE:
                raise line.error(
                    f"the line is longer than {LONGEST_LINE} characters, of which pede reads no more",
                    "go on in the next line: blocks of label and factor may have as many lines as they need",
                )
            yield line


def _content(path: Path, *, steering: bool) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")  # editors may begin it with a byte order mark
    except FileNotFoundError:
        raise SteeringNotFoundError(
            f"{path}: there is no such file", verdict=OPEN_TEXT, hint="give the path of a steering file"
        ) from None
    except IsADirectoryError:
        what = "is a folder, not a file"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    raise BadSteeringError(f"{path}: {what}", verdict=OPEN_STEERING if steering else OPEN_TEXT)


def split_numbers(line: Line, warnings: list[str]) -> tuple[str, list[float]]:
    """The text before the first number of a line, and its numbers.

    Words behind the first number are no part of the language and left out with a warning, as pede does without one.

    Raises:
        BadSteeringError: a word is a number by half, or one that pede cannot read, as NaN.
    """
    if _PLAIN.fullmatch(line.text):
        return "", [float(word) for word in line.text.split(" ") if word]
    text = line.text.split("%")[0]
    first = _FIRST_NUMBER.search(text)
    if first is None:
        return text.strip(), []
    words = [word for word in _SEPARATORS.split(_LONE_SIGN.sub(r"\1", text[first.start() :])) if word]
    numbers = [number for word in words for number in _read_word(line, word, warnings)]
    return text[: first.start()].strip(), numbers


def _read_word(line: Line, word: str, warnings: list[str]) -> list[float]:
    if _NUMBERS.fullmatch(word):
        return [_float(line, number) for number in _ONE_NUMBER.findall(word)]
    check_words(line, [word], warnings)
    return []


def check_words(line: Line, words: list[str], warnings: list[str]) -> None:
    """Warn of words where numbers are expected, which pede leaves out.

    Raises:
        BadSteeringError: such a word is a number by half, or one that pede cannot read, as NaN.
    """
    for word in words:
        if word.lower().strip("+-") in {"nan", "inf", "infinity"}:
            raise line.error(f"'{word}' is not a number to fit with")
        if any(character.isdigit() for character in word):
            hint = f"there is no file '{word}' either" if word == line.text else "put a `!` before what is a comment"
            raise line.error(f"cannot read the number '{word}'", hint)
        warnings.append(f"{line.where}: the word '{word}' is left out; a comment starts with `!`")


def _float(line: Line, text: str) -> float:
    number = float(re.sub("[dD]", "e", text))
    if abs(number) == float("inf"):
        raise line.error(f"the number {text} is too large")
    return number


def label_of(line: Line, number: float) -> int:
    """A label, which is a positive integer of 31 bits.

    Raises:
        BadSteeringError: it is not.
    """
    if number < 1 or number != int(number):
        raise line.error(f"the label of a parameter must be a positive integer, not {number:g}")
    if number > LARGEST_LABEL:
        raise line.error(f"the label {number:.0f} is larger than {LARGEST_LABEL}, the largest in Mille files")
    return int(number)
