"""Bundles and sites for tests of the command lines of batch systems."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from fiducial.batch.kinds import read_site
from fiducial.batch.queue.requests import kinds_of
from fiducial.batch.queue.system import Bundle
from fiducial.batch.site import Site

TOKEN = "fd0123456789abcd"
NAME = f"camp.reco.01.{TOKEN}"
DATA = Path(__file__).parent / "data"
FOLDER = Path("/shared/Müller's data, 50 %: a/fd0123456789abcd")


def site_of(backend: str, **keys: Any) -> Site:
    return read_site("site", {"backend": backend, **keys}, "test")


def bundle_of(site: Site, count: int = 3, *, cpus: int = 1, **limits: float) -> Bundle:
    """Jobs that ask for something, as an engine would hand them over."""
    spec = {"name": "camp/reco/01/00001", "limits": limits, "resources": {"cpus": cpus}}
    [(request, _)] = kinds_of([spec], site)
    places = range(1, count + 1)
    directories = tuple(FOLDER / str(place) for place in places)
    return Bundle(TOKEN, "camp.reco.01", FOLDER, tuple((n, 1) for n in places), directories, request, "l")


def after(words: list[str], option: str) -> list[str]:
    """What stands behind each of an option's occurrences."""
    return [value for name, value in itertools.pairwise(words) if name == option]
