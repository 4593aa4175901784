"""The page about Grid Engine, PBS and LSF promises older systems' command lines: each table gives the one beside it."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from commandlines import after, bundle_of
from fiducial.batch.kinds import read_site
from fiducial.batch.pbs.site import PbsSite
from fiducial.core.resources import parse_duration

PAGE = (Path(__file__).parents[3] / "docs/how-to/gridengine-pbs-lsf.md").read_text("utf-8")
TABLE = re.compile(r"(\[sites\.([\w-]+)\] +# ((?:qsub|bsub) .*)\n(?:[a-z_]+ = .+\n)*)")


def tables() -> list[Any]:
    return [pytest.param(text, name, line, id=name) for text, name, line in TABLE.findall(PAGE)]


def test_the_page_has_all_four() -> None:
    assert [each.id for each in tables()] == ["dampe-lsf", "dampe-sge", "dampe-pbs", "l1calo"]


@pytest.mark.parametrize(("text", "name", "line"), tables())
def test_a_table_gives_the_line_beside_it(text: str, name: str, line: str) -> None:
    site = read_site(name, tomllib.loads(text)["sites"][name], "page")
    words = import_module(f"fiducial.batch.{site.backend}.render").submission(bundle_of(site), site)
    wanted = shlex.split(line)
    assert words[0] == wanted[0]
    for option, value in zip(wanted[1:], [*wanted[2:], ""], strict=True):
        if option.startswith("-"):
            alone = value.startswith("-") or value == "…" or not value
            assert option in words if alone else value in after(words, option), (option, value)
    # Nothing is asked for beyond it, but what the jobs of an array need.
    assert sorted(after(words, "-l")) == sorted(after(wanted, "-l"))
    assert after(words, "-R") == after(wanted, "-R")
    assert "-M" not in words


@pytest.mark.parametrize("backend", ["gridengine", "pbs", "lsf", "slurm", "htcondor"])
def test_a_time_in_two_parts_is_hours_and_minutes_everywhere(backend: str) -> None:
    site = read_site("site", {"backend": backend, "cputime": "24:00", "walltime": "24:00"}, "test")
    assert (site.cputime, site.walltime) == (86400, 86400)
    assert parse_duration("24:00") == 86400


def test_every_key_that_the_page_names_is_one() -> None:
    section = PAGE.partition("## From an older system")[2].partition("```toml")[0]
    named = {key for code in re.findall(r"`([^`]+)`", section) for key in re.findall(r"^([a-z_]+) = ", code)}
    assert {"backend", "requirements", "extra", "cputime", "memory"} <= named <= set(PbsSite.model_fields)
