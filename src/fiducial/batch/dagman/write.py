"""From a plan to a folder that DAGMan can be given: every file, in little memory, however many jobs there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fiducial.batch.dagman import scripts
from fiducial.batch.dagman.dagfile import CONFIG, DagFile, begin_script
from fiducial.batch.dagman.submit import Options, node_submit, plain_submit
from fiducial.batch.planned.nodefile import NodeFile
from fiducial.batch.planned.plan import Group, Plan
from fiducial.batch.planned.summary import NOTIFY
from fiducial.core.errors import FolderError, UsageError
from fiducial.core.places import DAG_PLAN
from fiducial.core.plan import Instance
from fiducial.runner import runner
from fiducial.storage.replace import replace_text, replacing

__all__ = ["Written", "write"]

#: Beyond so many jobs in a group, their logs lie in folders for each thousand: file systems have limits, AFS low ones.
_MANY, _A_PART = 5000, 1000
_TOLD_EVERY = 10_000

_SETTINGS = """\
# DAGMan's own settings for this DAG, see its manual. Lines that are worth a thought:
#DAGMAN_MAX_JOBS_IDLE = 1000
#DAGMAN_MAX_JOBS_SUBMITTED = 0
"""

_LOG = """\
# One log of all nodes, also when a rescue DAG is submitted: fiducial follow reads it.
DAGMAN_DEFAULT_NODE_LOG = @(DAG_DIR)/{dag}.nodes.log
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        folder: the DAG's.
        dag: name of the DAG file in it.
        nodes: how many jobs have a node.
        submits: how many submit descriptions there are.
    """

    folder: Path
    dag: str
    nodes: int
    submits: int


def write(plan: Plan, here: Path, options: Options | None = None, progress: Progress | None = None) -> Written:
    """Write a DAG and all that belongs to it; the DAG file comes last, and appears in one go.

    Args:
        here: the DAG's folder; where it is not the campaign's own, the campaign's is named by its absolute path.
        progress: told from time to time how many nodes are written, and how many there will be.

    Raises:
        WorkflowError: the workflow cannot be a DAG.
        FolderError: the folder holds a DAG that was submitted, or cannot be written.
        UsageError: a name of a folder that a DAG cannot hold.
    """
    writer = _Writer(plan, here, options or Options(), progress)
    try:
        return writer.write()
    except OSError as error:
        raise FolderError(f"cannot write {error.filename or here}: {error.strerror}") from None


class _Writer:
    def __init__(self, plan: Plan, here: Path, options: Options, progress: Progress | None) -> None:
        self.plan, self.here, self.options = plan, here, options
        self.place = "." if plan.folder == here else str(plan.folder)
        self.dag = DagFile(plan, options, self._told)
        self._progress = progress
        self._nodes = self._submits = 0

    def write(self) -> Written:
        self._must_be_fresh()
        groups = [
            *self.dag.once,
            *(group for n in self.dag.iterations() for group in self.plan.groups(n)),
            *self.dag.after,
        ]
        for group in groups:
            _must_be_words(group.folder, group.step)
        self._total = sum(self.plan.total(group.step, group.iteration) for group in self.dag.nodes_of(groups))
        self._around()
        path = self.here / self.plan.dag
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(self.dag.text())
        return Written(self.here, self.plan.dag, self._nodes, self._submits)

    def _must_be_fresh(self) -> None:
        """What was submitted is DAGMan's: its logs and rescue files are about the DAG as it was."""
        begun = [*self.here.glob(f"{self.plan.dag}.dagman.*"), *self.here.glob(f"{self.plan.dag}.rescue*")]
        if begun:
            hint = (
                f"fiducial follow {self.here} shows it; fiducial campaign resume {self.plan.name} submits what is left"
            )
            raise FolderError(f"the DAG in {self.here} was submitted before ({begun[0].name} is there)", hint=hint)

    # ------------------------------------------------------------------------------------------------- around the DAG

    def _around(self) -> None:
        """Everything but the DAG and what belongs to its groups."""
        self.here.mkdir(parents=True, exist_ok=True)
        self._text(DAG_PLAN, self.plan.dump(self.here))
        self._script("runner.py", self._runner())
        self._script("submit.sh", scripts.submit(self.plan))
        if not (self.here / NOTIFY).exists():  # the user's own, once it is there
            self._script(NOTIFY, scripts.notify())
        limit = f"DAGMAN_MAX_JOBS_SUBMITTED = {self.options.most}\n" if self.options.most else ""
        self._text(f"{self.plan.dag}{CONFIG}", _SETTINGS + _LOG.format(dag=self.plan.dag) + limit)
        for iteration in self.dag.iterations():
            for folder in self.plan.layout.folders(iteration):
                (self.here / folder).mkdir(parents=True, exist_ok=True)
            if self.dag.needs_script(iteration):
                path = begin_script(self.plan, iteration)
                self._script(path, scripts.begin(self.plan, iteration, path, self.dag.local_of(iteration)))
            for group in self.dag.local_of(iteration):
                self._text(group.nodes, NodeFile(self.plan, group, self.place).text())
        self._final()

    def _runner(self) -> str:
        """The runner, to be started by the Python that the site wants."""
        first, rest = Path(runner.__file__).read_text("utf-8").split("\n", 1)
        python = self.options.python
        if not python or python == "python3":
            return f"{first}\n{rest}"
        return f"#!{python if python.startswith('/') else f'/usr/bin/env {python}'}\n{rest}"

    def _final(self) -> None:
        sub, final, finish = scripts.FINAL
        groups = self.dag.final_groups()
        comment = [f"The FINAL node of {self.plan.dag}: what comes behind the iterations, if all went well."]
        for group in groups:
            self._text(group.nodes, NodeFile(self.plan, group, self.place).text())
        self._script(final, scripts.final(self.plan, final, groups))
        self._script(finish, scripts.finish(self.plan, finish))
        self._text(sub, plain_submit(comment, final, "$(status) $(retry)", "final", self.options))

    def _text(self, path: str, text: str) -> None:
        replace_text(self.here / path, text)

    def _script(self, path: str, text: str) -> None:
        self._text(path, text)
        (self.here / path).chmod(0o755)

    # --------------------------------------------------------------------------------------------------------- groups

    def _told(self, group: Group) -> Iterator[str]:
        """The lines of a group's jobs; its submit description and node file are written on the way."""
        file = NodeFile(self.plan, group, self.place)
        many = self.plan.total(group.step, group.iteration) > _MANY
        self._text(group.nodes, file.text())
        self._text(group.submit, node_submit(self.plan, group, self.options, parts=many))
        self._submits += 1
        if group.step in self.plan.layout.wrappers:
            path = f"{group.folder}/{self.plan.layout.wrappers[group.step]}"
            self._script(path, scripts.wrapper(self.plan, group, path))
        (self.here / group.logs).mkdir(parents=True, exist_ok=True)
        lines = _Lines(self.here / group.jobs)
        done = self.plan.done.get((group.step, group.iteration), frozenset())
        try:
            for number, instance in enumerate(self.plan.instances(group.step, group.iteration)):
                node, words = group.node(instance.key), _words(file, lines, instance)
                yield f"JOB {node} {group.submit}{' DONE' if instance.key in done else ''}\n"
                part = self._part(group, number) if many else ""
                yield f'VARS {node} key="{instance.key}" values="{words}"{part}\n'
                self._tell()
        finally:
            lines.close()

    def _part(self, group: Group, number: int) -> str:
        part = f"{number // _A_PART:03d}"
        if number % _A_PART == 0:
            (self.here / group.logs / part).mkdir(exist_ok=True)
        return f' part="{part}"'

    def _tell(self) -> None:
        self._nodes += 1
        if self._progress is not None and self._nodes % _TOLD_EVERY == 0:
            self._progress(self._nodes, self._total)


def _words(file: NodeFile, lines: _Lines, instance: Instance) -> str:
    words = file.words(instance)
    return f"--at {lines.add(file.line(instance))}" if words is None else words


class _Lines:
    """A file of lines, which is there only if there is any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        path.unlink(missing_ok=True)

    def add(self, line: str) -> int:
        """Write a line; where in the file it begins."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        place = self._file.tell()
        self._file.write(line.encode("utf-8"))
        return place

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _must_be_words(*names: str) -> None:
    """DAG files and submit descriptions know no quoting that holds everywhere."""
    for name in names:
        if re.search(r"[\s\"'\\$()]", name) or name.startswith(("/", "-")) or ".." in name.split("/"):
            raise UsageError(
                f"the folder '{name}' cannot stand in a DAG", hint="take one without blanks, quotes, $ and parentheses"
            )
