"""Files that appear under their names only when they are complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiducial.storage.replace import replace_bytes, replace_text, replacing


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "constants.txt"
    replace_text(path, "first")
    replace_text(path, "µ")
    assert path.read_bytes() == "µ".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "iter01" / "3millepede" / "summary.json"
    replace_bytes(path, b"{}")
    assert path.read_bytes() == b"{}"


def test_nothing_is_seen_before_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename within one folder is one step, whatever is mounted where
    assert path.read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("half of it, then µ", encoding="ascii")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_body_that_writes_nothing_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert not path.exists()
