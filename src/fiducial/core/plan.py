"""From a workflow and its inputs to groups of jobs. Pure: the only look at the world is the list of files of a glob."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from zlib import crc32

from fiducial.core.errors import UsageError, WorkflowError
from fiducial.core.filerange import parse_range
from fiducial.core.variables import Scope, value_of
from fiducial.core.workflow import Chunks, Fanout, Glob, Step, Workflow

__all__ = [
    "CAMPAIGN_NAMES",
    "JOB_NAMES",
    "SINGLE",
    "Instance",
    "campaign_scope",
    "count",
    "fanout_names",
    "instances",
    "later_names",
]

#: Key of the only job of a step without fan-out.
SINGLE = "all"

#: What the templates of a workflow may use in any place.
CAMPAIGN_NAMES = frozenset({"campaign", "folder", "workflow", "workflow_folder", "python"})

#: What every job's templates may use besides variables and the step's fan-out.
JOB_NAMES = frozenset(
    {"iteration", "step", "job", "attempt", "cpus", "memory_mb", "input", "inputs", "output", "outputs"}
)

_UNSAFE = re.compile(r"[^\w.+=@-]+")
_LONGEST_KEY = 120


@dataclass(frozen=True, slots=True)
class Instance:
    """One job to be: a key that is unique in its group, and what sets it apart from its siblings."""

    key: str
    values: dict[str, Any]


def fanout_names(fanout: Fanout | None) -> frozenset[str]:
    """Names that a fan-out gives to its jobs' templates."""
    if fanout is None:
        return frozenset()
    names: set[str] = set()
    if fanout.files is not None:
        names |= {fanout.name or "file", "stem"}
    if fanout.runs is not None:
        names.add(fanout.name or "run")
    if fanout.chunks is not None:
        names |= {"chunk", "start", "stop"}
    if isinstance(fanout.values, list):
        names |= {key for item in fanout.values if isinstance(item, dict) for key in item}
    if fanout.values is not None:
        names.add(fanout.name or "item")
    return frozenset(names)


def later_names(workflow: Workflow) -> frozenset[str]:
    """Names that only a job of the workflow will know."""
    return JOB_NAMES.union(*(fanout_names(step.fanout) | step.variables.keys() for step in workflow.steps.values()))


def campaign_scope(workflow: Workflow, layers: Iterable[Mapping[str, Any]], names: Mapping[str, Any]) -> Scope:
    """The variables of a campaign.

    Args:
        layers: variables from outside the workflow, the widest first: site, then parent campaign, then campaign.
        names: values that are simply there, such as ``campaign`` and ``folder``.
    """
    site, *narrower = list(layers) or [{}]
    # A variable of a step is set per job; one of the same name in the workflow stays for the other steps.
    own = frozenset().union(*(step.variables.keys() for step in workflow.steps.values()))
    # Before a campaign has its name, variables that refer to it have to wait.
    later = later_names(workflow) - (own & workflow.variables.keys()) | ({"campaign", "folder"} - names.keys())
    return Scope([site, workflow.variables, *narrower], names, later)


def instances(step: Step, context: Mapping[str, Any], where: str) -> Iterator[Instance]:
    """The jobs of a step, one after the other.

    Raises:
        WorkflowError: a fan-out that makes no job, or the same job twice.
    """
    if step.fanout is None:
        yield Instance(SINGLE, {})
        return
    axes = list(_axes(step.fanout, context, where))
    if all(axis.counted for axis in axes):  # such jobs differ, and there are some
        yield from _made(axes)
        return
    seen: set[int] = set()
    empty = True
    for instance in _made(axes):
        empty = False
        # A hash costs a tenth of the memory of the key; a clash of 64 bits in a million keys is not to be met.
        mark = hash(instance.key)
        if mark in seen:
            raise WorkflowError(
                f"{where}: two jobs would have the same name '{instance.key}'",
                hint="give the fan-out values that differ in more than their folder or punctuation",
            )
        seen.add(mark)
        yield instance
    if empty:
        raise WorkflowError(f"{where}: the fan-out makes no job", hint=_why_empty(step.fanout))


def _made(axes: list[_Axis]) -> Iterable[Instance]:
    if len(axes) == 1:
        return axes[0].make()
    return (_joined(parts) for parts in product(*(axis.make() for axis in axes)))


def count(step: Step, context: Mapping[str, Any], where: str) -> int:
    """How many jobs a step has."""
    return sum(1 for _ in instances(step, context, where))


def _why_empty(fanout: Fanout) -> str:
    if isinstance(fanout.files, Glob):
        return f"no file matches '{fanout.files.glob}'"
    return "its list or range is empty"


def _joined(parts: tuple[Instance, ...]) -> Instance:
    values: dict[str, Any] = {}
    for part in parts:
        values |= part.values
    return Instance("-".join(part.key for part in parts), values)


class _Axis(NamedTuple):
    """One direction of a fan-out.

    Args:
        make: its instances, every time from the beginning.
        counted: whether they are the numbers of a range, each with its own name.
    """

    make: Callable[[], Iterator[Instance]]
    counted: bool = False


def _axes(fanout: Fanout, context: Mapping[str, Any], where: str) -> Iterator[_Axis]:
    """One generator of instances for each key of the fan-out; restartable, so nothing is stored."""
    if fanout.runs is not None:
        yield _numbers(value_of(fanout.runs, context, f"{where}.runs"), fanout.name or "run", 6, f"{where}.runs")
    if fanout.files is not None:
        yield _files(fanout.files, fanout.name or "file", context, f"{where}.files")
    if fanout.chunks is not None:
        yield _chunks(fanout.chunks, context, f"{where}.chunks")
    if fanout.values is not None:
        yield _values(value_of(fanout.values, context, f"{where}.list"), fanout.name or "item", f"{where}.list")


def _files(files: Any, name: str, context: Mapping[str, Any], where: str) -> _Axis:
    if isinstance(files, Glob):
        pattern = str(value_of(files.glob, context, where))
        if not Path(pattern).is_absolute():
            pattern = str(Path(str(context.get("workflow_folder", "."))) / pattern)
        return _paths(sorted(glob.glob(pattern, recursive=True)), name)  # noqa: PTH207 - Path.glob takes no absolute pattern
    value = value_of(files, context, where)
    if isinstance(value, list) and not all(isinstance(item, int) or str(item).isdigit() for item in value):
        return _paths([str(value_of(item, context, where)) for item in value], name)
    return _numbers(value, name, 5, where)


def _paths(paths: list[str], name: str) -> _Axis:
    def make() -> Iterator[Instance]:
        for path in paths:
            stem = PurePath(path).stem
            yield Instance(safe_key(stem), {name: path, "stem": stem})

    return _Axis(make)


def _numbers(value: Any, name: str, width: int, where: str) -> _Axis:
    try:
        numbers = [int(item) for item in value] if isinstance(value, list) else parse_range(value)
    except UsageError as error:
        raise WorkflowError(f"{where}: {error.message}", hint=error.hint) from None
    except (TypeError, ValueError) as error:
        raise WorkflowError(f"{where}: not a list of numbers: {error}") from None

    def make() -> Iterator[Instance]:
        return (Instance(str(number).zfill(width), {name: number}) for number in numbers)

    return _Axis(make, isinstance(numbers, range))


def _chunks(chunks: Chunks, context: Mapping[str, Any], where: str) -> _Axis:
    total = _whole(chunks.total, context, f"{where}.total")
    if chunks.count is not None:
        count = _whole(chunks.count, context, f"{where}.count")
        return _Axis(lambda: _parts((total * part // count, total * (part + 1) // count) for part in range(count)))
    size = _whole(chunks.size, context, f"{where}.size")
    return _Axis(lambda: _parts((start, min(start + size, total)) for start in range(0, total, size)))


def _parts(bounds: Iterable[tuple[int, int]]) -> Iterator[Instance]:
    for chunk, (start, stop) in enumerate((start, stop) for start, stop in bounds if start < stop):
        yield Instance(str(chunk).zfill(5), {"chunk": chunk, "start": start, "stop": stop})


def _whole(value: Any, context: Mapping[str, Any], where: str) -> int:
    filled = value_of(value, context, where)
    try:
        number = int(filled)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise WorkflowError(f"{where}: '{filled}' is not a whole number above 0")
    return number


def _values(values: Any, name: str, where: str) -> _Axis:
    if not isinstance(values, list):
        raise WorkflowError(f"{where}: '{values}' is not a list")

    def make() -> Iterator[Instance]:
        for item in values:
            if isinstance(item, dict):
                yield Instance(safe_key("-".join(str(part) for part in item.values())), {name: item, **item})
            else:
                yield Instance(safe_key(str(item)), {name: item})

    return _Axis(make)


def safe_key(text: str) -> str:
    """A name that can stand in a path; two texts that differ keep different names."""
    key = _UNSAFE.sub("_", text).strip(".") or "_"
    if key == text and len(key) <= _LONGEST_KEY:
        return key
    return f"{key[:_LONGEST_KEY]}-{crc32(text.encode()):08x}"
