"""The page about sites names every key of every batch system's sites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fiducial.batch.kinds import find_kind, kind_names
from fiducial.batch.site import Site

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sites.md"


@pytest.mark.parametrize("name", kind_names())
def test_every_key_of_a_site_is_in_the_tables(name: str) -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert set(find_kind(name).site.model_fields) - {"name"} <= told


def test_the_page_tells_of_no_other_keys() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    known = {key for name in kind_names() for key in find_kind(name).site.model_fields}
    assert told <= known


def test_defaults_of_polling_allow_four_questions_a_minute() -> None:
    fields = Site.model_fields
    assert fields["fastest_poll"].default >= 15
