"""Calibration, alignment and processing campaigns of physics experiments.

What stands in ``__all__`` is the public interface; everything is imported when it is first used::

    import fiducial

    flow = fiducial.Workflow(
        name="squares",
        steps={"square": fiducial.Step(fanout={"list": [1, 2, 3]}, command=["touch", "{{ output }}"], ...)},
    )
    outcome = fiducial.run(flow)
    assert outcome.done
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiducial.api import Outcome, call, check, load, run
    from fiducial.core.errors import FiducialError
    from fiducial.core.resources import Resources
    from fiducial.core.workflow import (
        After,
        Chunks,
        Fanout,
        Glob,
        Input,
        Iteration,
        Output,
        Retry,
        Step,
        Workflow,
    )

__all__ = [
    "After",
    "Chunks",
    "Fanout",
    "FiducialError",
    "Glob",
    "Input",
    "Iteration",
    "Outcome",
    "Output",
    "Resources",
    "Retry",
    "Step",
    "Workflow",
    "call",
    "check",
    "load",
    "run",
]

_HOME = dict.fromkeys(__all__, "fiducial.core.workflow") | {
    "FiducialError": "fiducial.core.errors",
    "Resources": "fiducial.core.resources",
    **dict.fromkeys(("Outcome", "call", "check", "load", "run"), "fiducial.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fiducial' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
