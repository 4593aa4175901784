"""Sizes, time spans and flavours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fiducial.core.resources import FLAVOURS, Resources, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4 GB", 4 * 2**30),
        ("4GiB", 4 * 2**30),
        ("4g", 4 * 2**30),
        ("1.5 MB", 3 * 2**19),
        ("512 k", 2**19),
        ("2T", 2**41),
        ("100", 100),
        ("100 B", 100),
        (4096, 4096),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size
    assert Resources.model_validate({"memory": text, "disk": text}) == Resources(memory=size, disk=size)


@given(st.integers(1, 10**6), st.sampled_from(["", "k", "M", "G", "T"]))
def test_a_size_in_any_unit(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * 1024 ** "_kMGT".index(unit or "_")


@pytest.mark.parametrize("text", ["", "GB", "4 potatoes", "-4 GB", "4,5 GB", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("2h", 7200),
        ("1d 12h", 129600),
        ("1d12h", 129600),
        ("10min", 600),
        ("10m", 600),
        ("0.5h", 1800),
        ("01:30:00", 5400),
        ("01:30", 5400),
        ("100:00:01", 360001),
        (90, 90),
        (0.5, 0.5),
    ],
)
def test_time_spans(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert Resources.model_validate({"walltime": text}).wall_seconds() == seconds


@pytest.mark.parametrize("text", ["", "2", "2 fortnights", "h", "1:2", "2h and more", "-2h"])
def test_what_is_no_time_span(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time span"):
        parse_duration(text)


@pytest.mark.parametrize("values", [{"memory": 0}, {"memory": -1}, {"walltime": -1}, {"cpus": 0}, {"core": 1}])
def test_what_cannot_be(values: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Resources.model_validate(values)


def test_a_flavour_stands_for_a_wall_time() -> None:
    assert Resources(flavour="longlunch").wall_seconds() == FLAVOURS["longlunch"] == 7200
    assert Resources(flavour="longlunch", walltime=60).wall_seconds() == 60
    assert Resources().wall_seconds() is None
