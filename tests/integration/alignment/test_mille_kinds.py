"""Every kind of Mille file is written and read back: by hand, at random, and converted from one to another."""

from __future__ import annotations

import gzip
import math
import tracemalloc
from collections.abc import Callable
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiducial.alignment.mille.convert import Wanted, convert
from fiducial.alignment.mille.inspect import count_file, is_fortran, records_of
from fiducial.alignment.mille.reader import MilleFile, read_blocks
from fiducial.alignment.mille.writer import Kind, MilleOutput, MilleWriter
from fiducial.core.errors import DataError, UsageError

KINDS = [(Kind.C_FLOAT, False), (Kind.C_FLOAT, True), (Kind.C_DOUBLE, False), (Kind.C_DOUBLE, True)]
KINDS += [(Kind.FORTRAN, False)]
kinds = pytest.mark.parametrize(("kind", "packed"), KINDS)
quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

number = st.floats(-1e6, 1e6, width=32).filter(bool)
terms = st.dictionaries(st.integers(1, 2**31 - 1), number, max_size=4)
hit = st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(2**-20, 8, width=32), terms, terms)
# Some special data look like a measurement, a label, or the end of a record.
special = st.lists(st.tuples(st.floats(width=32), st.integers(-(2**31), 2**31 - 1)), max_size=5)
part = st.one_of(hit, special)
records = st.lists(st.lists(part, min_size=1, max_size=4), min_size=1, max_size=6)
Parts = list[list[tuple | list]]


def write(path: Path, kind: Kind, packed: bool, content: Parts) -> MilleFile:
    with MilleWriter(path, kind, packed=packed) as writer:
        for record in content:
            for each in record:
                if isinstance(each, tuple):
                    writer.measurement(*each)
                else:
                    writer.special(each)
            writer.end_record()
    return MilleFile(path, kind is Kind.FORTRAN)


@kinds
@quick
@given(content=records)
def test_what_is_written_is_read_back(kind: Kind, packed: bool, tmp_path: Path, content: Parts) -> None:
    kept = [[each for each in record if each] for record in content]
    kept = [record for record in kept if record]
    if not kept:
        return
    source = write(tmp_path / "round.bin", kind, packed, content)
    found = list(records_of(source, 1, None))
    assert [record.special for record in found] == [[len(e) for e in record if isinstance(e, list)] for record in kept]
    hits = [each for record in kept for each in record if isinstance(each, tuple)]
    read = [(h.value, h.sigma, dict(h.local), dict(h.labels)) for record in found for h in record.hits]
    assert read == hits
    assert [record.fault for record in found] == [""] * len(kept)
    # The fit reads the same.
    blocks = list(read_blocks(source))
    assert [value for block in blocks for value in block.value.tolist()] == [value for value, *_ in hits]
    assert [label for block in blocks for label in block.label.tolist()] == [label for h in hits for label in h[3]]
    contents = count_file(source)
    assert contents.kinds == {kind: len(kept)}
    assert contents.special_pairs == sum(2 + len(e) for record in kept for e in record if isinstance(e, list))
    assert is_fortran(source.path) == (kind is Kind.FORTRAN)


@pytest.mark.parametrize(("first", "second"), list(permutations(KINDS, 2)))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=records)
def test_converted_there_and_back_a_file_is_the_same(
    first: tuple[Kind, bool], second: tuple[Kind, bool], tmp_path: Path, content: Parts
) -> None:
    kept = [record for record in content if any(record)]
    if not kept:
        return
    one = write(tmp_path / "one.bin", *first, kept)
    two, three = tmp_path / "two.bin", tmp_path / "three.bin"
    assert convert(one, Wanted(two, *second)) == len(kept)
    assert convert(MilleFile(two, second[0] is Kind.FORTRAN), Wanted(three, *first)) == len(kept)
    assert three.read_bytes() == one.path.read_bytes()


@kinds
def test_doubles_keep_their_digits_and_floats_are_rounded(kind: Kind, packed: bool, tmp_path: Path) -> None:
    source = write(tmp_path / "digits.bin", kind, packed, [[(1 / 3, 0.1, {1: math.pi}, {7: math.e})]])
    (record,) = records_of(source, 1, None)
    exact = (1 / 3, 0.1, math.pi, math.e)
    wanted = exact if kind is Kind.C_DOUBLE else tuple(float(np.float32(value)) for value in exact)
    (found,) = record.hits
    assert (found.value, found.sigma, found.local[0][1], found.labels[0][1]) == wanted
    assert record.double == (kind is Kind.C_DOUBLE)


@kinds
def test_arrays_are_written_in_every_kind(kind: Kind, packed: bool, tmp_path: Path) -> None:
    with MilleOutput(tmp_path / "arrays.bin", kind, packed=packed) as output:
        count = output.write_hits(
            [1, 2], np.array([0.5, 1.5, 2.5]), np.array([0.1, 0.0, 0.2]), np.array([1, 1, 2]),
            np.array([1, 1, 1, 2]), np.array([1.0, 1.0, 3.0, 0.0]), np.array([1, 0, 1]), np.array([7, 8]),
            np.array([4.0, 5.0]),
        )  # fmt: skip
    found = list(records_of(MilleFile(tmp_path / "arrays.bin", kind is Kind.FORTRAN), 1, None))
    assert count == len(found) == 2
    assert [(h.value, h.local, h.labels) for record in found for h in record.hits] == [
        (0.5, [(1, 1.0)], [(7, 4.0)]), (2.5, [(1, 3.0)], [(8, 5.0)]),
    ]  # fmt: skip


def test_a_name_ending_in_gz_is_compressed_and_the_same_each_time(tmp_path: Path) -> None:
    contents = []
    for name in ("a.bin.gz", "b.bin.gz"):
        with MilleWriter(tmp_path / name) as writer:
            writer.measurement(1.0, 1.0, {1: 1.0}, {1: 1.0})
            writer.end_record()
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert len(gzip.decompress(contents[0])) == 4 * (1 + 2 * 5)


def test_zeros_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    for keep, labels in ((False, [(8, 1.0)]), (True, [(7, 0.0), (8, 1.0), (9, 0.0)])):
        with MilleWriter(tmp_path / "z.bin", keep_zeros=keep) as writer:
            # The last of them is zero in single precision only.
            writer.measurement(1.0, 1.0, {}, {7: 0.0, 8: 1.0, 9: 1e-60})
            writer.end_record()
        (record,) = records_of(MilleFile(tmp_path / "z.bin"), 1, None)
        assert record.hits[0].labels == labels


def test_measurements_without_sigma_and_empty_records_are_left_out(tmp_path: Path) -> None:
    with MilleWriter(tmp_path / "s.bin") as writer:
        writer.measurement(1.0, 0.0, {1: 1.0}, {})
        writer.measurement(1.0, -1.0, {1: float("nan")}, {})
        writer.end_record()
        writer.special([])
        writer.end_record()
        writer.measurement(2.0, 1.0, {1: 1.0}, {})
        writer.end_record()
        writer.measurement(3.0, 1.0, {1: 1.0}, {})
    assert (writer.records, writer.left_out) == (1, 2)
    (record,) = records_of(MilleFile(tmp_path / "s.bin"), 1, None)
    assert [found.value for found in record.hits] == [2.0]


NAN, INF = float("nan"), float("inf")


@kinds
@pytest.mark.parametrize(
    ("measurement", "what"),
    [
        ((NAN, 1.0, {1: 1.0}, {1: 1.0}), "value nan"),
        ((INF, 1.0, {1: 1.0}, {1: 1.0}), "value inf"),
        ((0.0, NAN, {1: 1.0}, {1: 1.0}), "sigma nan"),
        ((0.0, INF, {1: 1.0}, {1: 1.0}), "sigma inf"),
        ((0.0, 1.0, {1: NAN}, {1: 1.0}), "local index 1, nan"),
        ((0.0, 1.0, {1: 1.0}, {5: -INF}), "label 5, -inf"),
        ((0.0, 1.0, {0: 1.0}, {1: 1.0}), "local index 0 is outside"),
        ((0.0, 1.0, {-1: 1.0}, {1: 1.0}), "local index -1 is outside"),
        ((0.0, 1.0, {1: 1.0}, {0: 1.0}), "label 0 is outside"),
        ((0.0, 1.0, {1: 1.0}, {-7: 1.0}), "label -7 is outside"),
        ((0.0, 1.0, {1: 1.0}, {2**31: 1.0}), "label 2147483648 is outside"),
    ],
)
def test_what_no_reader_takes_is_refused(
    kind: Kind, packed: bool, measurement: tuple, what: str, tmp_path: Path
) -> None:
    def attempt() -> None:
        with MilleWriter(tmp_path / "bad.bin", kind, packed=packed) as writer:
            writer.measurement(1.0, 1.0, {1: 1.0}, {1: 1.0})
            writer.end_record()
            writer.measurement(*measurement)

    with pytest.raises(DataError, match=rf"bad\.bin: record 2: .*{what}"):
        attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [(1e39, 1.0), (0.0, 1e-60), (0.0, 1e39)])
def test_what_single_precision_cannot_hold_is_refused_there_alone(value: tuple[float, float], tmp_path: Path) -> None:
    with MilleWriter(tmp_path / "d.bin", Kind.C_DOUBLE) as double:
        double.measurement(*value, {1: 1.0}, {1: 1.0})
        double.end_record()
    source = MilleFile(tmp_path / "d.bin")
    assert next(records_of(source, 1, None)).hits[0].value == value[0]

    def attempt() -> None:
        with MilleWriter(tmp_path / "f.bin") as single:
            single.measurement(*value, {1: 1.0}, {1: 1.0})

    with pytest.raises(DataError, match="single precision"):
        attempt()
    with pytest.raises(DataError, match=r"record 1: .* cannot be stored in single precision"):
        convert(source, Wanted(tmp_path / "f.bin", Kind.C_FLOAT))
    assert not (tmp_path / "f.bin").exists()


@pytest.mark.parametrize("pairs", [[(0.0, 2**31)], [(0.0, -(2**31) - 1)]])
def test_special_data_have_integers_of_32_bits(pairs: list[tuple[float, int]], tmp_path: Path) -> None:
    def attempt() -> None:
        with MilleWriter(tmp_path / "s.bin") as writer:
            writer.special(pairs)

    with pytest.raises(DataError, match="32 bits"):
        attempt()


def _to_folder(folder: Path) -> None:
    MilleWriter(folder)


def _to_nowhere(folder: Path) -> None:
    MilleWriter(folder / "nowhere" / "f.bin")


def _packed_fortran(folder: Path) -> None:
    MilleWriter(folder / "f.bin.gz", Kind.FORTRAN)


@pytest.mark.parametrize(
    ("attempt", "error", "what"),
    [
        (_to_folder, UsageError, "is a folder"),
        (_to_nowhere, DataError, "cannot be written: No such file"),
        (_packed_fortran, UsageError, "compressed Fortran"),
    ],
)
def test_places_that_cannot_be_written(
    attempt: Callable[[Path], None], error: type[Exception], what: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=what):
        attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(small_disk: Path) -> None:
    def attempt() -> None:
        with MilleWriter(small_disk / "f.bin") as writer:
            for _ in range(100_000):
                writer.measurement(1.0, 1.0, {1: 1.0}, {1: 1.0})
                writer.end_record()

    with pytest.raises(DataError, match=r"f\.bin: cannot be written: No space left"):
        attempt()
    assert list(small_disk.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "f.bin"
    path.write_bytes(b"old")
    with MilleWriter(path) as writer:
        writer.measurement(1.0, 1.0, {1: 1.0}, {1: 1.0})
        writer.end_record()
        assert path.read_bytes() == b"old"
    assert path.stat().st_size == 4 * (1 + 2 * 5)
    assert [each.name for each in tmp_path.iterdir()] == ["f.bin"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(records: int) -> int:
        tracemalloc.start()
        with MilleWriter(tmp_path / "long.bin") as writer:
            for _ in range(records):
                writer.measurement(1.0, 1.0, {1: 1.0, 2: 2.0}, {1: 1.0, 2: 3.0})
                writer.end_record()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60_000) < 1.2 * peak(20_000)


@pytest.mark.parametrize("kind", [Kind.C_FLOAT, Kind.C_DOUBLE, Kind.FORTRAN])
def test_records_in_the_middle_are_taken(kind: Kind, tmp_path: Path) -> None:
    source = write(tmp_path / "all.bin", kind, False, [[(float(k), 1.0, {1: 1.0}, {k: 1.0})] for k in range(1, 8)])
    for first, last, wanted in ((1, 3, [1, 2, 3]), (5, None, [5, 6, 7]), (7, 7, [7]), (6, 99, [6, 7])):
        assert convert(source, Wanted(tmp_path / "some.bin", Kind.C_FLOAT, first=first, last=last)) == len(wanted)
        labels = [r.hits[0].labels[0][0] for r in records_of(MilleFile(tmp_path / "some.bin"), 1, None)]
        assert labels == wanted
        assert [record.number for record in records_of(source, first, last)] == wanted
    with pytest.raises(DataError, match="7 records; there is none with number 8"):
        convert(source, Wanted(tmp_path / "none.bin", Kind.C_FLOAT, first=8))
    with pytest.raises(UsageError, match="overwritten"):
        convert(source, Wanted(source.path, Kind.C_FLOAT))


def test_a_file_of_both_precisions_is_counted_and_converted(tmp_path: Path) -> None:
    parts = []
    for kind in (Kind.C_FLOAT, Kind.C_DOUBLE, Kind.C_FLOAT):
        parts.append(write(tmp_path / "part.bin", kind, False, [[(1 / 3, 1.0, {1: 1.0}, {1: 1.0})]] * 2))
        parts[-1:] = [parts[-1].path.read_bytes()]
    (tmp_path / "both.bin").write_bytes(b"".join(parts))
    source = MilleFile(tmp_path / "both.bin")
    assert count_file(source).kinds == {Kind.C_FLOAT: 4, Kind.C_DOUBLE: 2}
    assert convert(source, Wanted(tmp_path / "one.bin", Kind.C_DOUBLE)) == 6
    assert count_file(MilleFile(tmp_path / "one.bin")).kinds == {Kind.C_DOUBLE: 6}
    numbers = [record.byte for record in records_of(source, 1, None)]
    assert [b - a for a, b in pairwise(numbers)] == [44, 44, 64, 64, 44]
