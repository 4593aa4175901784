"""Words for the command lines of batch systems: names, times, sizes and places, as most of them want these."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from fiducial.batch.queue.system import Ref

__all__ = ["by_submission", "clock", "job_name", "places_in", "portions", "ranges", "timestamp", "units"]

#: Words in one command line: some ten thousand bytes, where a hundred thousand are allowed.
_MOST_WORDS = 1000


def job_name(title: str, token: str, longest: int = 200) -> str:
    """A job's name of letters, digits, dots, dashes and underscores that ends with the submission's token.

    Args:
        title: for people, any characters.
        longest: characters that the batch system takes; where the title does not fit it is cut.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")
    if not plain[:1].isalpha():
        plain = f"j{plain}"  # PBS and Grid Engine want a letter first
    room = longest - len(token) - 1
    return f"{plain[:room]}.{token}" if room > 0 else token[:longest]


def clock(seconds: float) -> str:
    """Seconds as ``HH:MM:SS``, rounded up; hours may have more than two digits."""
    whole = math.ceil(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def units(size: int, unit: int) -> int:
    """Bytes in another unit, rounded up."""
    return -(-size // unit)


def ranges(places: Iterable[int]) -> list[str]:
    """Places as few words: ``[1, 2, 3, 7]`` are ``["1-3", "7"]``."""
    spans: list[list[int]] = []
    for place in sorted(set(places)):
        if spans and place == spans[-1][1] + 1:
            spans[-1][1] = place
        else:
            spans.append([place, place])
    return [str(first) if first == last else f"{first}-{last}" for first, last in spans]


def places_in(text: str) -> Iterator[int]:
    """The places in words such as ``1-3:1,7`` or ``4-10:2``."""
    for word in filter(None, text.split(",")):
        span, _, step = word.partition(":")
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def by_submission(refs: Iterable[Ref]) -> dict[str, list[int]]:
    """Places of jobs by the names of their submissions."""
    found: dict[str, list[int]] = defaultdict(list)
    for native, place in refs:
        found[native].append(place)
    return found


def portions(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """So many words at a time as fit in a command line."""
    for start in range(0, len(words), _MOST_WORDS):
        yield words[start : start + _MOST_WORDS]


def timestamp(text: str, *formats: str) -> float | None:
    """Seconds since the epoch of a time in UTC, in the first of the formats that fits; None if none does."""
    for each in formats:
        try:
            return datetime.strptime(text.strip(), each).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None
