"""``fiducial constants plot``: what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fiducial.alignment.constants.values import Constants, write_constants
from fiducial.cli.main import main

CONSTANTS: Constants = {"21": (0.0, 0.01, 0.0, 0.0, 0.0, 1e-4), "210": (0.001,) * 6}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name / "inputforalign.txt" for name in ("iter01", "iter02")]
    write_constants(paths[0], CONSTANTS)
    write_constants(paths[1], CONSTANTS | {"21": (0.0, 0.013, 0.0, 0.0, 0.0, 3e-4)})
    return [str(path) for path in paths]


def plot(*words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["constants", "plot", *words])
    assert not stop.value.code


@pytest.mark.parametrize("options", [[], ["--evolution"]])
def test_a_panel_for_each_kind(
    files: list[str], options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    svg, png = tmp_path / "c.svg", tmp_path / "c.png"
    plot(*files, "-o", str(svg), *options)
    texts = {"".join(element.itertext()) for element in ElementTree.parse(svg).iter() if element.tag.endswith("text")}
    assert {"layer y (µm)", "layer rz (mrad)", "module x (µm)", "iter01", "iter02"} <= texts
    assert "layer x (µm)" not in texts
    capsys.readouterr()
    plot(*files, "-o", str(png), *options, "--json")
    assert json.loads(capsys.readouterr().out)["output"] == str(png)
    assert png.read_bytes().startswith(b"\x89PNG")
