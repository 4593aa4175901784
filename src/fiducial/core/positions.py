"""On which line of a TOML file each key stands.

``tomllib`` throws positions away. This scanner only has to walk over text that ``tomllib`` has accepted, so it looks
for the ends of things and does not judge them.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left

__all__ = ["positions"]

_Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})' r"|'''.*?'''(?:'{0,2})" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


def positions(text: str) -> dict[str, int]:
    """Lines, counted from 1, by dotted place: ``steps.reco.command``, ``steps.reco.inputs.0.path``.

    Args:
        text: TOML that ``tomllib`` accepts.
    """
    scanner = _Scanner(text)
    scanner.document()
    return {".".join(path): line for path, line in scanner.lines.items()}


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[_Path, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[_Path, int] = {}  # of arrays of tables

    def document(self) -> None:
        table: _Path = ()
        self._blank()
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table)
            self._blank()

    def _blank(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _record(self, path: _Path, start: int) -> None:
        self.lines.setdefault(path, bisect_left(self._newlines, start) + 1)

    def _header(self) -> _Path:
        start = self.at
        many = self.text.startswith("[[", start)
        self.at += 2 if many else 1
        keys = self._key()
        self._blank()
        self.at += 2 if many else 1
        path: _Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            last = place == len(keys) - 1
            self._record(path, start)
            if many and last:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, str(self._lengths[path] - 1))
                self._record(path, start)
        return path

    def _pair(self, table: _Path) -> None:
        start = self.at
        path = table
        for key in self._key():
            path = (*path, key)
            self._record(path, start)
        self._skip("=")
        self._value(path)

    def _key(self) -> list[str]:
        keys = [self._simple_key()]
        while self._skip("."):
            keys.append(self._simple_key())
        return keys

    def _simple_key(self) -> str:
        self._blank()
        match = _BARE_KEY.match(self.text, self.at) or _STRING.match(self.text, self.at)
        if match is None:  # not TOML that tomllib accepts
            raise ValueError(f"no key at character {self.at}")
        self.at = match.end()
        return str(tomllib.loads(f"key = {match[0]}")["key"]) if match[0][0] in "\"'" else match[0]

    def _skip(self, sign: str) -> bool:
        self._blank()
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) * found
        self._blank() if found else None
        return found

    def _value(self, path: _Path) -> None:
        if self._skip("["):
            self._items(path)
        elif self._skip("{"):
            while not self._skip("}"):
                self._pair(path)
                self._skip(",")
        else:
            match = _STRING.match(self.text, self.at) or _BARE_VALUE.match(self.text, self.at)
            self.at = match.end() if match else len(self.text)

    def _items(self, path: _Path) -> None:
        index = 0
        while not self._skip("]"):
            item = (*path, str(index))
            self._record(item, self.at)
            self._value(item)
            self._skip(",")
            index += 1
