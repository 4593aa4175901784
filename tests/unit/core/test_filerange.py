"""Ranges of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiducial.core.errors import UsageError
from fiducial.core.filerange import parse_range


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.sampled_from("-:"), st.sampled_from(["", " "]))
def test_half_open_ranges(first: int, size: int, sign: str, space: str) -> None:
    assert parse_range(f"{space}{first}{space}{sign}{space}{first + size}{space}") == range(first, first + size)


@pytest.mark.parametrize("number", [400, "400", "0400"])
def test_one_number(number: str | int) -> None:
    assert list(parse_range(number)) == [400]


@pytest.mark.parametrize("text", ["", "a", "1-", "-5", "1-2-3", "1,2", "1.5", "450..500"])
def test_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="is not a range of numbers") as caught:
        parse_range(text)
    assert "450-500" in caught.value.hint


@pytest.mark.parametrize("text", ["5-5", "6:5"])
def test_an_empty_range(text: str) -> None:
    with pytest.raises(UsageError, match="is empty"):
        parse_range(text)
