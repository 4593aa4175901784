"""What ``import fiducial`` offers is what docs/reference/api.md describes.

The page gives each name a heading of its own: ``## `fiducial.NAME` ``.
"""

from __future__ import annotations

import re
from pathlib import Path

import fiducial

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "api.md"
HEADING = re.compile(r"^##+ `fiducial\.(\w+)", re.MULTILINE)


def documented(page: str) -> set[str]:
    return set(HEADING.findall(page))


def public() -> set[str]:
    return set(getattr(fiducial, "__all__", ()))


def test_every_public_name_is_documented_and_the_other_way_round() -> None:
    assert public() == documented(PAGE.read_text(encoding="utf-8"))


def test_every_public_name_is_there() -> None:
    assert [name for name in sorted(public()) if not hasattr(fiducial, name)] == []


def test_headings_are_read() -> None:
    page = "# API\n\n## `fiducial.Ledger`\n\nText `fiducial.other`.\n\n### `fiducial.run(…)`\n"
    assert documented(page) == {"Ledger", "run"}
