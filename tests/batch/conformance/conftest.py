"""Every behaviour runs on every batch system."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import rigs
from rigs.player import Player
from rigs.rig import Rig

NAMES = sorted({module.name for module in pkgutil.iter_modules(rigs.__path__)} - {"player", "rig"})
RIGS = [rig for name in NAMES for rig in importlib.import_module(f"rigs.{name}").RIGS]


#: Names a variable of the environment with which variants are held to all behaviours too.
ALL = "FIDUCIAL_ALL_VARIANTS"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Variants of a system are held to what is theirs; all else is the same code, tried once for each system."""
    if "rig" in metafunc.fixturenames:
        every = os.environ.get(ALL) or metafunc.definition.get_closest_marker("every_variant")
        chosen = [rig for rig in RIGS if every or not rig.variant]
        metafunc.parametrize("rig", chosen, ids=[rig.__name__ for rig in chosen], indirect=True)


@pytest.fixture
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A batch system; its commands find their pool by the environment."""
    pool = request.getfixturevalue(request.param.fixture)
    for name, value in pool.environment.items():
        monkeypatch.setenv(name, value)
    made = request.param(pool)
    yield made
    pool.mend()
    pool.clear()


@pytest.fixture
def player(rig: Rig, tmp_path: Path) -> Iterator[Player]:
    """A ledger and an engine for campaigns on the batch system; names of folders are as awkward as people's."""
    folder = tmp_path / "Müller's data (50 %)"
    folder.mkdir()
    player = Player(folder, rig)
    yield player
    player.close()
