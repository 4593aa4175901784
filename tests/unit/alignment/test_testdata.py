"""Test experiments: what is written, and that it is the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiducial.alignment.testdata import MODELS, generate
from fiducial.core.errors import UsageError

PARAMETERS = {"wire": 200} | dict.fromkeys(MODELS[1:], 700)


@pytest.mark.parametrize("model", MODELS)
def test_an_experiment_is_three_files(model: str, tmp_path: Path) -> None:
    made = generate(tmp_path, model, records=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mp2con.txt", "mp2str.txt", "mp2tst.bin"]
    assert (made.records, made.kept, len(made.truth)) == (20, [], PARAMETERS[model])
    assert model == "wire" or model in made.steering.read_text()


@pytest.mark.parametrize("model", MODELS)
def test_a_larger_set_begins_with_a_smaller_one(model: str, tmp_path: Path) -> None:
    few, many = (generate(tmp_path / str(count), model, records=count) for count in (3, 1005))
    first, second = ((made.steering.parent / "mp2tst.bin").read_bytes() for made in (few, many))
    assert second.startswith(first)
    assert many.truth == few.truth
    assert many.measurements > 100 * few.measurements


def test_another_seed_is_another_experiment(tmp_path: Path) -> None:
    one, two = (generate(tmp_path / str(seed), records=3, seed=seed) for seed in (1, 2))
    assert one.truth != two.truth
    assert (tmp_path / "1" / "mp2tst.bin").read_bytes() != (tmp_path / "2" / "mp2tst.bin").read_bytes()


def test_a_changed_steering_is_kept(tmp_path: Path) -> None:
    generate(tmp_path, records=3)
    (tmp_path / "mp2str.txt").write_text("mine")
    made = generate(tmp_path, records=4)
    assert [path.name for path in made.kept] == ["mp2str.txt"]
    assert (tmp_path / "mp2str.txt").read_text() == "mine"


@pytest.mark.parametrize(("before", "after"), [("wire", "SL0"), ("BRLC", "wire"), ("SL0", "SLE")])
def test_texts_of_another_model_are_replaced_unless_someone_changed_them(
    before: str, after: str, tmp_path: Path
) -> None:
    fresh = generate(tmp_path / "fresh", after, records=3).steering.parent
    generate(tmp_path, before, records=3)
    made = generate(tmp_path, after, records=3, seed=2)
    assert made.kept == []
    for name in ("mp2con.txt", "mp2str.txt"):
        assert (tmp_path / name).read_text() == (fresh / name).read_text()
    mine = (tmp_path / "mp2con.txt").read_text() + "Constraint 0\n"
    (tmp_path / "mp2con.txt").write_text(mine)
    assert [path.name for path in generate(tmp_path, before, records=3).kept] == ["mp2con.txt"]
    assert (tmp_path / "mp2con.txt").read_text() == mine


@pytest.mark.parametrize(("model", "records"), [("SL1", 10), ("wire", 0)])
def test_what_cannot_be_made(model: str, records: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        generate(tmp_path / "new", model, records=records)
    assert not (tmp_path / "new").exists()
