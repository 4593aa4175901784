"""Mille files: each format is read, what is written is read back, and damage is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiducial.alignment.mille.reader import MilleBlock, MilleFile, read_blocks
from fiducial.alignment.mille.writer import MilleOutput, MilleWriter
from fiducial.core.errors import DataError, NotFoundError
from pede_reference import DATA

FORMATS = DATA / "formats"


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((FORMATS / f"{name}.gz").read_bytes()))
    return path


def write_one(path: Path) -> Path:
    with MilleWriter(path) as writer:
        for _ in range(3):
            writer.measurement(0.5, 0.1, {1: 1.0, 2: -2.0}, {7: 1.0, 12: 0.25})
            writer.measurement(-0.5, 0.2, {1: 3.0}, {7: 2.0})
            writer.end_record()
    return path


def join(path: Path, *, fortran: bool = False) -> list[np.ndarray]:
    """All records as arrays, whatever the blocks."""
    blocks = list(read_blocks(MilleFile(path, fortran)))
    names = ("value", "sigma", "local_index", "local_derivative", "label", "global_derivative")
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in names]


@pytest.mark.parametrize("name", ["c_float_special.bin", "fortran_float.bin"])
def test_formats_hold_the_same_records(name: str, tmp_path: Path) -> None:
    expected = join(unpacked("c_float.bin", tmp_path))
    found = join(unpacked(name, tmp_path), fortran=name.startswith("fortran"))
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert len(expected[0]) == 20997


def test_gzip_is_recognised_without_a_suffix(tmp_path: Path) -> None:
    expected, found = join(unpacked("c_float.bin", tmp_path)), join(FORMATS / "c_float_gz.bin")
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("words", [300, 5000])
@pytest.mark.parametrize("packed", [False, True])
def test_small_blocks_hold_the_same_records(words: int, packed: bool, tmp_path: Path) -> None:
    path = FORMATS / "c_float_gz.bin" if packed else unpacked("c_float.bin", tmp_path)
    blocks = list(read_blocks(path, block_words=words))
    (whole,) = read_blocks(path)
    assert len(blocks) > 10
    assert [block.first_record for block in blocks] == [
        1 + sum(b.records for b in blocks[:k]) for k in range(len(blocks))
    ]
    assert np.array_equal(np.concatenate([block.label for block in blocks]), whole.label)
    assert np.array_equal(
        np.concatenate([np.diff(b.measurement_start) for b in blocks]), np.diff(whole.measurement_start)
    )


def copy_records(block: MilleBlock, path: Path) -> int:
    with MilleOutput(path) as output:
        return output.write_hits(
            np.diff(block.measurement_start),
            block.value,
            block.sigma,
            np.diff(block.local_start),
            block.local_index,
            block.local_derivative,
            np.diff(block.global_start),
            block.label,
            block.global_derivative,
        )


def test_written_again_a_file_is_the_same_byte_by_byte(tmp_path: Path) -> None:
    original = unpacked("c_float.bin", tmp_path)
    (block,) = read_blocks(original)
    assert copy_records(block, tmp_path / "copy.bin") == 1500
    assert (tmp_path / "copy.bin").read_bytes() == original.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c_float.bin", "copy.bin"]


number = st.floats(-1e6, 1e6, width=32).filter(bool)
terms = st.dictionaries(st.integers(1, 2**31 - 1), number, max_size=4)
hit = st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(2**-20, 8, width=32), terms, terms)
records = st.lists(st.lists(hit, min_size=1, max_size=4), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records)
def test_what_is_written_is_read_back(tmp_path: Path, written: list[list[tuple]]) -> None:
    path = tmp_path / "round.bin"
    with MilleWriter(path) as writer:
        for record in written:
            for value, sigma, local, labels in record:
                writer.measurement(value, sigma, local, labels)
            writer.end_record()
    hits = [h for record in written for h in record]
    (block,) = read_blocks(path)
    assert np.diff(block.measurement_start).tolist() == [len(record) for record in written]
    assert block.value.tolist() == [h[0] for h in hits]
    assert block.sigma.tolist() == [h[1] for h in hits]
    assert np.diff(block.local_start).tolist() == [len(h[2]) for h in hits]
    assert block.local_index.tolist() == [index for h in hits for index in h[2]]
    assert block.global_derivative.tolist() == [x for h in hits for x in h[3].values()]
    assert copy_records(block, tmp_path / "again.bin") == len(written)
    assert (tmp_path / "again.bin").read_bytes() == path.read_bytes()


def test_zeros_and_bad_sigmas_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "few.bin"
    with MilleOutput(path) as output:
        count = output.write_hits(
            [2, 1, 0], np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.0, -1.0]), np.array([2, 1, 1]),
            np.array([1, 2, 1, 1]), np.array([1.0, 0.0, 1.0, 1.0]), np.array([1, 1, 2]), np.array([5, 6, 7, 8]),
            np.array([0.0, 1.0, 1.0, 1.0]),
        )  # fmt: skip
    (block,) = read_blocks(path)
    assert count == block.records == 1
    assert (block.value.tolist(), block.local_index.tolist(), block.label.tolist()) == ([1.0], [1], [])


@pytest.mark.parametrize("labels", [{0: 1.0}, {-3: 1.0}, {2**31: 1.0}, {1: float("nan")}, {1: 1e300}])
def test_nothing_wrong_is_written(labels: dict[int, float], tmp_path: Path) -> None:
    def write() -> None:
        with MilleWriter(tmp_path / "bad.bin") as writer:
            writer.measurement(0.0, 1.0, {1: 1.0}, labels)

    with pytest.raises(DataError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hits"), MilleOutput(tmp_path / "x") as output:
        output.write_hits([2], *[np.ones(1)] * 8)
    assert list(tmp_path.iterdir()) == []


def spoil(path: Path, word: int, value: int | float) -> None:
    words = np.fromfile(path, "<i4")
    if isinstance(value, float):
        words.view("<f4")[word] = value
    else:
        words[word] = value
    words.tofile(path)


# Words of a record of `write_one`: its length, then 11 numbers and 11 integers.
RECORD = 1 + 2 * 11


@pytest.mark.parametrize(
    ("word", "value", "what"),
    [
        (RECORD, 3, "length word"),
        (RECORD, 0, "length word"),
        (RECORD, 2 * 10**6, "ends inside"),
        (RECORD + 3, float("nan"), "not finite"),
        (RECORD + 5, float("inf"), "not finite"),
        (RECORD + 5, 0.0, "sigma"),
        (RECORD + 5, -1.0, "sigma"),
        (RECORD + 12 + 5, -7, "not positive"),
        (RECORD + 12 + 2, -1, "not positive"),
        (RECORD + 12 + 1, 4, "start with"),
    ],
)
def test_damage_is_named(word: int, value: int | float, what: str, tmp_path: Path) -> None:
    path = write_one(tmp_path / "damaged.bin")
    assert path.stat().st_size == 3 * 4 * RECORD
    spoil(path, word, value)
    with pytest.raises(DataError, match=what) as caught:
        list(read_blocks(path))
    assert f"{path}: record 2 at byte {4 * RECORD}" in caught.value.message


@pytest.mark.parametrize("cut", [1, 4, 40, 4 * RECORD - 4])
@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_file_is_noticed(cut: int, packed: bool, tmp_path: Path) -> None:
    path = write_one(tmp_path / "cut.bin")
    content = path.read_bytes()[:-cut]
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=f"record 3 at byte {8 * RECORD}"):
        list(read_blocks(path))


def test_a_truncated_gzip_stream_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes((FORMATS / "c_float_gz.bin").read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"cut\.bin"):
        list(read_blocks(path))


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"empty\.bin: is empty"):
        list(read_blocks(path))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        list(read_blocks(tmp_path / "nowhere"))


@pytest.mark.parametrize("fortran", [False, True])
def test_the_wrong_kind_is_noticed_and_the_right_one_said(fortran: bool, tmp_path: Path) -> None:
    path = unpacked("c_float.bin" if fortran else "fortran_float.bin", tmp_path)
    with pytest.raises(DataError, match="record") as caught:
        list(read_blocks(MilleFile(path, fortran)))
    assert ("Cfiles" if fortran else "fortranfiles") in caught.value.hint


@pytest.mark.parametrize("fortran", [False, True])
def test_a_foreign_file_is_refused(fortran: bool, tmp_path: Path) -> None:
    path = tmp_path / "foreign.bin"
    path.write_bytes(Path(__file__).read_bytes())
    with pytest.raises(DataError, match="record 1 at byte 0"):
        list(read_blocks(MilleFile(path, fortran)))
