"""The dialogue of ``fiducial align init`` at a terminal, a pseudo one."""

from __future__ import annotations

import json
import os
import pty
import select
from collections.abc import Sequence
from pathlib import Path

import calypso
from aligning import FIDUCIAL

PATIENCE_S = 30


def talk(folder: Path, answers: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """Answer each question that comes; all that was said, and the exit code."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execv(FIDUCIAL, ["fiducial", "align", "init"])
    said = ""
    for question, answer in answers:
        before = len(said)
        while question not in said[before:] or not said.endswith(": "):
            ready, _, _ = select.select([terminal], [], [], PATIENCE_S)
            assert ready, f"no question '{question}' after:\n{said}"
            said += os.read(terminal, 4096).decode()
        os.write(terminal, f"{answer}\n".encode())
    try:
        while more := os.read(terminal, 4096):
            said += more.decode()
    except OSError:  # so ends a terminal whose process is gone
        pass
    return said, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def dialogue(site: calypso.Site, work: Path) -> list[tuple[str, str]]:
    return [
        ("Calypso's installation", "/nowhere"),
        ("there is no folder /nowhere; take it all the same?", "n"),
        ("Calypso's installation", str(site.calypso)),
        ("folder of pede", ""),
        ("environment script", ""),
        ("folder for logs", str(work)),
        ("folder for data", "/eos-of-nobody/user"),
        ("there is no /eos-of-nobody here (not mounted?); take it all the same?", "y"),
        ("flavour", "longlun"),
        ("'longlun' is no flavour", "workday"),
        ("iterations", "5"),
        ("stations, 3 or 4 [3]", "4"),
        ("data into the folder for data [true]", ""),
        ("ntuples of all iterations", "n"),
        ("constants of all iterations", ""),
        ("own folder at its end", ""),
    ]


def test_each_answer_is_tried_at_once(tmp_path: Path) -> None:
    site = calypso.build(tmp_path / "site")
    said, code = talk(tmp_path, dialogue(site, tmp_path / "work"))
    assert code == 0, said
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["paths"]["calypso_install"] == str(site.calypso)
    assert config["paths"]["eos_output_dir"] == "/eos-of-nobody/user"
    assert config["htcondor"]["job_flavour"] == "workday"
    assert config["alignment"] == {"default_iterations": 5, "default_stations": 4}
    assert config["storage"]["keep_intermediate_root_files"] is False

    # Again: what is there is the default, and it asks before it replaces the file.
    before = (tmp_path / "config.json").read_text()
    again = [(question, "") for question, _ in dialogue(site, tmp_path) if "take it" not in question]
    again = [("Calypso's installation", ""), *again[2:6]]
    again += [("take it all the same?", "y"), ("flavour", "espresso"), *[(q, "") for q in ("iterations", "stations")]]
    again += [("data into", ""), ("ntuples", ""), ("constants", ""), ("own folder", "")]
    said, code = talk(tmp_path, [*again, ("replace it? The old one is kept", "n")])
    assert (code, "nothing was written" in said) == (1, True), said
    assert (tmp_path / "config.json").read_text() == before
    said, code = talk(tmp_path, [*again, ("replace it? The old one is kept", "y")])
    assert (code, "what it was is config.json.old" in said) == (0, True), said
    assert json.loads((tmp_path / "config.json").read_text())["htcondor"]["job_flavour"] == "espresso"
    assert (tmp_path / "config.json.old").read_text() == before
