"""Whatever is wrong with a Mille file is named with record and byte; nothing else happens."""

from __future__ import annotations

import errno
import gzip
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiducial.alignment.mille.inspect import count_file, is_fortran, records_of
from fiducial.alignment.mille.reader import MilleFile, raw_blocks
from fiducial.alignment.mille.writer import Kind, MilleWriter
from fiducial.core.errors import DataError

KINDS = [Kind.C_FLOAT, Kind.C_DOUBLE, Kind.FORTRAN]
kinds = pytest.mark.parametrize("kind", KINDS)
RECORDS = 3
#: Pairs of a record of `sound`: the first, two measurements with 2 + 1 and 1 + 2 derivatives, special data of 2.
PAIRS = 1 + 5 + 5 + 4
WORDS = {Kind.C_FLOAT: 1 + 2 * PAIRS, Kind.C_DOUBLE: 1 + 3 * PAIRS, Kind.FORTRAN: 3 + 2 * PAIRS}


def sound(path: Path, kind: Kind) -> MilleFile:
    with MilleWriter(path, kind) as writer:
        for _ in range(RECORDS):
            writer.measurement(0.5, 0.1, {1: 1.0, 2: -2.0}, {7: 1.0})
            writer.measurement(-0.5, 0.2, {1: 3.0}, {7: 2.0, 12: 0.25})
            writer.special([(1.5, 0), (-2.5, -9)])
            writer.end_record()
    assert path.stat().st_size == 4 * RECORDS * WORDS[kind]
    return MilleFile(path, kind is Kind.FORTRAN)


def survey(source: MilleFile) -> int:
    """Read a file as the fit does, and count its records."""
    count = 0
    for block in raw_blocks(source):
        block.survey()
        count += len(block.length)
    return count


def place_named(source: MilleFile) -> tuple[int, int]:
    """Record and byte that the complaint about a file names; the fit and the commands name the same."""
    places = set()
    for read in (count_file, survey):
        with pytest.raises(DataError) as caught:
            read(source)
        message = caught.value.message
        found = re.fullmatch(rf"{re.escape(str(source.path))}: record (\d+) at byte (\d+): .+", message)
        assert found, message
        assert caught.value.hint
        places.add((int(found[1]), int(found[2])))
    # Of two faults in one record they may name either.
    (place,) = places
    return place


@kinds
@pytest.mark.parametrize("packed", [False, True])
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 4 * RECORDS * min(WORDS.values()) - 1))
def test_a_file_cut_off_at_any_byte(kind: Kind, packed: bool, tmp_path: Path, cut: int) -> None:
    source = sound(tmp_path / "cut.bin", kind)
    size = 4 * WORDS[kind]
    content = source.path.read_bytes()[:cut]
    source.path.write_bytes(gzip.compress(content, 1) if packed else content)
    if cut % size == 0:  # between two records nobody can see it
        assert count_file(source).records == survey(source) == cut // size
    else:
        assert place_named(source) == (cut // size + 1, cut // size * size)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_compressed_file_cut_off_at_any_byte(tmp_path: Path, data: st.DataObject) -> None:
    source = sound(tmp_path / "cut.bin", Kind.C_FLOAT)
    packed = gzip.compress(source.path.read_bytes(), 1)
    source.path.write_bytes(packed[: data.draw(st.integers(3, len(packed) - 1))])
    record, byte = place_named(source)
    assert byte == (record - 1) * 4 * WORDS[Kind.C_FLOAT]


@kinds
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_an_error_or_another_sound_file(kind: Kind, tmp_path: Path, data: st.DataObject) -> None:
    """A changed number cannot be noticed, but nothing else than a `DataError` may come of it, and it names a record."""
    source = sound(tmp_path / "changed.bin", kind)
    content = bytearray(source.path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    source.path.write_bytes(content)
    try:
        assert count_file(source).records == survey(source)
    except DataError:
        record, byte = place_named(source)
        size = 4 * WORDS[kind]
        before = at // size
        assert byte >= before * size
        assert byte % 4 == 0
        # Where a length became shorter, what is left of the record may pass for others: of two words at least.
        assert before < record <= before + 1 + (byte - before * size) // 8
        for fine in records_of(source, 1, before) if before else ():
            assert fine.fault == ""


def png() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def root() -> bytes:
    return b"root" + (62206).to_bytes(4, "big") + (100).to_bytes(4, "big") + bytes(range(200))


def text() -> bytes:
    return b"Parameter\n11 0.0 -1.0\n" * 20


def tar() -> bytes:
    return b"mp2input.bin" + bytes(500)


def swapped() -> bytes:
    """Records of a machine with the other order of bytes."""
    return np.array([2 * PAIRS, *[0] * (2 * PAIRS)], ">i4").tobytes()


@pytest.mark.parametrize("content", [png, root, text, tar, swapped])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_foreign_file(content: Callable[[], bytes], fortran: bool, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "foreign.bin"
    path.write_bytes(gzip.compress(content()) if packed else content())
    assert place_named(MilleFile(path, fortran)) == (1, 0)
    assert not is_fortran(path)


@kinds
def test_the_wrong_kind_is_noticed_and_the_right_one_named(kind: Kind, tmp_path: Path) -> None:
    source = sound(tmp_path / "kind.bin", kind)
    wrong = MilleFile(source.path, not source.fortran)
    with pytest.raises(DataError, match=r"record .* at byte") as caught:
        count_file(wrong)
    assert ("Cfiles" if wrong.fortran else "fortranfiles") in caught.value.hint
    assert is_fortran(source.path) == source.fortran


def spoil(source: MilleFile, record: int, word: int, value: float) -> None:
    """Change a word of a record, counted from its length word (or first marker)."""
    kind = Kind.FORTRAN if source.fortran else Kind.C_FLOAT
    words = np.fromfile(source.path, "<i4")
    at = (record - 1) * WORDS[kind] + word
    if isinstance(value, float):
        words.view("<f4")[at] = value
    else:
        words[at] = value
    words.tofile(source.path)


NUMBERS, INTEGERS = 1, 1 + PAIRS  # words of a C record
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("record", [1, 2, 3])
@pytest.mark.parametrize(
    ("word", "value", "what"),
    [
        (0, 0, "length word"),
        (0, 2 * PAIRS - 1, "length word"),
        (0, -3, "length word"),
        (0, 2**31 - 2, "ends inside"),
        (0, -(2**31), "ends inside"),
        (NUMBERS + 1, NAN, "not finite"),
        (NUMBERS + 2, INF, "not finite"),
        (NUMBERS + 4, NAN, "not finite"),
        (NUMBERS + 5, -INF, "not finite"),
        (NUMBERS + 4, 0.0, "sigma"),
        (NUMBERS + 4, -1.0, "sigma"),
        (INTEGERS + 5, -7, "not positive"),
        (INTEGERS + 2, -1, "not positive"),
        (INTEGERS + 5, -(2**31), "not positive"),
        (INTEGERS + 1, 4, "does not start with one"),
        (NUMBERS + 12, -400.0, "special data"),
        (NUMBERS + 12, -1e30, "special data"),
        (NUMBERS + 12, -INF, "special data"),
        (NUMBERS + 12, -3.0, "special data"),
    ],
)
def test_a_damaged_record(record: int, word: int, value: float, what: str, tmp_path: Path) -> None:
    source = sound(tmp_path / "damaged.bin", Kind.C_FLOAT)
    spoil(source, record, word, value)
    with pytest.raises(DataError, match=what):
        count_file(source)
    assert place_named(source) == (record, (record - 1) * 4 * WORDS[Kind.C_FLOAT])
    if word:  # where the record's length is right, it can be looked at
        found = list(records_of(source, 1, None))
        assert [each.number for each in found if each.fault] == [record]
        assert what in found[record - 1].fault


def test_a_label_of_zero_is_noticed_because_zeros_separate(tmp_path: Path) -> None:
    source = sound(tmp_path / "zero.bin", Kind.C_FLOAT)
    # What was a label begins a measurement, which has no end.
    spoil(source, 2, INTEGERS + 5, 0)
    assert place_named(source) == (2, 4 * WORDS[Kind.C_FLOAT])


@pytest.mark.parametrize(("word", "value"), [(0, 0), (0, 8), (0, -4), (1, 3), (1, 0), (WORDS[Kind.FORTRAN] - 1, 4)])
@pytest.mark.parametrize("record", [1, 3])
def test_damaged_markers_of_a_fortran_file(record: int, word: int, value: int, tmp_path: Path) -> None:
    source = sound(tmp_path / "markers.bin", Kind.FORTRAN)
    spoil(source, record, word, value)
    assert place_named(source) == (record, (record - 1) * 4 * WORDS[Kind.FORTRAN])


def test_a_compressed_file_with_something_behind_it(tmp_path: Path) -> None:
    source = sound(tmp_path / "behind.bin", Kind.C_FLOAT)
    source.path.write_bytes(gzip.compress(source.path.read_bytes()) + b"something else")
    assert place_named(source) == (4, 12 * WORDS[Kind.C_FLOAT])


def test_two_compressed_files_one_behind_the_other_are_one(tmp_path: Path) -> None:
    source = sound(tmp_path / "both.bin", Kind.C_FLOAT)
    source.path.write_bytes(2 * gzip.compress(source.path.read_bytes()))
    assert count_file(source).records == 2 * RECORDS


@pytest.mark.parametrize("changed", [10, 12, -6, -2])
def test_a_compressed_file_with_wrong_bytes(changed: int, tmp_path: Path) -> None:
    source = sound(tmp_path / "wrong.bin", Kind.C_FLOAT)
    packed = bytearray(gzip.compress(source.path.read_bytes(), 1))
    packed[changed] ^= 0xFF
    source.path.write_bytes(packed)
    assert place_named(source)[0] <= RECORDS + 1
    with pytest.raises((zlib.error, OSError, EOFError)):
        gzip.decompress(bytes(packed))


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)], ids=["plain", "packed"])
@pytest.mark.parametrize("fortran", [False, True])
def test_an_empty_file(content: bytes, fortran: bool, tmp_path: Path) -> None:
    (tmp_path / "empty.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"empty\.bin: is empty"):
        count_file(MilleFile(tmp_path / "empty.bin", fortran))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        count_file(MilleFile(tmp_path))
    assert not is_fortran(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sound(tmp_path / "secret.bin", Kind.C_FLOAT)

    def refuse(path: Path, *_: object) -> None:
        # Root may read everything, so the refusal of the file system is made up.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"secret\.bin: cannot be read: Permission denied"):
        count_file(source)
    assert not is_fortran(source.path)
