"""Every command of the page for users of ``auto_iter.py`` does what the page says, in a folder that it left."""

from __future__ import annotations

from pathlib import Path

from aligning import NAME, align
from docs_console import commands, run_page
from faserpage import home, long_ago
from older import lay_out, made_of

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "from-auto-iter.md").read_text("utf-8")


def test_commands_of_the_page(tmp_path: Path) -> None:
    assert len(commands(PAGE)) > 8
    site, programs = home(tmp_path / "home")
    work = tmp_path / "home" / "faser-alignment-script"
    words = ["-y", "2023", "-r", "11705", "-f", "450-453", "-i", "2", "--all-iterations", "--workers", "2"]
    words += ["--raw", str(site.raw), "--set", f"database={site.database}", "--source", str(work)]
    before = tmp_path / "before"
    before.mkdir()
    align(before, *words, "--calypso_path", str(site.calypso))
    whole = before / NAME
    lay_out(work / NAME, [made_of(whole, 1), made_of(whole, 2, done=False, files=(450, 451))])
    log = work / "auto_iter.log"
    log.write_text("Starting iteration: 2\niter: 2, cluster: 4711, jobs: 3.\n")
    long_ago(log)
    run_page(PAGE, tmp_path / "home", programs)
    assert (work / NAME / "iter01" / "inputforalign.txt").read_bytes() == (
        whole / "iter01" / "inputforalign.txt"
    ).read_bytes()
