"""A bundle as a submit description. Pure.

Commands: HTCondor manual, ``condor_submit``; CERN's additions: https://batchdocs.web.cern.ch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.htcondor.states import TOKEN
from fiducial.batch.queue.system import Bundle, Request
from fiducial.core.resources import FLAVOURS

__all__ = ["BACK", "CARRY", "LOG", "flavour", "submit_description"]

#: In a bundle's folder: the event log, what nodes send back, and the script that starts a job far from that folder.
LOG = "events.log"
BACK = "back"
CARRY = "carry"

#: So much more than a flavour grants may be asked for: our watchdog speaks first in nearly all cases.
_FLAVOUR_MARGIN = 120.0


def submit_description(bundle: Bundle, site: HTCondorSite, carried: Iterable[Iterable[str]] = ()) -> str:
    """The submit description of a bundle.

    Args:
        carried: for each place, names of files in the bundle's folder that its job needs on a node that does not see
            them.
    """
    parts = [_what(bundle), _resources(bundle.request, site)]
    parts.append(_shared(bundle, site) if site.shared else _moved(bundle, site))
    if not site.spools:
        parts.append([f"log = {_value(bundle.folder / LOG)}"])
    parts.append(list(bundle.request.wishes.extra))
    parts.append([_queue(len(bundle.keys))] if site.shared else _queue_with_files(carried))
    return "\n".join(line for lines in parts for line in lines) + "\n"


def _what(bundle: Bundle) -> list[str]:
    return [
        f"# {_line(bundle.title)}: {len(bundle.keys)} jobs",
        "universe = vanilla",
        f"batch_name = {_value(bundle.title)}",
        f'MY.{TOKEN} = "{bundle.token}"',
        "notification = never",
        # A job is tried again by us, who know why it failed.
        "max_retries = 0",
    ]


def _resources(request: Request, site: HTCondorSite) -> list[str]:
    wishes = request.wishes
    lines = [f"request_cpus = {request.cpus}"]
    if request.memory:
        lines.append(f"request_memory = {math.ceil(request.memory / 2**20)}MB")
    if request.disk:
        lines.append(f"request_disk = {math.ceil(request.disk / 2**10)}KB")
    name = flavour(wishes.queue, request.walltime)
    if name:
        lines.append(f'MY.JobFlavour = "{_quoted(name)}"')
    elif request.walltime:
        lines.append(f"MY.MaxRuntime = {math.ceil(request.walltime)}")
    if wishes.account:
        lines.append(f"accounting_group = {_value(wishes.account)}")
    if wishes.requirements:
        lines.append(f"requirements = {_line(wishes.requirements)}")
    if site.send_credential:
        lines.append("MY.SendCredential = True")
    return lines


def flavour(wanted: str | None, walltime: float | None) -> str | None:
    """The job flavour to ask for: the one that is wanted, or the next that lasts as long as the job may.

    Args:
        wanted: a flavour's name; those of CERN are known by their lengths.
        walltime: seconds that are needed.

    Returns:
        None if there is none that is long enough: then the time itself is asked for.
    """
    if wanted not in FLAVOURS or not walltime:
        return wanted
    longer = [name for name, seconds in FLAVOURS.items() if seconds >= FLAVOURS[wanted]]
    return next((name for name in longer if FLAVOURS[name] + _FLAVOUR_MARGIN >= walltime), None)


def _shared(bundle: Bundle, site: HTCondorSite) -> list[str]:
    lines = [
        f"executable = {_value(bundle.start)}",
        "arguments = $INT(Place)",
        f"initialdir = {_value(bundle.folder)}",
        "error = logs/$INT(Place).txt",
    ]
    if not site.spools:
        return [*lines, "should_transfer_files = NO"]
    # The script goes with the job, and finds all else in the folder that it names.
    return [
        *lines,
        "should_transfer_files = YES",
        "when_to_transfer_output = ON_EXIT",
        'transfer_output_files = ""',
        "leave_in_queue = False",
    ]


def _moved(bundle: Bundle, site: HTCondorSite) -> list[str]:
    lines = [
        f"executable = {_value(bundle.folder / CARRY)}",
        "arguments = $INT(Place)",
        f"initialdir = {_value(bundle.folder)}/{BACK}/$INT(Place)",
        "error = start.txt",
        "should_transfer_files = YES",
        "when_to_transfer_output = ON_EXIT",
        "transfer_input_files = $(Files)",
        "transfer_output_files = attempt",
    ]
    if site.output_destination:
        lines += [
            f"output_destination = {_value(site.output_destination.rstrip('/'))}/{bundle.token}/$INT(Place)/",
            "MY.XRDCP_CREATE_DIR = True",
        ]
    return lines


def _queue(count: int) -> str:
    return f"Place = $(Process) + 1\nqueue {count}"


def _queue_with_files(carried: Iterable[Iterable[str]]) -> list[str]:
    rows = [",".join(name if name.startswith("/") else f"../../{name}" for name in names) for names in carried]
    return ["Place = $(Process) + 1", "queue Files from (", *rows, ")"]


def _line(text: str) -> str:
    """Text that stays on its line."""
    return " ".join(text.split())


def _value(text: str | Path) -> str:
    """A value that is taken as it is: no macro is looked for in it."""
    return _line(str(text)).replace("$", "$(DOLLAR)") if not isinstance(text, Path) else _path(text)


def _path(path: Path) -> str:
    return str(path).replace("$", "$(DOLLAR)")


def _quoted(text: str) -> str:
    return _value(text).replace("\\", "\\\\").replace('"', '\\"')
