"""Where files of an alignment lie, how two folders show each other's, and what is removed when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.faser.campaign import Plan, data_folder, plan
from fiducial.alignment.faser.folders import join, remove_files
from fiducial.alignment.faser.once import plan_once
from fiducial.alignment.faser.request import Request, Storage
from fiducial.core.errors import FolderError, NotFoundError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "afs"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "eos"


def asked(**more: Any) -> Request:
    return Request(year=2023, run=11705, files=range(450, 453), environment_script=Path("/env.sh"), **more)


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def joined(work: Path, data: Path, iteration: str = "iter01") -> list[Path]:
    return join(work, data, iteration=iteration, ntuples=f"{iteration}/2kf", fit=f"{iteration}/3fit")


def steps(planned: Plan) -> list[str]:
    return list(planned.source.workflow.steps)


def test_two_folders_read_the_same(work: Path, data: Path) -> None:
    put(work / "iter01" / "1reco" / "inputforalign.txt")
    assert len(joined(work, data)) == 2  # the ntuples, and 1reco from the other side
    put(data / "iter01" / "2kf" / "a.root", "root")
    put(data / "iter01" / "3fit" / "millepede.res", "res")
    put(data / "iter01" / "3fit" / "step1" / "millepede.res", "res1")
    put(work / "iter01" / "3fit" / "millepede.sub", "sub")
    put(work / "iter01" / "inputforalign.txt", "constants")
    put(work / "iter01" / ".fiducial" / "log", "ours")
    assert joined(work, data)
    for folder in (work, data):
        assert (folder / "iter01" / "2kf" / "a.root").read_text() == "root"
        assert (folder / "iter01" / "3fit" / "millepede.res").read_text() == "res"
        assert (folder / "iter01" / "3fit" / "step1" / "millepede.res").read_text() == "res1"
        assert (folder / "iter01" / "inputforalign.txt").read_text() == "constants"
        assert (folder / "iter01" / "3fit" / "millepede.sub").read_text() == "sub"
    assert not (data / "iter01" / ".fiducial").exists()
    assert joined(work, data) == []


def test_what_is_there_is_left(work: Path, data: Path) -> None:
    put(work / "iter01" / "2kf" / "mine.root", "mine")
    put(work / "iter01" / "2kf" / "a.root", "mine, too")
    put(data / "iter01" / "2kf" / "a.root", "theirs")
    put(data / "iter01" / "2kf" / "b.root", "theirs")
    elsewhere = put(work.parent / "elsewhere" / "inputforalign.txt", "elsewhere")
    (data / "iter01" / "inputforalign.txt").symlink_to(elsewhere)
    put(work / "iter01" / "inputforalign.txt", "constants")
    joined(work, data)
    assert (work / "iter01" / "2kf" / "a.root").read_text() == "mine, too"
    assert (work / "iter01" / "2kf" / "b.root").readlink() == data / "iter01" / "2kf" / "b.root"
    assert (data / "iter01" / "inputforalign.txt").read_text() == "elsewhere"
    elsewhere.unlink()  # a link that leads nowhere is no loss
    joined(work, data)
    assert (data / "iter01" / "inputforalign.txt").read_text() == "constants"


def test_it_begins_where_the_data_cannot_be_seen(work: Path) -> None:
    nowhere = Path("/proc/nowhere")
    join(work, nowhere, iteration="iter01", ntuples="iter01/2kf", fit="iter01/3fit", begin=True)
    assert (work / "iter01" / "2kf").readlink() == nowhere / "iter01" / "2kf"
    join(work, work.parent / "eos", iteration="iter01", ntuples="iter01/2kf", fit="iter01/3fit", begin=True)
    assert (work / "iter01" / "2kf").readlink() == work.parent / "eos" / "iter01" / "2kf"


def test_folders_that_cannot_be_joined(work: Path) -> None:
    with pytest.raises(FolderError, match=r"cannot join .*/proc/nowhere"):
        joined(work, Path("/proc/nowhere"))


def test_nothing_is_removed_before_the_next_iteration_is_done(tmp_path: Path) -> None:
    old, done = put(tmp_path / "old.root", "12345"), tmp_path / "inputforalign.txt"
    with pytest.raises(NotFoundError, match="nothing is removed"):
        remove_files([old], done)
    put(done, "")
    with pytest.raises(NotFoundError, match="nothing is removed"):
        remove_files([old], done)
    put(done, '"2": [0, 0, 0, 0, 0, 0]')
    assert old.exists()
    (tmp_path / "link").symlink_to(done)
    assert remove_files([old, tmp_path / "gone", done, tmp_path / "link"], done) == (1, 5)
    assert remove_files([old], done) == (0, 0)
    assert done.exists()


def test_the_data_lie_in_a_folder_of_their_own(work: Path, data: Path) -> None:
    planned = plan(asked(folder=f"{work}/{{format}}", data=f"{data}/{{format}}"), simulate=False)
    name = "Y2023_R011705_F450-453"
    assert (planned.prepared.folder, data_folder(planned)) == (work / name, data / name)
    assert steps(planned)[-1] == "join"
    single, _ = plan_once(planned.request, 2, simulate=False)
    assert data_folder(single) == data / name / "iter02"
    assert data_folder(plan(asked(), simulate=False)) is None


@pytest.mark.parametrize(
    ("more", "last"),
    [
        ({}, "report"),
        ({"storage": Storage()}, "report"),
        ({"storage": Storage(keep_scratch=True)}, "report"),
        ({"storage": Storage(keep_ntuples=False)}, "tidy"),
        ({"storage": Storage(keep_constants=False)}, "tidy"),
    ],
)
def test_the_clean_up_is_a_step_where_it_is_asked_for(more: dict[str, Any], last: str) -> None:
    planned = plan(asked(**more), simulate=False)
    assert steps(planned)[-1] == last
    if last == "tidy":
        wanted, variables = more["storage"], planned.source.workflow.steps["tidy"].variables
        assert (variables["keep_ntuples"], variables["keep_constants"]) == (wanted.keep_ntuples, wanted.keep_constants)
    scratch = planned.source.workflow.steps["reco"].keep_scratch
    assert scratch == ("always" if more.get("storage") == Storage(keep_scratch=True) else "never")
