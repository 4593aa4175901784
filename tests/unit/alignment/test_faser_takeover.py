"""What of an alignment of older scripts is taken over: folders of all eras, whole, broken and contradictory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.faser import premises
from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.request import Request
from fiducial.alignment.faser.takeover.decide import Decision, decide
from fiducial.alignment.faser.takeover.found import Found
from fiducial.alignment.faser.takeover.record import Takeover, forget_ntuples, read_record, write_record
from fiducial.core.errors import FolderError, StateError, UsageError
from older import GOOD_END, NTUPLE, Made, lay_out, put

FIRST = '"10": [0.001, 0, 0, 0, 0, 0]\n'
SECOND = '"10": [0.002, 0, 0, 0, 0, 0]\n'
DONE = [Made(), Made(FIRST, result=SECOND)]
NAME = "Y2023_R011705_F450-453"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here: Path) -> Path:
    return here / NAME


def asked(**more: Any) -> Request:
    return Request(year=2023, run=11705, files=range(450, 453), environment_script=Path("/env.sh"), **more)


def decided(**more: Any) -> Decision:
    decision = decide(plan(asked(**more), simulate=False))
    assert decision is not None
    return decision


def unfinished(**more: Any) -> Made:
    return Made(**{"began_with": SECOND, "res": None, "end": None, "result": None, **more})


def test_nothing_is_there(folder: Path) -> None:
    assert decide(plan(asked(), simulate=False)) is None
    (folder / "iter01" / "2kfalignment").mkdir(parents=True)
    assert decide(plan(asked(), simulate=False)) is None


@pytest.mark.parametrize("first", [0, 1])
def test_iterations_that_are_done_stay(folder: Path, first: int) -> None:
    lay_out(folder, DONE, first=first)
    decision = decided()
    assert decision.takeover == Takeover(
        first, first + 2, folder / f"iter{first + 1:02d}" / "inputforalign.txt", recipe="one-fit"
    )
    assert f"iteration {first:02d} to {first + 1:02d} is done and stays; on with {first + 2:02d}" in decision.told[0]
    left = decision.takeover.of(asked(iterations=10))
    assert (left.iterations, left.first_iteration) == (8, first + 2)
    with pytest.raises(UsageError, match="all 2 iterations are done"):
        decision.takeover.of(asked(iterations=2))


def test_an_iteration_goes_on_with_its_whole_ntuples(folder: Path) -> None:
    cut = NTUPLE.read_bytes()[:-100]
    lay_out(folder, [*DONE, unfinished(ntuples={450: None, 451: cut, 460: None})])
    decision = decided()
    assert decision.takeover.taken == {450: str(folder / "iter03/taken/kfalignment_011705_00450.root")}
    old = folder / "iter03" / "2kfalignment" / "kfalignment_011705_00450.root"
    assert decision.moves == {old: Path(decision.takeover.taken[450])}
    told = "\n".join(decision.told)
    assert "iteration 03: 1 of 3 ntuples are taken, the rest is made" in told
    assert "made again" in told
    assert "00451.root: not a complete ROOT file" in told
    planned = plan(decision.takeover.of(asked()), simulate=False)
    assert planned.source.workflow.variables["taken"] == {"00450": decision.takeover.taken[450]}
    assert planned.source.workflow.variables["initial_constants"] == str(folder / "iter02" / "inputforalign.txt")
    premises.refuse_to_overwrite(planned, taken_over=True)


@pytest.mark.parametrize(
    "name", ["Faser-Physics-011705-{file:05d}_3station_backward_kfalignment.root", "kfalignment_011705_{file:05d}.root"]
)
def test_ntuples_of_either_name(folder: Path, name: str) -> None:
    lay_out(folder, [unfinished(began_with="", ntuples={450: None, 452: None})], name=name)
    assert sorted(decided().takeover.taken) == [450, 452]
    (folder / "iter01" / "2kfalignment").rename(folder / "iter01" / "2root_file")
    assert sorted(decided().takeover.taken) == [450, 452]


@pytest.mark.parametrize("began_with", [FIRST, "", None, "not constants"])
def test_ntuples_of_other_constants_are_made_again(folder: Path, began_with: str | None) -> None:
    lay_out(folder, [*DONE, unfinished(began_with=began_with, ntuples={450: None})])
    decision = decided()
    assert decision.takeover.taken == {}
    assert decision.takeover.resume == 3
    assert "its 1 ntuples are made again, for they were made with other constants" in decision.told[1]


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ({"end": "   26   Aborted, too many rejects\n"}, "its fit ended with 26, Aborted, too many rejects"),
        ({"end": None}, "there is no millepede.end"),
        ({"end": "nonsense"}, "there is no millepede.end"),
        ({"res": None}, "there is no millepede.res"),
        ({"res": " Parameter\n"}, ""),
        ({"result": None}, ""),
        ({"result": "{ broken"}, ""),
    ],
)
def test_a_fit_that_is_not_proven_is_done_again(folder: Path, last: dict[str, Any], why: str) -> None:
    """An aborted fit left status 0 and an older result behind; only millepede.end tells."""
    lay_out(folder, [Made(), Made(**{"began_with": FIRST, "result": SECOND, "ntuples": {450: None}, **last})])
    decision = decided()
    assert (decision.takeover.resume, sorted(decision.takeover.taken)) == (2, [450])
    assert decision.takeover.constants == folder / "iter01" / "inputforalign.txt"
    found = Found(2, decide_places(folder))
    assert why in found.fit


def decide_places(folder: Path) -> Any:
    from fiducial.alignment.faser.layout import Iteration

    base = folder / "iter02"
    return (Iteration(2, base, base / "1reco", base / "2kfalignment", base / "3millepede"),)


def test_constants_that_were_only_handed_on(folder: Path) -> None:
    lay_out(folder, [Made(result=None), unfinished(began_with=FIRST)])
    assert decided().takeover == Takeover(1, 2, folder / "iter02" / "1reco" / "inputforalign.txt", recipe="one-fit")


def test_nothing_is_built_on_an_iteration_that_is_not_done(folder: Path) -> None:
    bad = Made(end="   26   Aborted, too many rejects\n")
    lay_out(folder, [bad, Made(FIRST), Made(FIRST)])
    with pytest.raises(FolderError, match="iter01 is not done, as its fit ended with 26") as caught:
        decided()
    assert "move iter02, iter03 away" in caught.value.hint
    lay_out(folder, [Made()])
    for path in sorted((folder / "iter02").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(FolderError, match="what comes before iter03 is not done"):
        decided()


def test_a_chain_that_contradicts_itself_is_told(folder: Path) -> None:
    lay_out(folder, [Made(), Made(SECOND, result=FIRST)])
    assert "iteration 02 began with other constants than 01 had found" in decided().told[1]


def test_data_and_work_in_two_folders(here: Path) -> None:
    """Eras D and E: submit files on AFS, all else on EOS."""
    work, data = here / "afs" / NAME, here / "eos" / NAME
    lay_out(data, [Made(ntuples={450: None}), unfinished(began_with=FIRST, ntuples={450: None})], first=0, work=work)
    put(data / "config.json", "{}")
    decision = decided(folder=f"{here}/afs/{{format}}", data=f"{here}/eos/{{format}}", first_iteration=0)
    taken = {450: str(data / "iter01" / "taken" / "kfalignment_011705_00450.root")}
    assert decision.takeover == Takeover(0, 1, data / "iter00" / "inputforalign.txt", taken, "one-fit")
    assert (work / "iter01" / "reco_iter01_00450.sub").is_file()


def test_a_dagman_at_work_is_left(folder: Path) -> None:
    lay_out(folder, DONE)
    put(folder / "alignment.dag.lock", "")
    with pytest.raises(StateError, match=r"a DAGMan works with alignment\.dag") as caught:
        decided()
    assert "condor_rm" in caught.value.hint


def test_jobs_of_the_daemon_that_may_be_left_are_told(here: Path, folder: Path) -> None:
    lay_out(folder, [*DONE, unfinished()])
    log = here / "auto_iter.log"
    log.write_text("Starting iteration: 3\niter: 3, cluster: 4711, jobs: 50.\n")
    assert "50 jobs in cluster 4711: condor_q 4711 shows" in decided().told[-1]
    log.write_text("Starting iteration: 2\niter: 2, cluster: 4710, jobs: 50.\n")
    assert decided().told[-1].endswith("tells last of iteration 2")


def test_the_recipe_is_that_of_the_first_iteration(folder: Path) -> None:
    """Constants that an iteration has found do not make it an alignment of the front station alone."""
    lay_out(folder, DONE)
    takeover = decided(stations=4).takeover
    assert plan(takeover.of(asked(stations=4)), simulate=False).recipe == "one-fit"
    assert plan(takeover.of(asked(stations=4, recipe="faser-4st")), simulate=False).recipe == "faser-4st"
    put(folder / "iter01" / "1reco" / "inputforalign.txt", FIRST)
    assert plan(decided(stations=4).takeover.of(asked(stations=4)), simulate=False).recipe == "faser-4st"


def test_what_was_taken_over_is_kept(folder: Path) -> None:
    takeover = Takeover(0, 2, folder / "x.txt", {450: "/a b/450.root"}, "one-fit")
    assert read_record(folder) is None
    write_record(folder, takeover, {})
    assert read_record(folder) == takeover
    for text in ("{", "{}", '{"format": 2}', "[]"):
        put(folder / ".fiducial" / "taken.json", text)
        with pytest.raises(FolderError, match="cannot read"):
            read_record(folder)


def test_ntuples_are_laid_aside_until_the_iteration_is_done(folder: Path) -> None:
    """A job clears the place of its outputs before it begins; wherever this is cut short, nothing is lost."""
    lay_out(folder, [unfinished(began_with="", ntuples={450: None, 451: None})])
    decision = decided()
    half = dict(list(decision.moves.items())[:1])
    write_record(folder, decision.takeover, half)  # killed after the first one
    again = decided()
    assert again.takeover == decision.takeover
    assert len(again.moves) == 1
    write_record(folder, again.takeover, again.moves)
    assert all(Path(path).is_file() for path in again.takeover.taken.values())
    constants = folder / "iter01" / "inputforalign.txt"
    forget_ntuples(again.takeover, constants)
    put(constants, "")
    forget_ntuples(again.takeover, constants)
    assert all(Path(path).is_file() for path in again.takeover.taken.values())
    put(constants, FIRST)
    forget_ntuples(again.takeover, constants)
    forget_ntuples(again.takeover, constants)
    assert not (folder / "iter01" / "taken").exists()


def test_after_it_was_put_aside_it_does_not_begin_anew_there(folder: Path) -> None:
    lay_out(folder, DONE)
    put(folder / ".fiducial.1" / "campaign.json", "{}")
    premises.refuse_to_overwrite(plan(asked(), simulate=False))
    put(folder / ".fiducial.1" / "taken.json", "{}")
    with pytest.raises(FolderError, match="would overwrite: iter01, iter02") as caught:
        premises.refuse_to_overwrite(plan(asked(), simulate=False))
    assert "--continue goes on with it" in caught.value.hint
    assert GOOD_END  # of the stand-in
