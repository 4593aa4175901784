"""Three tiny jobs that tell whether a site is fit for use, and how long it makes one wait."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fiducial.batch.backend import Backend, Event, Finished, Held, JobKey, Lost, Refused, Started
from fiducial.batch.site import Site
from fiducial.core.errors import BackendError
from fiducial.core.rows import FAIL, OK, WARN, Row

__all__ = ["JOBS", "Trial", "judge", "no_use", "try_out"]

JOBS = 3
#: More than this between the clocks of a node and of this machine makes times in the ledger hard to read.
_CLOCK_SECONDS = 5.0
#: Scratch with less room than this is hardly any.
_LEAST_SCRATCH = 2**30
_POLL_SECONDS = 0.5

_UNREACHED = "is its daemon up, and does this machine reach it?"

Reason = TypeVar("Reason", str, tuple[str, str])

# Only what every node's Python knows; what it prints is not needed, for it writes the job's output.
_LOOK = """\
import json, os, platform, shutil, sys, time
scratch = os.environ["FIDUCIAL_SCRATCH"]
facts = {"host": platform.node(), "python": platform.python_version(), "system": platform.platform(),
         "scratch": scratch, "free": shutil.disk_usage(scratch).free, "cpus": len(os.sched_getaffinity(0)),
         "time": time.time(), "user": os.getuid(), "home": os.access(os.path.expanduser("~"), os.R_OK)}
with open(sys.argv[1], "w") as file:
    json.dump(facts, file)
"""


@dataclass
class Trial:
    """What was seen of the jobs, in seconds since they were handed over.

    Attributes:
        submitted: how long the batch system took to take them.
        started: when their payloads began, of those that told.
        told: when we knew that they ended.
        results: the runners' verdicts.
        facts: what the jobs found on their nodes.
        problems: why jobs are held, lost or refused.
        skew: how much later than ours the nodes' clocks are, as far as can be seen.
    """

    submitted: float = 0.0
    started: dict[int, float] = field(default_factory=dict)
    told: dict[int, float] = field(default_factory=dict)
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    skew: float = 0.0
    trouble: str = ""


def try_out(
    backend: Backend, site: Site, folder: Path, *, patience: float, progress: Callable[[str], None] = lambda words: None
) -> Trial:
    """Run the jobs, and stop them where they take longer than our patience.

    Args:
        backend: of the site.
        site: to be tried.
        folder: for the jobs' files; the nodes must see it.
        patience: seconds.
        progress: told how far it is.

    Raises:
        BackendError: the batch system cannot be used at all.
    """
    trial, begin = Trial(), time.time()
    ledger = str(uuid.uuid4())
    keys = {(number, 1) for number in range(1, JOBS + 1)}
    backend.submit([_spec(site, ledger, folder, *key) for key in sorted(keys)])
    trial.submitted = time.time() - begin
    while len(trial.told) < JOBS and time.time() - begin < patience:
        _take(trial, backend.poll(_POLL_SECONDS), begin, folder)
        trial.trouble = backend.trouble
        progress(_how_far(trial))
    _give_up(trial, backend, keys, folder)
    return trial


def _spec(site: Site, ledger: str, folder: Path, job: int, attempt: int) -> dict[str, Any]:
    return {
        "format": 1,
        "ledger": ledger,
        "job": job,
        "attempt": attempt,
        "name": f"site-test/test/00/{job}",
        "script": _LOOK,
        "interpreter": [site.python],
        "arguments": [f"facts.{job}.json"],
        "environment": {},
        "environment_script": None,
        "directory": str(folder / f"{job}.{attempt}"),
        "scratch": None,
        "keep_scratch": "never",
        "inputs": [],
        "outputs": [{"key": "facts", "path": str(folder / f"facts.{job}.json"), "name": f"facts.{job}.json"}],
        "metrics": None,
        "required_metrics": [],
        "resources": {"cpus": 1, "memory": None},
        "limits": {"wall_time": 120.0},
        "grace": 5.0,
    }


def _take(trial: Trial, events: list[Event], begin: float, folder: Path) -> None:
    now = time.time() - begin
    for event in events:
        match event:
            case Started():
                trial.started.setdefault(event.job, now)
            case Held() | Lost() | Refused():
                trial.problems[event.job] = event.reason
        if isinstance(event, Finished):
            trial.results[event.job] = dict(event.result)
            trial.problems.pop(event.job, None)
            _read_facts(trial, event.job, folder, begin + now)
        if isinstance(event, Finished | Lost | Refused):
            trial.told[event.job] = now


def _read_facts(trial: Trial, job: int, folder: Path, now: float) -> None:
    try:
        facts = json.loads((folder / f"facts.{job}.json").read_bytes())
    except (OSError, ValueError):
        return
    trial.facts[job] = facts
    # A job cannot have run after we heard of its end; how much before cannot be told apart from the way of the news.
    trial.skew = max(trial.skew, facts["time"] - now)


def _how_far(trial: Trial) -> str:
    if trial.trouble:
        return trial.trouble
    held = f"; {next(iter(trial.problems.values()))}" if trial.problems else ""
    return f"{len(trial.told)} of {JOBS} jobs ended, {len(trial.started)} began{held}"


def _give_up(trial: Trial, backend: Backend, keys: set[JobKey], folder: Path) -> None:
    """Leave nothing in the queue."""
    for number, _ in keys:
        if number not in trial.told:
            trial.problems.setdefault(number, "it had not ended when our patience was over")
    if len(trial.told) < JOBS:
        backend.cancel(keys)
    backend.close(kill=True)


def judge(site: Site, trial: Trial) -> Iterator[Row]:
    """What the trial says of the site, with what to mend."""
    refused = sum(result.get("cause") == "refused" for result in trial.results.values())
    if refused < JOBS:
        yield Row(OK, "submission", f"{JOBS - refused} jobs taken in {trial.submitted:.1f} s")
    if trial.trouble:
        yield Row(FAIL, "batch system", trial.trouble, _UNREACHED)
    yield from _judge_ends(trial)
    if trial.facts:
        yield from _judge_nodes(site, trial)


def _judge_ends(trial: Trial) -> Iterator[Row]:
    done = [job for job, result in trial.results.items() if result.get("state") == "done"]
    began = [*trial.started.values(), *(trial.told[job] for job in done)]
    if began:
        first, last = min(began), max(trial.told.values(), default=0.0)
        yield Row(
            OK, "latency", f"the first job began after {first:.1f} s, all were known to have ended after {last:.1f} s"
        )
    failed = {job: result for job, result in sorted(trial.results.items()) if job not in done}
    causes = {job: (str(result.get("cause")), str(result.get("message"))) for job, result in failed.items()}
    for (cause, message), jobs in _together(causes).items():
        advice = _ADVICE.get(cause, "the jobs' logs are in the folder of the test")
        yield Row(FAIL, "jobs", f"{jobs}: {cause}: {message}", advice)
    for reason, jobs in _together(trial.problems).items():
        yield Row(FAIL, "jobs", f"{jobs}: {reason}", "queue, account and requirements of the site may not fit")
    if len(done) == JOBS:
        yield Row(OK, "jobs", f"{JOBS} of {JOBS} done, their outputs proved and seen here")


def _together(said: Mapping[int, Reason]) -> dict[Reason, str]:
    """What was said of jobs, each with the jobs that it was said of."""
    jobs: dict[Reason, list[str]] = {}
    for job, reason in sorted(said.items()):
        jobs.setdefault(reason, []).append(str(job))
    return {reason: f"job{'s' if len(each) > 1 else ''} {', '.join(each)}" for reason, each in jobs.items()}


_ADVICE = {
    "environment": "run the site's environment_script by hand on a node: it must end with success",
    "start": "the site's python (3.6 or later) must be on the nodes, and they must see this folder under the same path",
    "refused": "queue, account, requirements or extra of the site are not to the batch system's liking",
    "publish": "nodes must be able to write into this folder; where they cannot, set shared = false",
    "wall_time": "two minutes were not enough for nothing: are the nodes overloaded?",
}


def _judge_nodes(site: Site, trial: Trial) -> Iterator[Row]:
    facts = list(trial.facts.values())
    hosts = sorted({each["host"] for each in facts})
    yield Row(OK, "nodes", f"{', '.join(hosts)}: {', '.join(sorted({each['system'] for each in facts}))}")
    yield Row(OK, "python", f"{', '.join(sorted({each['python'] for each in facts}))} for {site.python} in a job")
    if site.environment_script:
        yield Row(OK, "environment", f"{site.environment_script} is sourced without an error")
    yield _judge_scratch(site, facts)
    if trial.skew > _CLOCK_SECONDS:
        yield Row(
            WARN, "clocks", f"a node's clock is {trial.skew:.0f} s ahead of ours", "times in the ledger are mixed"
        )
    if not all(each["home"] for each in facts):
        yield Row(WARN, "home", "a node cannot read your home folder", "environment scripts must not need it")


def _judge_scratch(site: Site, facts: list[dict[str, Any]]) -> Row:
    free = statistics.median(each["free"] for each in facts)
    told = f"{facts[0]['scratch']}, {free / 1e9:.1f} GB free"
    if free < _LEAST_SCRATCH:
        return Row(WARN, "scratch", told, "set the site's scratch to a folder with more room")
    if site.scratch is None:
        return Row(OK, "scratch", f"{told}; beside the logs, as the site names no scratch")
    return Row(OK, "scratch", told)


def no_use(site: Site, error: BackendError) -> Row:
    """The row of a site whose batch system cannot be spoken to."""
    way_out = _UNREACHED if error.transient else f"is {site.backend} installed and set up here?"
    return Row(FAIL, "batch system", error.message, error.hint or way_out)
