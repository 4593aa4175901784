"""All that is looked at before an alignment begins, in the order in which one would mend it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fiducial.alignment.faser import premises
from fiducial.alignment.faser.campaign import Plan, data_folder, plan
from fiducial.alignment.faser.checkup import tools
from fiducial.alignment.faser.checkup.looks import looked
from fiducial.alignment.faser.checkup.space import AFS, EOS, Needed, folder_rows, kind_of
from fiducial.alignment.faser.checkup.tickets import ticket_rows
from fiducial.alignment.faser.daemon import find_daemons
from fiducial.alignment.faser.environment import files_of
from fiducial.alignment.faser.overwriting import is_claimed, refuse_to_overwrite
from fiducial.alignment.faser.request import Request, Storage
from fiducial.alignment.faser.takeover.decide import decide
from fiducial.core.errors import FiducialError
from fiducial.core.filerange import parse_range
from fiducial.core.rows import FAIL, OK, WARN, Row
from fiducial.ledger.database import NETWORK_FILESYSTEMS, filesystem_of

__all__ = ["check_everything"]

#: Batch systems whose commands are HTCondor's.
_OF_CONDOR = ("dagman", "htcondor")
#: Stands in where no run was said, so that all else can be looked at.
_ANY = Request(year=2023, run=0, files=range(1))
_OF_THE_RUN = "raw files"


def check_everything(request: Request, *, backend: str, ledger: str, pede: str | None) -> Iterator[Row]:
    """Look at everything, whatever fails on the way.

    Args:
        request: what would be aligned; year, run and files may be missing.
        backend: name of the batch system.
        ledger: URL of the ledger's database.
        pede: of the setting ``alignment.pede``.

    Raises:
        UsageError: the request can never work.
        ConfigurationError: likewise.
    """
    complete = None not in (request.year, request.run, request.files)
    planned = plan(request.over(_ANY), simulate=False)
    yield from _said(request, planned, complete)
    yield _calypso(request, planned)
    for what, look in premises.inputs(planned):
        if what == "pede":
            continue
        if what != _OF_THE_RUN or complete:
            yield looked(what, look, _fine(what, planned))
    yield _fit(request, pede)
    yield from _places(planned, complete)
    yield _ledger(ledger)
    yield tools.python_row(elsewhere=backend != "local")
    if backend in _OF_CONDOR:
        yield from tools.condor_rows()
    yield from _daemons(planned)


def _said(request: Request, planned: Plan, complete: bool) -> Iterator[Row]:
    config = f"{request.config}" if request.config else "none; options say all"
    notes = "; ".join(note.removeprefix(f"{request.config}: ") for note in request.notes)
    yield Row(WARN if "not known" in notes else OK, "config.json", f"{config}{': ' + notes if notes else ''}")
    if not complete:
        yield Row(WARN, "run", "not said, so raw files and folders are not looked at", "-y, -r and -f say which")
        return
    variables, most = planned.source.workflow.variables, planned.prepared.max_iterations
    what = f"{planned.prepared.name}: {variables['stations']} stations, recipe {planned.recipe}, {most} iterations"
    yield Row(OK, "alignment", what)


def _calypso(request: Request, planned: Plan) -> Row:
    if request.calypso is None:
        script = planned.script.path if planned.script else ""
        return Row(OK, "Calypso", f"as {script} sets it up; nothing else was said of it")
    missing = [str(file) for file in files_of(request.calypso) if not file.is_file()]
    if missing:
        return Row(FAIL, "Calypso", f"there is no {missing[0]}", "--calypso_path names the folder with setup.sh in it")
    return Row(OK, "Calypso", str(files_of(request.calypso)[1]))


def _fine(what: str, planned: Plan) -> str:
    """What is told of an input that is as it should be."""
    variables: Any = planned.source.workflow.variables
    if what == _OF_THE_RUN:
        folder = f"{variables['raw']}/{variables['year']:04d}/{variables['run']:06d}"
        return f"all {len(parse_range(variables['files']))} are in {folder}"
    if what == "environment script" and planned.script is not None:
        return planned.script.note or f"{planned.script.path}"
    told = {
        "constants": variables["initial_constants"],
        "recipe": planned.recipe,
        "FASER's scripts": variables.get("source"),
        "database": variables.get("database"),
    }
    return str(told.get(what, "fine"))


def _fit(request: Request, pede: str | None) -> Row:
    if pede and not request.with_pede:
        return Row(OK, "fit", f"pede: {pede}, by the setting alignment.pede")
    return tools.pede_row(request.pede.install if request.pede else None, wanted=bool(request.with_pede))


def _places(planned: Plan, complete: bool) -> Iterator[Row]:
    """The folders, with room for what this alignment writes, and what lies there already."""
    variables: Any = planned.source.workflow.variables
    folder, data = planned.prepared.folder, data_folder(planned)
    needed = Needed.of(
        len(parse_range(variables["files"])),
        planned.prepared.max_iterations,
        keep_ntuples=(planned.request.storage or Storage()).keep_ntuples,
        keep_records=bool(variables["keep_records"]),
    )
    if not complete:
        folder, data, needed = folder.parent, data.parent if data else None, Needed(0, 0)
    kinds = {kind_of(folder)}
    yield from folder_rows(
        "work folder", folder, needed.small if data else needed.small + needed.large, kind_of(folder)
    )
    if data is not None:
        kinds.add(kind_of(data))
        yield from folder_rows("data folder", data, needed.large, kind_of(data))
    source = Path(str(variables["source"]))
    kinds.add(kind_of(source))
    yield from ticket_rows(kinds & {AFS, EOS})
    if complete:
        yield _state(planned)


def _state(planned: Plan) -> Row:
    """What lies in the campaign's folder already."""
    if is_claimed(planned.prepared.folder):
        return Row(OK, "state", "was begun by fiducial align: the same command goes on with it")
    try:
        decision = decide(planned)
        if decision is not None:
            return Row(WARN, "state", "; ".join(decision.told), "fiducial align … --continue goes on with it")
        refuse_to_overwrite(planned)
    except FiducialError as error:
        return Row(FAIL, "state", error.message, error.hint)
    return Row(OK, "state", "nothing is there yet")


def _ledger(url: str) -> Row:
    scheme, _, place = url.partition(":///")
    if scheme != "sqlite":
        return Row(OK, "ledger", url.rpartition("@")[2])
    kind = filesystem_of(Path(place).parent)
    if kind in NETWORK_FILESYSTEMS:
        mend = "export FIDUCIAL_LEDGER=/path/on/a/local/disk/ledger.db"
        return Row(
            FAIL, "ledger", f"{place} would lie on a network file system ({kind}), which holds no database", mend
        )
    return Row(OK, "ledger", place)


def _daemons(planned: Plan) -> Iterator[Row]:
    """The daemon of old: in this very folder it is in the way."""
    folders = [planned.prepared.folder, *filter(None, [data_folder(planned)])]
    found = find_daemons({Path.cwd(), *(folder.parent for folder in folders)})
    for daemon in found:
        yield Row(FAIL if daemon.works_in(folders) else WARN, "older daemon", daemon.told, daemon.stop)
    if not found:
        yield Row(OK, "older daemon", "none of yours runs on this machine, and no log of it grows here")
