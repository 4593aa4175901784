"""Check files of constants: their grammar to the letter, and sizes that no alignment has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fiducial.alignment.constants.grammar import Entry, Fault, scan
from fiducial.alignment.constants.values import checksum, read_text
from fiducial.alignment.tracker.geometry import FASER, Detector
from fiducial.alignment.tracker.numbering import AXES

__all__ = ["Checked", "check_file", "excerpt"]

#: Larger constants are read, but a mistake in a unit is more likely: 5 is more often meant in um than in mm.
_LARGE_SHIFT = 5.0
_LARGE_TURN = 0.05
_WIDTH = 72
_LINE_END = "\N{RETURN SYMBOL}"


@dataclass(frozen=True)
class Checked:
    """What was found in one file.

    Args:
        path: of the file.
        adler32: of its bytes.
        text: of it.
        keys: sound ones, in the order of the file.
        faults: in the order of their places.
    """

    path: Path
    adler32: str
    text: str
    keys: list[str]
    faults: list[Fault]

    @property
    def sound(self) -> bool:
        """Whether the grammar is kept; large numbers are only a warning."""
        return all(fault.level == "warning" for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        """The result for programs."""
        faults = [
            {"level": fault.level, "character": fault.position, "what": fault.what, "hint": fault.hint}
            for fault in self.faults
        ]
        about = {"file": str(self.path), "adler32": self.adler32, "sound": self.sound, "keys": len(self.keys)}
        return about | {"faults": faults}


def check_file(path: Path, detector: Detector = FASER) -> Checked:
    """Check one file.

    Args:
        path: of the file.
        detector: has the stations, layers and modules that keys may name.

    Raises:
        NotFoundError: there is no such file.
        DataError: it cannot be read, or is no text at all.
    """
    text = read_text(path)
    found = scan(text, detector)
    faults = found.faults + [fault for entry in found.entries for fault in _large(entry)]
    faults.sort(key=lambda fault: fault.position)
    return Checked(path, checksum(path), text, [entry.key for entry in found.entries], faults)


def _large(entry: Entry) -> list[Fault]:
    found = []
    for axis, value in zip(AXES, entry.six, strict=True):
        limit, unit, small = (_LARGE_TURN, "rad", "mrad") if axis.startswith("r") else (_LARGE_SHIFT, "mm", "µm")
        if abs(value) > limit:
            what = f'{axis} of key "{entry.key}" is {value:g} {unit}'
            found.append(Fault(entry.position, what, f"constants are in {unit}: is this number in {small}?", "warning"))
    return found


def excerpt(text: str, position: int) -> tuple[str, str]:
    """A piece of a text around a character (from 1), and a line with a mark below that."""
    start = max(0, min(position - 1 - _WIDTH // 2, len(text) - _WIDTH))
    shown = text[start : start + _WIDTH].replace("\n", _LINE_END).replace("\t", " ")
    before, after = ("…" if start else ""), ("…" if start + _WIDTH < len(text) else "")
    return f"{before}{shown}{after}", f"{' ' * (len(before) + position - 1 - start)}^"
