"""The page about the steering language names each keyword, method and verdict."""

from __future__ import annotations

import re
from pathlib import Path

from fiducial.alignment.steering.keywords import EXACT, KEYWORDS, METHODS
from fiducial.alignment.verdict import MESSAGES

PAGES = Path(__file__).parents[3] / "docs" / "reference"
PAGE = (PAGES / "steering.md").read_text()


def words() -> set[str]:
    return {word.split()[0].lower() for word in re.findall(r"`([^`\n]+)`", PAGE)}


def test_every_keyword_is_explained() -> None:
    assert {*KEYWORDS, *EXACT} - words() == set()


def test_every_exact_method_is_named() -> None:
    exact = {method.lower() for method in METHODS if "MINRES" not in method}
    assert exact - words() == set()


def test_every_verdict_is_in_the_table() -> None:
    table = (PAGES / "exit-codes.md").read_text().partition("## Verdicts")[2]
    named = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert set(MESSAGES) - {-1} == named  # running is no verdict
