"""What a user writes: steps, variables, resources, iteration.

These classes are the Python API for building a workflow and, field for field, the TOML file's grammar::

    format = 1
    name = "align"

    [steps.reco]
    fanout = { files = "450-500" }
    command = ["reco", "{{ file | pad(5) }}", "{{ output }}"]
    outputs = ["reco_{{ file | pad(5) }}.root"]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fiducial.core.resources import FLAVOURS, Duration, Resources, Size

__all__ = [
    "After",
    "Chunks",
    "Fanout",
    "Glob",
    "Input",
    "Iteration",
    "Output",
    "Retry",
    "Step",
    "Workflow",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Scalar = str | int | float | bool

#: How often each cause of failure is tried again when the workflow does not say; other causes follow ``Retry.max``.
DEFAULT_RETRIES = {"lost": 5, "input": 0, "spec": 0, "start": 0, "cpu_time": 0, "refused": 0}


class Model(BaseModel):
    """Common ground: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Glob(Model):
    """Files that are there when the campaign is created."""

    glob: str = Field(description="pattern of paths; {{ variables }} allowed")


class Chunks(Model):
    """Equal parts of a number of entries: {{ start }}, {{ stop }} (half open) and {{ chunk }}."""

    total: int | str = Field(description="how many entries there are; a template may compute it")
    size: int | str | None = Field(None, description="entries in a chunk")
    count: int | str | None = Field(None, description="how many chunks, instead of size")

    @model_validator(mode="after")
    def _one_of_size_and_count(self) -> Self:
        if (self.size is None) == (self.count is None):
            raise ValueError("give either size or count")
        return self


class Fanout(Model):
    """Makes many jobs of one step; several keys together make every combination."""

    files: str | int | list[str | int] | Glob | None = Field(
        None, description='half-open range of file numbers "450-500", a list, or { glob = "…" }: gives {{ file }}'
    )
    runs: str | int | list[int | str] | None = Field(
        None, description='half-open range of run numbers "100-110" or a list: gives {{ run }}'
    )
    chunks: Chunks | None = Field(None, description="parts of a number of entries")
    values: list[Scalar | dict[str, Scalar]] | str | None = Field(
        None, alias="list", description="any values: gives {{ item }}, or the keys of tables"
    )
    name: Name | None = Field(None, alias="as", description="another name for {{ file }}, {{ run }} or {{ item }}")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(value is None for value in (self.files, self.runs, self.chunks, self.values)):
            raise ValueError("give at least one of files, runs, chunks, list")
        return self


class After(Model):
    """Which step must be done first: all of it, or, matching, only the job with the same fan-out value."""

    step: Name = Field(description="name of the step")
    matching: bool = Field(False, description="each job waits only for the one with the same fan-out value")


def _after(value: Any) -> Any:
    return {"step": value} if isinstance(value, str) else value


def _list_of(value: Any) -> Any:
    return [value] if isinstance(value, str | dict | After) else value


class Input(Model):
    """A file that a job needs: a path, or what another step published."""

    path: str | None = Field(None, description="path; {{ variables }} allowed, relative to the campaign's folder")
    source: Name | None = Field(None, alias="from", description="take what this step published")
    output: str | None = Field(None, description="which of that step's outputs, where it has several")
    previous: bool = Field(False, description="take it from the iteration before")
    every: bool = Field(False, description="take it from every iteration, in their order")
    initial: str | None = Field(None, description="path to use in the first iteration, with previous = true")
    link: str | None = Field(None, description="name under which it is linked into the job's scratch folder")

    @model_validator(mode="after")
    def _path_or_source(self) -> Self:
        if (self.path is None) == (self.source is None):
            raise ValueError("give either path or from")
        if self.previous and (self.source is None or self.initial is None):
            raise ValueError("previous = true needs from (whose output) and initial (for the first iteration)")
        return self


class Output(Model):
    """A file that a job must make, or files whose names only it knows, and how they are checked before they count."""

    path: str = Field(description="where it is published; {{ variables }} allowed, relative to the campaign's folder")
    files: Annotated[list[str], BeforeValidator(_list_of)] = Field(
        default_factory=list,
        description='patterns of files in the scratch folder, "plots/*.png"; path is then the folder for all of them',
    )
    min_size: Size | Literal[0] = Field(1, description="fewest bytes that it may have")
    check: list[str] | None = Field(
        None, description="command that must exit 0; the word {} stands for the file, which is otherwise appended"
    )
    optional: bool = Field(False, description="the job may do without")
    direct: bool = Field(False, description="the payload writes to path by itself, not into the scratch folder")

    @model_validator(mode="after")
    def _files_in_scratch(self) -> Self:
        if self.files and self.direct:
            raise ValueError("files are looked for in the scratch folder: they do not go with direct = true")
        for pattern in self.files:
            if pattern.startswith("/") or ".." in pattern.split("/") or not pattern:
                raise ValueError(f"files: the pattern '{pattern}' does not stay inside the scratch folder")
        return self


def _by_name(value: Any) -> Any:
    """Accept ``["a", "b"]``, ``["a", {…}]`` or ``{ name = "a" }``; the names default to their places 0, 1, …."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {str(key): {"path": item} if isinstance(item, str) else item for key, item in value.items()}
    return value


class Retry(Model):
    """When and how a job that failed is tried again, by cause.

    Out of memory: again with more. Wall or CPU time: again with longer. Lost: again, elsewhere. Anything else: again as
    it is. Exit codes that are named as final: not again.
    """

    max: int = Field(2, ge=0, description="how often one cause may be tried again")
    by_cause: dict[str, int] = Field(default_factory=dict, description="e.g. { memory = 3, exit = 0, lost = 10 }")
    final_exit_codes: list[int] = Field(default_factory=list, description="exit codes that no retry mends")
    delay: Duration = Field(0.0, description="pause before a retry; doubles with each")
    memory_factor: float = Field(2.0, ge=1, description="after out of memory: so many times the memory")
    memory_max: Size | None = Field(None, description="never ask for more memory than this")
    walltime_factor: float = Field(2.0, ge=1, description="after too long: so many times the wall time")
    walltime_max: Duration | None = Field(None, description="never ask for more wall time than this")

    def allowed(self, cause: str) -> int:
        """How often a failure by ``cause`` may be tried again."""
        return self.by_cause.get(cause, DEFAULT_RETRIES.get(cause, self.max))


class Step(Model):
    """One kind of work: what to run, how many times, after what, with what, making what."""

    description: str = Field("", description="what the step is for")
    command: list[str] | None = Field(None, description="program and arguments; no shell; {{ variables }} allowed")
    script: str | None = Field(None, description="text of a script; {{ variables }} allowed")
    template: str | None = Field(None, description="path of a script template, relative to the workflow file")
    call: str | None = Field(None, description='Python function "module:function" or "path/file.py:function"')
    arguments: list[str] | dict[str, Any] | None = Field(
        None, description="words after the script or template (list), or the call's keyword arguments (table)"
    )
    interpreter: list[str] = Field(default_factory=lambda: ["/bin/bash"], description="what runs script and template")
    fanout: Fanout | None = Field(None, description="makes many jobs of the step")
    after: Annotated[list[Annotated[After, BeforeValidator(_after)]], BeforeValidator(_list_of)] = Field(
        default_factory=list, description="steps that must be done first"
    )
    iterate: bool = Field(False, description="repeat this step in every iteration")
    variables: dict[str, Any] = Field(default_factory=dict, description="variables of this step's jobs alone")
    inputs: Annotated[dict[str, Input], BeforeValidator(_by_name)] = Field(
        default_factory=dict, description="files that each job needs"
    )
    outputs: Annotated[dict[str, Output], BeforeValidator(_by_name)] = Field(
        default_factory=dict, description="files that each job must make"
    )
    metrics: list[str] = Field(default_factory=list, description="numbers that the payload must report")
    resources: Resources = Field(default_factory=lambda: Resources(), description="what one job may use")
    retry: Retry = Field(default_factory=lambda: Retry(), description="when a job that failed is tried again")
    environment: dict[str, str] = Field(default_factory=dict, description="environment variables of the payload")
    environment_script: str | None = Field(None, description="sourced by bash before the payload")
    tolerate: float = Field(0, ge=0, lt=1, description="share of failed jobs with which the campaign still goes on")
    priority: int = Field(0, description="jobs of a higher number go first")
    keep_scratch: Literal["never", "failure", "always"] = Field(
        "never", description="when a job's scratch folder is kept to be looked at"
    )

    @model_validator(mode="after")
    def _one_payload(self) -> Self:
        given = [key for key in ("command", "script", "template", "call") if getattr(self, key) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "none"
            raise ValueError(f"a step runs exactly one of command, script, template, call; here: {said}")
        if self.command == []:
            raise ValueError("command is empty")
        if self.resources.flavour is not None and self.resources.flavour not in FLAVOURS:
            raise ValueError(f"unknown flavour '{self.resources.flavour}'; known: {', '.join(FLAVOURS)}")
        return self

    def output_key(self, wanted: str | None) -> str:
        """The name of the one output that ``wanted`` means; ``None`` means the only or first one."""
        return next(iter(self.outputs)) if wanted is None else wanted


class Iteration(Model):
    """How often the iterated steps are repeated, and when it is enough."""

    max: int | str = Field(10, description="most iterations; a template may compute it")
    until: str | None = Field(None, description="expression over metrics, e.g. fit.max_shift < 0.1")


class Workflow(Model):
    """A whole workflow. Names of steps are the keys of ``steps``, in the order they are written."""

    format: Literal[1] = Field(1, description="version of this file format")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="name of the workflow")
    description: str = Field("", description="what the workflow is for")
    campaign: str = Field("{{ workflow }}", description="name of a campaign; {{ variables }} allowed")
    folder: str = Field("{{ campaign }}", description="folder of a campaign's files, relative to the working folder")
    variables: dict[str, Any] = Field(default_factory=dict, description="values that templates use; a campaign may set")
    environment_script: str | None = Field(None, description="sourced by bash before every payload")
    iteration: Iteration | None = Field(None, description="how often the iterated steps are repeated")
    steps: dict[Name, Step] = Field(min_length=1, description="the steps by name")

    @property
    def iterated(self) -> list[str]:
        """Names of the steps that are repeated in every iteration."""
        return [name for name, step in self.steps.items() if step.iterate]
