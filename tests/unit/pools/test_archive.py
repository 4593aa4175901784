"""Where packages come from is read from the machine's own configuration of apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from pools.archive import ArchiveError, Source, is_debian, lines, other_suite, own_source, sources, stanzas

STANZAS = """\
Types: deb deb-src
# a remark
URIs: http://archive.example/debian http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/archive.gpg

Types: deb
URIs: http://other.example/tools
Suites: bookworm
Components: stable
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""
LINES = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/a.gpg] http://archive.example/debian bookworm main  # the archive
deb http://archive.example/debian bookworm-security main contrib
deb-src http://archive.example/debian bookworm main
"""
INLINE = """\
Types: deb
URIs: http://archive.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 bmV2ZXIgbWluZA==
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_stanzas() -> None:
    found = list(stanzas(STANZAS))
    assert len(found) == 4
    assert found[0] == Source("http://archive.example/debian", "bookworm", "main contrib", "/keys/archive.gpg")
    assert {source.suite for source in found} == {"bookworm", "bookworm-updates"}


def test_lines() -> None:
    assert list(lines(LINES)) == [
        Source("http://archive.example/debian", "bookworm", "main", "/keys/a.gpg"),
        Source("http://archive.example/debian", "bookworm-security", "main contrib"),
    ]


def test_a_line_for_apt(tmp_path: Path) -> None:
    assert next(lines(LINES)).line(tmp_path) == (
        "deb [signed-by=/keys/a.gpg] http://archive.example/debian bookworm main\n"
    )


def test_a_key_that_stands_in_the_stanza(tmp_path: Path) -> None:
    line = next(stanzas(INLINE)).line(tmp_path)
    assert f"[signed-by={tmp_path}/archive.asc]" in line
    assert (tmp_path / "archive.asc").read_text() == (
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbmV2ZXIgbWluZA==\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )


def test_all_files_are_read_but_those_put_aside(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb cdrom:[Debian]/ bookworm main\n")
    (tmp_path / "sources.list.d" / "a.list").write_text(LINES)
    (tmp_path / "sources.list.d" / "b.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d" / "c.list.disabled").write_text(LINES)
    assert len(sources(tmp_path)) == 6


def test_the_own_suite_is_that_of_the_release(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('VERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    known = [
        Source("http://other.example", "bookworm", "stable"),
        Source("http://archive.example", "bookworm-updates", "main"),
        Source("http://archive.example", "bookworm", "main"),
    ]
    assert own_source(known, release) == known[2]
    release.write_text('VERSION_CODENAME="forky"\n')
    assert own_source(known, release) == known[1], "a machine may follow a suite by another name"


def test_without_an_archive_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="knows no archive"):
        own_source([], tmp_path / "none")


def test_another_suite_is_looked_for_in_the_same_archive() -> None:
    own = Source("http://archive.example", "bookworm", "main contrib", "/keys/a.gpg")
    assert other_suite(own, "trixie") == Source("http://archive.example", "trixie", "main", "/keys/a.gpg")


def test_only_debian_has_the_other_suites(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    assert not is_debian(release)
    release.write_text("ID=ubuntu\nID_LIKE=debian\n")
    assert not is_debian(release)
    release.write_text("NAME=Debian\nID=debian\n")
    assert is_debian(release)
