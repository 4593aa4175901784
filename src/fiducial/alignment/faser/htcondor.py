"""What the section ``htcondor`` of an older ``config.json`` asks of HTCondor, for campaigns that DAGMan is given.

The limits of a reconstruction hold wherever it runs, and are read with the rest of the file; these are those of the
fit, and the requirements of all jobs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fiducial.core.errors import ConfigurationError
from fiducial.core.resources import FLAVOURS, parse_size
from fiducial.core.workflow import Step, Workflow

__all__ = ["requirements", "still_needless", "with_fit_limits"]

#: Places in the file that are used here and nowhere else.
_USED = ("htcondor.requirements", "htcondor.millepede")
_NEEDLESS = "not needed any more: "
_FIT = "millepede"


def _section(config: Path | None) -> dict[str, Any]:
    """The section; empty where there is no file, or one without it. That it is JSON was seen before."""
    if config is None:
        return {}
    found = json.loads(config.read_text("utf-8")).get("htcondor", {})
    return found if isinstance(found, dict) else {}


def still_needless(note: str) -> str:
    """A note about places in the file that are not needed, without those that a DAG needs; empty if none is left."""
    head, said, places = note.partition(_NEEDLESS)
    left = [place for place in places.split(", ") if not place.startswith(_USED)]
    return f"{head}{said}{', '.join(left)}" if left or not said else ""


def requirements(config: Path | None) -> dict[str, str]:
    """Which machines will do, by step; "" stands for all.

    Raises:
        ConfigurationError: it is no text.
    """
    found = _section(config).get("requirements")
    if found is None or found == "":
        return {}
    if not isinstance(found, str) or "\n" in found:
        raise _wrong(config, "requirements", "must be an expression of HTCondor in quotes, on one line")
    return {"": found}


def with_fit_limits(workflow: Workflow, config: Path | None) -> Workflow:
    """The workflow with the fit's limits; one that asks for less memory than ours needs is given what ours needs.

    Raises:
        ConfigurationError: a value cannot be taken; names the key.
    """
    section = _section(config).get(_FIT)
    step = workflow.steps.get(_FIT)
    if not isinstance(section, dict) or step is None:
        return workflow
    steps = {**workflow.steps, _FIT: _limited(step, section, config)}
    return workflow.model_copy(update={"steps": steps})


def _limited(step: Step, section: Mapping[str, Any], config: Path | None) -> Step:
    found: dict[str, Any] = {}
    for key, name, unit in (("request_memory", "memory", "MB"), ("request_disk", "disk", "KB")):
        if section.get(key) is not None:
            found[name] = _size(section[key], unit, f"{_FIT}.{key}", config)
    if section.get("request_cpus") is not None:
        found["cpus"] = _count(section["request_cpus"], 1, f"{_FIT}.request_cpus", config)
    if section.get("job_flavour") is not None:
        found["flavour"] = _flavour(section["job_flavour"], config)
    if step.resources.memory:
        found["memory"] = max(found.get("memory", 0), step.resources.memory)
    resources = step.resources.model_copy(update=found)
    if section.get("max_retries") is None:
        return step.model_copy(update={"resources": resources})
    most = _count(section["max_retries"], 0, f"{_FIT}.max_retries", config)
    return step.model_copy(update={"resources": resources, "retry": step.retry.model_copy(update={"max": most})})


def _size(value: Any, unit: str, key: str, config: Path | None) -> int:
    """HTCondor counts memory without a unit in MB and disk in KB."""
    text = str(value).strip()
    try:
        return int(parse_size(f"{text} {unit}" if text.isdecimal() else text))
    except ValueError as error:
        raise _wrong(config, key, str(error)) from None


def _count(value: Any, least: int, key: str, config: Path | None) -> int:
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < least:
        raise _wrong(config, key, f"must be a whole number, {least} at least; here: {json.dumps(value)}")
    return int(value)


def _flavour(value: Any, config: Path | None) -> str:
    if value not in FLAVOURS:
        raise _wrong(config, f"{_FIT}.job_flavour", f"'{value}' is no flavour; known: {', '.join(FLAVOURS)}")
    return str(value)


def _wrong(config: Path | None, key: str, message: str) -> ConfigurationError:
    return ConfigurationError(f"{config}: htcondor.{key}: {message}")
