"""Words for command lines."""

from __future__ import annotations

import pytest

from fiducial.batch.queue.system import Ref
from fiducial.batch.queue.words import by_submission, clock, job_name, places_in, portions, ranges, timestamp, units

TOKEN = "fd0123456789abcd"


@pytest.mark.parametrize(
    ("title", "longest", "name"),
    [
        ("Y2023_R011705_F450-500.reco.01", 200, f"Y2023_R011705_F450-500.reco.01.{TOKEN}"),
        ("Müller's data (50 %).reco", 200, f"Muller_s_data_50_.reco.{TOKEN}"),
        ("2023.reco", 200, f"j2023.reco.{TOKEN}"),
        ("校正", 200, f"j.{TOKEN}"),
        ("campaign.reco", 20, f"cam.{TOKEN}"),
        ("campaign.reco", 15, TOKEN[:15]),
    ],
)
def test_names_are_plain_and_end_with_the_token(title: str, longest: int, name: str) -> None:
    assert job_name(title, TOKEN, longest) == name
    assert len(name) <= longest


def test_times_have_hours_minutes_and_seconds_whatever_their_length() -> None:
    assert [clock(seconds) for seconds in (1, 59.1, 3600, 86400, 360_000)] == [
        "00:00:01",
        "00:01:00",
        "01:00:00",
        "24:00:00",
        "100:00:00",
    ]


def test_sizes_are_rounded_up() -> None:
    assert units(2**20 + 1, 2**20) == 2


def test_places_are_written_as_ranges_and_read_back() -> None:
    assert ranges([7, 1, 2, 3, 3]) == ["1-3", "7"]
    assert list(places_in("1-3:1,7,10-14:2")) == [1, 2, 3, 7, 10, 12, 14]


def test_jobs_are_gathered_by_their_submission() -> None:
    assert by_submission([Ref("7", 2), Ref("8", 1), Ref("7", 1)]) == {"7": [2, 1], "8": [1]}


def test_a_long_command_line_is_cut() -> None:
    assert [len(some) for some in portions([str(n) for n in range(2500)])] == [1000, 1000, 500]


def test_a_time_that_no_format_fits_is_none() -> None:
    assert timestamp("1970-01-02T00:00:00", "%d", "%Y-%m-%dT%H:%M:%S") == 86400.0
    assert timestamp("-/-", "%Y") is None
