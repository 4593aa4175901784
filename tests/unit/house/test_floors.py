"""Imports go down only.

The floors are those of docs/development/house.md. Imports inside functions and under ``TYPE_CHECKING`` count as well:
they bind the code just as much. A part on the same floor may be imported, except where ``APART`` says otherwise.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "src" / "fiducial"

FLOORS = {
    "core": 0,
    "runner": 0,
    "ledger": 1,
    "storage": 1,
    "settings": 1,
    "telemetry": 1,
    "notify": 1,
    "batch": 2,
    "engine": 3,
    "discovery": 4,
    "server": 4,
    "alignment": 4,
    "columnar": 4,
    "cli": 5,
    # The public API and the entry of ``python -m`` see the whole house, and nothing inside imports them.
    "": 6,
    "api": 6,
    "__main__": 6,
}
# Applications: nothing but the command line knows that they exist.
APART = {"alignment", "columnar"}

#: Rooms of the alignment that are Millepede alone.
MILLEPEDE = ("mille", "steering", "fit")


def part_of(module: str) -> str:
    """Name the part of the house that a module belongs to; the package itself is the part ''."""
    return module.removeprefix("fiducial").lstrip(".").partition(".")[0]


def imports(source: str, module: str, *, is_package: bool) -> list[str]:
    """List every module that a module imports, with relative imports resolved."""
    found: list[str] = []
    base = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*up, *([node.module] if node.module else [])])
            # "from fiducial import ledger" imports the part, not the package.
            found += [f"fiducial.{alias.name}" for alias in node.names] if origin == "fiducial" else [origin]
    return found


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """List what a module must not import."""
    here = part_of(module)
    assert here in FLOORS, f"{module}: give the new part {here!r} a floor, here and in docs/development/house.md"
    found = []
    for name in imports(source, module, is_package=is_package):
        if here == "runner":
            allowed = name.partition(".")[0] in sys.stdlib_module_names or part_of(name) == "runner"
        else:
            allowed = not name.startswith("fiducial") or may_import(here, part_of(name))
        allowed &= not (is_millepede(module) and knows_detectors(name))
        found += [] if allowed else [f"{module} -> {name}"]
    return found


def is_millepede(module: str) -> bool:
    """Whether a module is of the rooms of the alignment that know nothing of detectors."""
    return module.startswith(tuple(f"fiducial.alignment.{room}." for room in MILLEPEDE))


def knows_detectors(module: str) -> bool:
    return module.startswith("fiducial.alignment.") and module.split(".")[2] not in {*MILLEPEDE, "jit", "verdict"}


def may_import(here: str, there: str) -> bool:
    if here == there:
        return True
    if FLOORS.get(there, FLOORS[""]) > FLOORS[here]:
        return False
    if here == "settings":
        return there == "core"
    return there not in APART or FLOORS[here] >= FLOORS["cli"]


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["fiducial", *path.relative_to(PACKAGE).with_suffix("").parts]
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_imports_go_down_only() -> None:
    found = []
    for module, path in modules():
        found += violations(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")
    assert not found, "imports that go up:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fiducial.core.plan", "import fiducial.ledger.schema"),
        ("fiducial.core.plan", "from fiducial.engine import scheduler"),
        ("fiducial.core.plan", "from fiducial import ledger"),
        ("fiducial.core.plan", "from ..ledger import schema"),
        ("fiducial.core.plan", "from .. import ledger"),
        ("fiducial.core.plan", "import fiducial"),
        ("fiducial.ledger.queries", "def f():\n    import fiducial.batch.slurm"),
        ("fiducial.batch.slurm", "if TYPE_CHECKING:\n    from fiducial.cli.main import app"),
        ("fiducial.engine.agent", "from fiducial.alignment.fit.millepede import solve"),
        ("fiducial.server.pages", "from fiducial.columnar import chunks"),
        ("fiducial.columnar.chunks", "import fiducial.alignment"),
        ("fiducial.alignment.fit.loops", "from fiducial.alignment.tracker.geometry import FASER"),
        ("fiducial.settings", "from fiducial.ledger import schema"),
        ("fiducial.runner.runner", "import numpy"),
        ("fiducial.runner.runner", "from fiducial.core import errors"),
    ],
)
def test_a_planted_violation_is_caught(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


def test_a_relative_import_of_a_package_is_resolved_from_the_package() -> None:
    assert not violations("from .schema import jobs", "fiducial.ledger", is_package=True)
    assert violations("from ..batch import slurm", "fiducial.ledger", is_package=True) == [
        "fiducial.ledger -> fiducial.batch"
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fiducial.batch.slurm", "from fiducial.core.errors import BackendError\nimport fiducial.ledger.queries"),
        ("fiducial.batch.slurm", "from .backend import Backend\nfrom ..core import states\nimport sqlalchemy"),
        ("fiducial.cli.align", "from fiducial.alignment import fit"),
        ("fiducial.settings", "from fiducial.core import errors"),
        ("fiducial.runner.runner", "import json, os.path\nfrom urllib.request import urlopen"),
    ],
)
def test_imports_downwards_are_let_through(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_a_part_without_a_floor_is_refused() -> None:
    with pytest.raises(AssertionError, match="give the new part 'cellar' a floor"):
        violations("", "fiducial.cellar.wine")
