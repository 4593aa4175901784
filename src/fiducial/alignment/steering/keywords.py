"""The keywords of the Millepede steering language, and how words are matched with them.

A word stands for the first keyword of which at least 80 % of the characters match, so the order is that of `pede`.
See the Millepede-II manual, "List of options and commands".
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

__all__ = ["EXACT", "KEYWORDS", "METHODS", "Keyword", "find_keyword", "match_keyword", "suggestion"]


@dataclass(frozen=True, slots=True)
class Keyword:
    """What may stand behind a keyword.

    Args:
        name: as users write it.
        least: numbers that it needs.
        lowest: smallest number that makes sense; a smaller one is an error.
        ignored_below: pede leaves out a first number below this without a word.
        ignored_above: the same above.
        bounded: how many of the numbers may not be smaller than `lowest`.
    """

    name: str
    least: int = 0
    lowest: float = float("-inf")
    ignored_below: float = float("-inf")
    ignored_above: float = float("inf")
    bounded: int = 1


_LIST = [
    Keyword("parameter"),
    Keyword("constraint"),
    Keyword("measurement"),
    Keyword("method"),
    Keyword("comment"),
    Keyword("pardiso"),
    Keyword("print"),
    Keyword("debug"),
    Keyword("entries", ignored_below=0.5),
    Keyword("printrecord"),
    Keyword("maxrecord", ignored_below=0.5),
    Keyword("cache"),
    Keyword("chisqcut"),
    Keyword("hugecut"),
    Keyword("linesearch"),
    Keyword("localfit"),
    Keyword("regularization", 1, 0),
    Keyword("regularisation", 1, 0),
    Keyword("presigma", 1, 0),
    Keyword("matiter", 1),
    Keyword("matmoni"),
    Keyword("bandwidth"),
    Keyword("outlierdownweighting", 1, 0),
    Keyword("outlierfracwarnthreshold", 1, 0),
    Keyword("dwfractioncut", 1, 0),
    Keyword("maxlocalcond", ignored_below=0),
    Keyword("pullrange", 1),
    Keyword("subito"),
    Keyword("force"),
    Keyword("memorydebug"),
    Keyword("globalcorr"),
    Keyword("printcounts"),
    Keyword("weightedcons"),
    Keyword("skipemptycons"),
    Keyword("resolveredundancycons"),
    Keyword("withelimination"),
    Keyword("postprocessing"),
    Keyword("withlapackelimination"),
    Keyword("withmultipliers"),
    Keyword("checkinput"),
    Keyword("checkparametergroups"),
    Keyword("monitorresiduals"),
    Keyword("monitorpulls"),
    Keyword("monitorprogress"),
    Keyword("scaleerrors", lowest=1e-30, bounded=2),
    Keyword("iterateentries"),
    Keyword("threads", ignored_below=0.5),
    Keyword("compress"),
    Keyword("countrecords"),
    Keyword("errlabels"),
    Keyword("pairentries"),
    Keyword("wolfe", 2),
    Keyword("mrestol", ignored_below=1e-10, ignored_above=1e-4),
    Keyword("mrestranscond"),
    Keyword("mresmode"),
    Keyword("nofeasiblestart"),
    Keyword("histprint"),
    Keyword("readerroraseof"),
    Keyword("lapackwitherrors"),
    Keyword("debugpardiso"),
    Keyword("blocksizepardiso"),
]
KEYWORDS = {keyword.name: keyword for keyword in _LIST}
# These are words of the language only as a whole line, and then only up to upper and lower case.
EXACT = ["fortranfiles", "cfiles", "closeandreopen"]
METHODS = [
    "diagonalization", "inversion", "fullMINRES", "sparseMINRES", "fullMINRES-QLP", "sparseMINRES-QLP",
    "decomposition", "fullLAPACK", "unpackedLAPACK", "sparsePARDISO",
]  # fmt: skip


def find_keyword(word: str) -> Keyword | None:
    """The keyword that a word stands for, or None."""
    name = match_keyword(word, list(KEYWORDS))
    return None if name is None else KEYWORDS[name]


def match_keyword(word: str, known: list[str]) -> str | None:
    """The first keyword that a word stands for: at least 80 % of the characters of the longer one match in order."""
    for keyword in known:
        if 100 * _matching(word.lower(), keyword.lower()) >= 80 * max(len(word), len(keyword)):
            return keyword
    return None


def suggestion(word: str, known: list[str]) -> str:
    """A hint at the nearest word, or nothing."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(lower), 1, 0.5)
    return f"did you mean '{lower[near[0]]}'?" if near else ""


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
