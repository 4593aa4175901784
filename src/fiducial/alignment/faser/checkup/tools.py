"""Programs that an alignment calls: python, pede, and those of the batch system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from fiducial.alignment.faser.checkup.looks import answer_of
from fiducial.alignment.faser.pede import find_pede
from fiducial.core.rows import FAIL, OK, WARN, Row

__all__ = ["condor_rows", "pede_row", "python_row"]

_SHARED = ("/afs/", "/cvmfs/", "/eos/")
_COMMANDS = ("condor_submit", "condor_submit_dag", "condor_q", "condor_rm")


def python_row(*, elsewhere: bool) -> Row:
    """The Python that runs the fit.

    Args:
        elsewhere: whether it runs on other machines.
    """
    told = f"{sys.executable}, {sys.version.split()[0]}"
    if elsewhere and not sys.executable.startswith(_SHARED):
        mend = "install Fiducial where worker nodes see it, for example in a virtual environment on AFS or EOS"
        return Row(WARN, "python", f"{told}: is it there on worker nodes?", mend)
    return Row(OK, "python", told)


def pede_row(install: Path | None, *, wanted: bool) -> Row:
    """What fits.

    Args:
        install: pede's folder, where one is known.
        wanted: whether it shall fit, and not our own.
    """
    program = None if install is None else find_pede(install)
    if not wanted:
        told = "Fiducial's own" + (f"; {program} would with --with-pede" if program else "")
        return Row(OK, "fit", told)
    if install is None:
        return Row(FAIL, "fit", "pede shall fit, and nothing says where it is", "paths.pede_install in config.json")
    if program is None:
        return Row(FAIL, "fit", f"there is no pede that can be run in {install}", "make pede builds it there")
    return Row(OK, "fit", f"pede: {program}")


def condor_rows() -> Iterator[Row]:
    """HTCondor's commands, and whether its queue answers."""
    version = answer_of(["condor_version"])
    lines = version[1].splitlines() if version else []
    mend = "log in to a machine with HTCondor, such as lxplus, or leave --backend out"
    if not lines:
        yield Row(FAIL, "HTCondor", "there is no condor_version here", mend)
        return
    import shutil

    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        yield Row(FAIL, "HTCondor", f"there is no {', '.join(missing)} here", mend)
        return
    yield Row(OK, "HTCondor", lines[0].strip("$ "))
    answer = answer_of(["condor_q", "-totals"])
    if answer is None or answer[0]:
        last = answer[1].strip().splitlines()[-1:] if answer else []
        yield Row(FAIL, "queue", f"condor_q gives no answer{': ' + last[0][:120] if last else ''}", "condor_q -debug")
    else:
        yield Row(OK, "queue", "condor_q answers")
