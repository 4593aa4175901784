"""What lies where an alignment would write, and is not its own: above all the alignment that older scripts made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fiducial.alignment.faser.campaign import CONFIG, FILE, Plan
from fiducial.alignment.faser.layout import Iteration, every_iteration, scope_of
from fiducial.alignment.faser.once import Once
from fiducial.alignment.tracker.raw import raw_path
from fiducial.core.errors import FolderError
from fiducial.core.variables import render

__all__ = ["TAKEN", "is_claimed", "keeps_its_config", "refuse_to_overwrite", "refuse_to_overwrite_iteration"]


#: In a campaign's own folder, what it took over from older scripts.
TAKEN = "taken.json"


def is_claimed(folder: Path) -> bool:
    """Whether a folder is a campaign's own; which one's is seen when it begins."""
    return (folder / ".fiducial" / "campaign.json").exists()


def _was_claimed(folder: Path) -> bool:
    """Whether it is, or was before that campaign was put aside so that the same work can begin anew.

    One that had gone on with what others made cannot begin anew where that lies.
    """
    own = any(folder.glob(".fiducial*/campaign.json"))
    return own and (is_claimed(folder) or not any(folder.glob(f".fiducial*/{TAKEN}")))


def keeps_its_config(folder: Path) -> bool:
    """Whether the configuration in a campaign's folder is that of the older scripts with which it goes on."""
    return (folder / ".fiducial" / TAKEN).is_file() and (folder / CONFIG).is_file()


def refuse_to_overwrite(plan: Plan, *, taken_over: bool = False) -> None:
    """Before a campaign of all iterations begins in a folder that is no campaign's yet.

    Args:
        taken_over: whether it goes on with the iterations that lie there.

    Raises:
        FolderError: it holds something that the campaign would overwrite; names it.
    """
    folder = plan.prepared.folder
    if _was_claimed(folder):
        return
    iterations = [iteration for iteration in every_iteration(plan.prepared) if _holds_something(iteration.folder)]
    files = [path for path in _written_once(plan) if path.exists()]
    if taken_over:
        iterations, files = [], [path for path in files if path.name != CONFIG]
    found = [*(iteration.folder for iteration in iterations), *files, *_raw_files(plan)]
    _refuse(folder, found, iterations, can_go_on=bool(iterations) and plan.script is not None)


def refuse_to_overwrite_iteration(plan: Plan, once: Once) -> None:
    """Before one iteration begins in a folder that is no campaign's yet; the iterations before may be anybody's.

    Raises:
        FolderError: it holds something, or the raw files that it would simulate are there; names it.
    """
    folder = once.iteration.folder
    if _was_claimed(folder):
        return
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    others = list(every_iteration(once.whole.prepared))
    raw = () if any(_was_claimed(other.folder) for other in others) else _raw_files(plan)
    _refuse(once.base, [*found, *raw], others)


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _written_once(plan: Plan) -> Iterator[Path]:
    """Files that a campaign has one of, and not one an iteration."""
    folder, scope = plan.prepared.folder, scope_of(plan.prepared)
    yield folder / FILE
    config = plan.request.config
    if config is not None and _differs(config, folder / CONFIG):
        yield folder / CONFIG
    for name, step in plan.prepared.workflow.steps.items():
        if not step.iterate and step.fanout is None:
            for key, output in step.outputs.items():
                yield folder / render(output.path, scope.context({}), f"steps.{name}.outputs.{key}")


def _differs(config: Path, copy: Path) -> bool:
    return copy.is_file() and copy.read_bytes() != config.read_bytes()


def _raw_files(plan: Plan) -> list[Path]:
    """Raw files that a simulation would write over: the first of them."""
    if plan.script is not None:
        return []
    folder, request = Path(str(scope_of(plan.prepared).known["raw"])), plan.request
    if request.year is None or request.run is None:
        return []
    paths = (raw_path(folder, request.year, request.run, file) for file in request.files or ())
    return [path for path in paths if path.exists()][:1]


def _refuse(folder: Path, found: list[Path], iterations: Iterable[Iteration], *, can_go_on: bool = False) -> None:
    if not found:
        return
    hint = "--folder NAME begins the alignment in another folder"
    if can_go_on:
        hint = f"--continue goes on with it where it stopped, --continue --dry-run says where that is; {hint}"
    results = [iteration.constants for iteration in iterations if iteration.constants.is_file()]
    if results:
        hint += f"; with --constants {results[-1]} as well, it goes on from the one that is here"
    names = [str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in found]
    raise FolderError(f"{folder} holds what fiducial align has not made and would overwrite: {_some(names)}", hint=hint)


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
