"""Where an alignment's files lie and how long they stay: what its workflow has by ``storage`` of ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fiducial.alignment.faser.request import Request, Storage, plain

__all__ = ["more_steps", "packaged_text", "values"]

#: Lays out the constants of an iteration, and then joins the folders in which it will lie.
_COPY_AND_GO_ON = 'cp -- "$1" "$2" && shift 2 && exec "$@"'
_JOIN = (
    *("{{ python }}", "-m", "fiducial", "alignment", "join", "{{ folder }}", "{{ data_folder }}", "{{ iter }}"),
    *("--ntuples", "{{ ntuple_folder }}", "--fit", "{{ fit_folder }}", "--begin"),
)


def packaged_text(name: str) -> str:
    """A workflow, or a part of one, that comes with the package."""
    return (files("fiducial.alignment") / "workflows" / name).read_text("utf-8")


def more_steps(request: Request) -> str:
    """Text of the steps that join two folders and that clean up, as far as they are asked for."""
    text = packaged_text("faser-join.toml") if request.data is not None else ""
    return text if all(_kept(request).values()) else text + packaged_text("faser-tidy.toml")


def values(request: Request, data: Path | None) -> dict[str, Any]:
    """What a workflow has otherwise than the packaged one, by dotted place.

    Args:
        data: the folder for large files; None where they lie in the campaign's.

    Raises:
        UsageError: the folder looks like a template.
    """
    found: dict[str, Any] = {f"steps.tidy.variables.{name}": False for name, kept in _kept(request).items() if not kept}
    if (request.storage or Storage()).keep_scratch:
        found["steps.reco.keep_scratch"] = "always"
    if data is not None:
        found["variables.data_folder"] = plain(data, "the folder for data")
        copy = ["bash", "-c", _COPY_AND_GO_ON, "constants", "{{ inputs.constants }}", "{{ outputs.constants }}"]
        found["steps.constants.command"] = [*copy, *_JOIN]
    return found


def _kept(request: Request) -> Mapping[str, bool]:
    """What stays of all iterations, by the variable that says so."""
    said = request.storage or Storage()
    return {"keep_ntuples": said.keep_ntuples, "keep_constants": said.keep_constants}
