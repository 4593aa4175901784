"""Data files are read window by window, and what happens to one meanwhile is an error, not a crash."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from fiducial.alignment.mille.inspect import is_fortran
from fiducial.alignment.mille.windows import open_windows
from fiducial.core.errors import DataError

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(gzip.compress(CONTENT) if request.param else CONTENT)
    return path


def test_windows_join_to_the_file(path: Path) -> None:
    with open_windows(path) as windows:
        first = windows.at(0, 1000)
        assert (bytes(first.data), first.last, first.broken) == (CONTENT[:1000], False, "")
        assert bytes(windows.at(600, 2000).data) == CONTENT[600:2600]
        rest = windows.at(2600, len(CONTENT))
        assert (bytes(rest.data), rest.last) == (CONTENT[2600:], True)
        assert len(windows.at(len(CONTENT), 10).data) == 0


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def write_over(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [cut, append, write_over])
def test_a_change_meanwhile_is_an_error(path: Path, change: object) -> None:
    with open_windows(path) as windows:
        windows.at(0, 100)
        change(path)  # type: ignore[operator]
        with pytest.raises(DataError, match=r"data\.bin: it was changed while it was being read"):
            windows.at(100, 100)


def test_packed_data_that_break_off_are_given_out_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    noise = bytes(os.urandom(50_000))
    path.write_bytes(gzip.compress(noise)[:30_000])
    with open_windows(path) as windows:
        window = windows.at(0, 100_000)
    assert window.last
    assert window.broken
    assert len(window.data) > 20_000
    assert noise.startswith(bytes(window.data))


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is a pipe or a device") as caught, open_windows(tmp_path / "pipe"):
        pass
    assert "write it to a file first" in caught.value.hint


def test_the_kind_of_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """To open a pipe that nobody writes into takes for ever, so it is asked for in a thread that may stay behind."""
    os.mkfifo(tmp_path / "pipe")
    found: list[bool] = []
    asking = threading.Thread(target=lambda: found.append(is_fortran(tmp_path / "pipe")), daemon=True)
    asking.start()
    asking.join(10)
    assert found == [False]
