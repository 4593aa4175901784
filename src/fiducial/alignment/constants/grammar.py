"""The grammar of a file of constants, and every place where a text leaves it.

The file is one line of JSON without its braces, ``"KEY": [x, y, z, rx, ry, rz], ...``, which FASER's reconstruction
takes between braces of its own. A text is scanned to its end whatever is wrong with it, so that a check names all
mistakes at once; what reads constants stops at the first one that leaves a doubt about what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.alignment.tracker.numbering import AXES

__all__ = ["GRAMMAR", "Entry", "Fault", "Scan", "Six", "scan"]

Six = tuple[float, float, float, float, float, float]

GRAMMAR = 'the file is one line of  "KEY": [x, y, z, rx, ry, rz],  with keys like "2" (station), "21" (layer), "217" '

_ENTRY = re.compile(r'"(?P<key>[^"\[\]{}]*)"\s*:\s*\[(?P<numbers>[^\[\]{}"]*)\]')
_BEGIN = re.compile(r'"[^"\[\]{}]*"\s*:\s*\[')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BLANK = re.compile(r"\s*")
_QUOTES = "'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f"
_SHOWN = 30
_LISTED = 12

#: How bad a fault is: "error", constants cannot be read; "layout", they can, but not by everybody; "warning", odd.
Level = Literal["error", "layout", "warning"]


@dataclass(frozen=True)
class Fault:
    """Something wrong with a text.

    Args:
        position: of the character, from 1.
        what: is wrong.
        hint: the way out.
        level: "error", "layout" (the grammar is left, the meaning is clear) or "warning".
    """

    position: int
    what: str
    hint: str = GRAMMAR
    level: Level = "error"


@dataclass(frozen=True)
class Entry:
    """One key with its six numbers, mm and rad, and the character, from 1, where the key begins."""

    key: str
    six: Six
    position: int


@dataclass
class Scan:
    """What a text holds: sound entries, and faults in the order of their places."""

    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def scan(text: str, detector: Detector = FASER) -> Scan:
    """Find all entries and all faults of a text; sizes of the numbers are not looked at.

    Args:
        text: of the file.
        detector: has the stations, layers and modules that keys may name.
    """
    scanner = _Scanner(text, detector)
    scanner.run()
    scanner.found.faults.sort(key=lambda fault: fault.position)
    return scanner.found


class _Scanner:
    def __init__(self, text: str, detector: Detector) -> None:
        self.text, self.detector = text, detector
        self.found = Scan()
        self.seen: dict[str, int] = {}
        self.at = self.end = 0

    def run(self) -> None:
        self.end = len(self.text.rstrip())
        if self.text.startswith("\ufeff"):
            self._fault("a byte order mark before the first entry", "save the file as plain ASCII")
            self.at = 1
        self._blanks()
        while self.at < self.end:
            entry = _ENTRY.match(self.text, self.at)
            if entry is None:
                self._skip_what_is_no_entry()
            else:
                self._entry(entry)
                self._separator()
            self._blanks()

    def _fault(self, what: str, hint: str = GRAMMAR, *, at: int | None = None, level: Level = "error") -> None:
        self.found.faults.append(Fault((self.at if at is None else at) + 1, what, hint, level))

    def _blanks(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        assert blank
        self._line_ends(self.at, blank.end())
        self.at = blank.end()

    def _line_ends(self, start: int, end: int) -> None:
        where = self.text.find("\n", start, min(end, self.end))
        if where >= 0:
            hint = "join the lines: the reconstruction takes the file as one argument, on one line"
            self._fault("the line ends here, but the constants do not", hint, at=where, level="layout")

    def _entry(self, entry: re.Match[str]) -> None:
        self._line_ends(entry.start(), entry.end())
        key, place = entry["key"], entry.start("key")
        good = self._good_key(key, place)
        six = self._six(entry["numbers"], entry.start("numbers"), f'key "{key}"', place)
        if good and six:
            self.found.entries.append(Entry(key, six, place + 1))
        self.at = entry.end()

    def _good_key(self, key: str, place: int) -> bool:
        if not re.fullmatch(r"[0-9]{1,3}", key):
            self._fault(f'key "{key}" is no station, layer or module', at=place)
            return False
        if key not in self.detector.keys[len(key) - 1]:
            hint = f"{_there(self.detector, len(key))}; --geometry FILE says which detector it is"
            self._fault(f'key "{key}" is not in the detector', hint, at=place)
            return False
        if key in self.seen:
            first = self.seen[key] + 1
            what = f'key "{key}" stands twice'
            self._fault(what, f"remove one of the two; the first is at character {first}", at=place)
            return False
        self.seen[key] = place
        return True

    def _six(self, text: str, start: int, where: str, place: int) -> Six | None:
        words = list(_words(text, start))
        for word, at in words:
            if not self._good_number(word, at, where):
                return None
        if len(words) != len(AXES):
            what = f"{where} does not have six finite numbers but {len(words)}: [{text.strip()}]"
            self._fault(what, "six are needed: " + ", ".join(AXES), at=place)
            return None
        x, y, z, rx, ry, rz = (float(word) for word, _ in words)
        return x, y, z, rx, ry, rz

    def _good_number(self, word: str, at: int, where: str) -> bool:
        if not _NUMBER.fullmatch(word):
            odd = word.lower().lstrip("+-") in ("nan", "inf", "infinity")
            what = f"does not have six finite numbers: {word}" if odd else f"has no number but {word!r}"
            self._fault(f"{where} {what}", at=at)
            return False
        if not isfinite(float(word)):
            self._fault(f"{where} does not have six finite numbers: {word} is too large", at=at)
            return False
        if not _JSON_NUMBER.fullmatch(word):
            better = repr(float(word))
            self._fault(f"{where}: {word} is no number of JSON", f"write {better}", at=at, level="layout")
        return True

    def _separator(self) -> None:
        before = self.at
        self._blanks()
        if self.at >= self.end:
            return
        if self.text[self.at] == ",":
            self._comma()
        elif self.text[self.at] == '"':
            key = self.found.entries[-1].key if self.found.entries else ""
            self._fault(f'no comma after key "{key}"', at=before)

    def _comma(self) -> None:
        comma = self.at
        self.at += 1
        if self.at >= self.end:
            self._fault("a comma behind the last entry", "remove it: JSON has none there", at=comma, level="layout")

    def _skip_what_is_no_entry(self) -> None:
        character = self.text[self.at]
        if character in "{}":
            self._fault(f"a brace {character}", "remove it: whoever reads the file puts braces around it")
            self.at += 1
        elif character == ",":
            self._fault("a comma with no entry before it", "remove it")
            self.at += 1
        else:
            self._fault(*self._described(character))
            following = _BEGIN.search(self.text, self.at + 1)
            self.at = following.start() if following else self.end

    def _described(self, character: str) -> tuple[str, str]:
        shown = self.text[self.at : self.at + _SHOWN]
        if character in _QUOTES:
            return f"{character} is no quotation mark of JSON: {shown!r}", f'write " instead; {GRAMMAR}'
        if not character.isascii():
            return f"{character!r} is no ASCII character: {shown!r}", GRAMMAR
        if _BEGIN.match(self.text, self.at):
            return f"an entry that is not complete: {shown!r}", "was the file cut off? The list of six ends with ]"
        return f"no entry: {shown!r}", GRAMMAR


def _there(detector: Detector, digits: int) -> str:
    """Keys that a detector has, with so many digits."""
    keys = sorted(detector.keys[digits - 1])
    shown = ", ".join(keys) if len(keys) <= _LISTED else f"{', '.join(keys[:3])}, … {keys[-1]}"
    return f"{detector.name} has {('stations', 'layers', 'modules')[digits - 1]} {shown}"


def _words(text: str, start: int) -> Iterator[tuple[str, int]]:
    """The words between commas, without blanks, and where each begins."""
    if not text.strip():
        return
    for word in text.split(","):
        yield word.strip(), start + len(word) - len(word.lstrip())
        start += len(word) + 1
