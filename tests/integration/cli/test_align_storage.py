"""An alignment whose data lie in a folder of their own and are cleaned up, by config.json's ``storage``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import calypso
from aligning import FIDUCIAL, NAME, align


@pytest.fixture
def site(tmp_path: Path) -> calypso.Site:
    site = calypso.build(tmp_path / "site")
    site.take_data("450-453", 300)
    return site


def files_of(folder: Path, pattern: str) -> list[str]:
    """What is there, through links as well, but no link that leads nowhere."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern) if path.exists())


def test_two_folders_and_a_clean_up_that_can_be_gone_on_from(site: calypso.Site, tmp_path: Path) -> None:
    paths = {"calypso_install": str(site.calypso), "pede_install": "", "env_script": "reco_condor_env.sh"}
    paths |= {"work_dir": str(tmp_path / "afs"), "eos_output_dir": str(tmp_path / "eos")}
    storage = {"keep_intermediate_root_files": False, "keep_alignment_constants": False}
    (tmp_path / "config.json").write_text(json.dumps({"paths": paths, "storage": storage}))
    words = ["-y", "2023", "-r", "11705", "-f", "450-453", *site.options(), "--all-iterations", "--workers", "2"]
    align(tmp_path, *words, "-i", "2")
    work, data = tmp_path / "afs" / NAME, tmp_path / "eos" / NAME
    ntuples = [f"iter02/2kfalignment/kfalignment_011705_{file:05d}.root" for file in (450, 451, 452)]
    kept = ["iter02/1reco/inputforalign.txt", "iter02/inputforalign.txt"]
    for folder in (work, data):  # each reads like the other
        assert files_of(folder, "iter*/2kfalignment/*") == ntuples
        assert sorted(files_of(folder, "iter*/inputforalign.txt") + files_of(folder, "iter*/1reco/*.txt")) == kept
        for name in ("millepede.res", "millepede.end", "mp2input.bin", "summary.json"):
            assert files_of(folder, f"iter*/3millepede/{name}") == [f"iter0{n}/3millepede/{name}" for n in (1, 2)]
        assert not [path for path in folder.glob("iter*/**/*") if path.is_symlink() and not path.exists()]
    assert not [path for path in data.rglob("*") if path.name == ".fiducial"]
    assert (work / "iter02" / "2kfalignment").is_symlink()
    assert not (data / "iter02" / "2kfalignment").is_symlink()

    assert json.loads(align(tmp_path, *words, "-i", "2", "--json").stdout)["iterations"] == 2
    assert json.loads(align(tmp_path, *words, "-i", "3", "--continue", "--json").stdout)["iterations"] == 3
    assert files_of(work, "iter*/2kfalignment/*") == [name.replace("iter02", "iter03") for name in ntuples]
    assert files_of(work, "iter*/inputforalign.txt") == ["iter03/inputforalign.txt"]


def test_pede_fits_with_an_environment_of_its_own(site: calypso.Site, tmp_path: Path) -> None:
    """The script that is sourced for pede is sourced for nothing else: it would keep our own Python from starting."""
    pede = tmp_path / "pede of mine" / "pede"
    pede.parent.mkdir()
    ours = Path(FIDUCIAL).with_name("fiducial-pede")
    pede.write_text(f'#!/bin/bash\nunset PYTHONHOME\necho "$MARK" > from-the-script\n{ours} "$@"\ntrue\n')
    pede.chmod(0o755)
    script = tmp_path / "millepede_env.sh"
    script.write_text("export MARK='sourced' PYTHONHOME=/nowhere\n")
    paths = {"calypso_install": str(site.calypso), "pede_install": str(pede.parent)}
    paths |= {"reco_env_script": "reco.sh", "millepede_env_script": script.name}
    (tmp_path / "config.json").write_text(json.dumps({"paths": paths}))
    words = ["-y", "2023", "-r", "11705", "-f", "450-453", *site.options(), "-i", "1", "--workers", "2"]
    align(tmp_path, *words, "--with-pede")
    folder = tmp_path / NAME
    assert (folder / "iter01" / "inputforalign.txt").stat().st_size
    assert str(pede) in (folder / "pede.sh").read_text()
    assert "sourced" in script.read_text()
    assert (tmp_path / "reco.sh").is_file()
    assert "Millepede II fit ending" in (folder / "iter01" / "3millepede" / "pede.out").read_text()
