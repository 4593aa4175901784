"""The page about the steering language names each keyword, method and verdict."""

from __future__ import annotations

import re
from pathlib import Path

from fiducial.alignment.keywords import EXACT, KEYWORDS, METHODS
from fiducial.alignment.result import MESSAGES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "steering.md").read_text()


def words() -> set[str]:
    return {word.split()[0].lower() for word in re.findall(r"`([^`\n]+)`", PAGE)}


def test_every_keyword_is_explained() -> None:
    assert {*KEYWORDS, *EXACT} - words() == set()


def test_every_exact_method_is_named() -> None:
    exact = {method.lower() for method in METHODS if "MINRES" not in method}
    assert exact - words() == set()


def test_every_verdict_is_in_the_table() -> None:
    table = PAGE.partition("## Verdicts")[2]
    named = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    # Running is no verdict; without a steering file there is no fit; no reader here gives up with pede's 18.
    assert set(MESSAGES) - {-1, 10, 18} == named
