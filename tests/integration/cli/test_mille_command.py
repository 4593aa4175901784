"""``fiducial mille``: what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.mille.writer import Kind, MilleWriter
from fiducial.cli.main import main


class Command:
    """``fiducial mille`` with what it printed."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stop:
            main(["mille", *map(str, words)])
        out, self.err = self._capture.readouterr()
        assert int(stop.value.code or 0) == code, self.err
        return out

    def json(self, *words: object, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def mille(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    for kind, name in ((Kind.C_FLOAT, "c.bin"), (Kind.FORTRAN, "f.bin")):
        with MilleWriter(tmp_path / name, kind) as writer:
            for k in range(5):
                writer.measurement(0.5 + k, 0.1, {1: 1.0, 2: -2.0}, {7: 1.0, 1201: 0.25})
                writer.special([(1.0, 0)] if k == 1 else [])
                writer.end_record()
    content = bytearray((tmp_path / "c.bin").read_bytes())
    content[-1] = 0x80  # the last label becomes negative
    (tmp_path / "bad.bin").write_bytes(content)
    return Command(capsys)


def test_show_prints_records_as_a_table(mille: Command) -> None:
    lines = mille("show", "c.bin", "--records", "2-3").splitlines()
    assert lines[0] == "record 2 at byte 60: 1 measurement, single precision"
    assert lines[1] == "  special data: 1 pair, which the fit skips"
    assert lines[3].split() == ["1", "1.5", "0.1", "1:", "1", "2:", "-2", "7:", "1", "1201:", "0.25"]
    assert len([line for line in lines if line.startswith("record")]) == 2


@pytest.mark.parametrize(("name", "byte"), [("c.bin", 60), ("f.bin", 68)])
def test_show_json_recognises_the_kind(mille: Command, name: str, byte: int) -> None:
    (record,) = mille.json("show", name, "--records", "2")
    assert (record["record"], record["byte"], record["special"], record["fault"]) == (2, byte, [1], "")
    (hit,) = record["measurements"]
    assert (hit["value"], hit["local"], hit["labels"]) == (1.5, [[1, 1.0], [2, -2.0]], [[7, 1.0], [1201, 0.25]])


def test_show_points_at_a_damaged_record_and_shows_the_others(mille: Command) -> None:
    out = mille("show", "bad.bin", "--records", "1-", code=1)
    assert out.count("damaged:") == 1
    assert out.count("measurement,") == 5


@pytest.mark.parametrize(("words", "code"), [(["0"], 2), (["3-1"], 2), (["x"], 2), (["1-²"], 2), (["6"], 1)])
def test_show_refuses_records_that_are_not_there(mille: Command, words: list[str], code: int) -> None:
    mille("show", "c.bin", "--records", *words, code=code)
    assert "error:" in mille.err
    assert "Traceback" not in mille.err


@pytest.mark.parametrize("words", [["show", "pipe"], ["check", "pipe"], ["convert", "pipe", "made.bin"]])
def test_a_pipe_is_refused(mille: Command, words: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    out = mille(*words, code=1)
    assert "pipe: is a pipe or a device" in out + mille.err


def test_json_has_no_word_that_is_none(mille: Command, tmp_path: Path) -> None:
    with MilleWriter(tmp_path / "nan.bin") as writer:
        writer.measurement(0.25, 0.1, {1: 1.0}, {7: 1.0})
        writer.end_record()
    content = (tmp_path / "nan.bin").read_bytes()
    assert content.count(struct.pack("<f", 0.25)) == 1
    (tmp_path / "nan.bin").write_bytes(content.replace(struct.pack("<f", 0.25), struct.pack("<f", float("nan"))))
    text = mille("show", "nan.bin", "--json", code=1)
    (record,) = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert record["measurements"][0]["value"] is None
    assert "nan" in record["fault"].lower() or "finite" in record["fault"]


def test_check_counts(mille: Command) -> None:
    out = mille("check", "c.bin", "f.bin", "--labels")
    assert "c.bin: sound" in out
    assert "C, single precision: 5" in out
    assert "Fortran: 5" in out
    assert "special data          3 pairs, with those that announce them, in 1 record" in out
    assert ["1201", "5"] in [line.split() for line in out.splitlines()]
    one, two = mille.json("check", "c.bin", "f.bin")
    assert (one["records"], one["labels"], one["largest_label"], one["kinds"]) == (5, 2, 1201, {"c-float": 5})
    assert (two["sound"], two["special_pairs"]) == (True, 3)


def test_check_names_damage_and_looks_at_the_other_files_too(mille: Command) -> None:
    out = mille("check", "bad.bin", "nowhere.bin", "c.bin", code=4)
    assert "error: bad.bin: record 5 at byte 264: holds a label" in out
    assert "error: nowhere.bin: there is no such Mille file" in out
    assert "c.bin: sound" in out
    assert [one["sound"] for one in mille.json("check", "bad.bin", "c.bin", code=1)] == [False, True]


@pytest.mark.parametrize(
    ("name", "option", "right"), [("c.bin", "--fortran", "Cfiles"), ("f.bin", "--c", "fortranfiles")]
)
def test_check_names_the_right_kind(mille: Command, name: str, option: str, right: str) -> None:
    assert right in mille("check", name, option, code=1)


def test_convert_there_and_back(mille: Command, tmp_path: Path) -> None:
    assert mille("convert", "c.bin", "d.bin.gz", "--to", "c-double") == "d.bin.gz: 5 records (c-double)\n"
    assert (tmp_path / "d.bin.gz").read_bytes()[:2] == b"\x1f\x8b"
    mille("convert", "d.bin.gz", "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "c.bin").read_bytes()
    made = mille.json("convert", "f.bin", "part.bin", "--to", "fortran", "--records", "2-3")
    assert (made["records"], made["bytes"], made["kind"]) == (2, 4 * (3 + 2 * 10) + 4 * (3 + 2 * 7), "fortran")


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["c.bin", "c.bin"], 2, "would be overwritten"),
        (["c.bin", "x.gz", "--to", "fortran"], 2, "compressed Fortran"),
        (["c.bin", "x", "--to", "fortran", "--gzip"], 2, "compressed Fortran"),
        (["bad.bin", "x"], 1, "record 5"),
        (["nowhere", "x"], 4, "no such"),
        (["c.bin", "nowhere/x"], 1, "cannot be written"),
    ],
)
def test_convert_refuses_and_leaves_nothing(
    mille: Command, words: list[str], code: int, what: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    mille("convert", *words, code=code)
    assert what in mille.err
    assert sorted(tmp_path.iterdir()) == before
