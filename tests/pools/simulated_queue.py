"""What the simulated batch systems share: a server process with a queue, slots, holds, limits and faults.

This is no PBS and no LSF. It stands in for them, since neither can be had: jobs are real processes in real limits, the
commands are on PATH, and each dialect answers in the formats that its system documents.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pools.keeper import reap
from pools.pool import Pool
from processes import is_running

HOST = "node1"
TICK_SECONDS = 0.05
PLACE = "<place>"  # in the path of an output
TESTS = Path(__file__).resolve().parents[1]
# Started a hundred times by a test: with as few imports as can be.
CLIENT = """\
#!{python} -ISE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.settimeout(30)
try:
    server.connect({socket!r})
    request = dict(command={command!r}, arguments=sys.argv[1:], cwd=os.getcwd(), environment=dict(os.environ))
    server.sendall(json.dumps(request).encode() + b"\\n")
    answer = json.loads(server.makefile("rb").read())
except (OSError, ValueError):
    answer = dict(code={code}, out="", err={unreachable!r})
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


@dataclass
class Answer:
    """What a command prints, and its exit code."""

    out: str = ""
    err: str = ""
    code: int = 0


@dataclass
class Task:
    """One job, or one element of an array."""

    place: int
    state: str = "queued"  # held, queued, running, ended
    pid: int = 0
    begin: float = 0.0
    end: float = 0.0
    unwanted: bool = False
    code: int | None = None  # as Popen has it: negative for a signal; None if it never ran
    reason: str = ""  # walltime, cput, mem, order
    used: dict[str, float] = field(default_factory=dict)


@dataclass
class Job:
    """One submission."""

    number: int
    name: str
    argv: list[str]
    cwd: str
    environment: dict[str, str]
    array: bool
    output: str  # with PLACE in it
    limits: dict[str, float]
    index_variable: str
    fields: dict[str, str]
    submitted: float
    tasks: dict[int, Task]
    owner: str = field(default_factory=getpass.getuser)


class Queue:
    """The queue, and what is in it; kept in a file, so that a server that starts again knows it."""

    def __init__(self, folder: Path, slots: int, signals: list[tuple[int, float]]) -> None:
        self.folder = folder
        self.slots = slots
        self.signals = signals
        self.jobs: dict[int, Job] = {}
        self.next = 1
        (folder / "run").mkdir(exist_ok=True)
        self.state = folder / "state.json"
        if self.state.exists():
            self.load(json.loads(self.state.read_text()))

    def load(self, content: dict[str, Any]) -> None:
        self.next = content["next"]
        for job in content["jobs"]:
            tasks = {int(place): Task(**task) for place, task in job.pop("tasks").items()}
            self.jobs[job["number"]] = Job(**job, tasks=tasks)

    def save(self) -> None:
        content = {"next": self.next, "jobs": list(self.jobs.values())}
        new = self.state.with_suffix(".new")
        new.write_text(json.dumps(content, default=vars))  # asdict would take ten times as long
        new.rename(self.state)

    def submit(self, places: list[int], **fields: Any) -> Job:
        """Take a submission."""
        job = Job(number=self.next, submitted=time.time(), tasks={place: Task(place) for place in places}, **fields)
        self.jobs[job.number] = job
        self.next += 1
        return job

    def each(self, *states: str) -> Iterator[tuple[Job, Task]]:
        """Tasks in some states."""
        for job in self.jobs.values():
            for task in job.tasks.values():
                if task.state in states:
                    yield job, task

    def tick(self) -> bool:
        """See what has ended, and start what fits; whether anything changed."""
        changed = [self.follow(job, task) for job, task in list(self.each("running"))]
        free = self.slots - sum(1 for _ in self.each("running"))
        for job, task in list(self.each("queued"))[: max(0, free)]:
            self.start(job, task)
            changed.append(True)
        return any(changed)

    def path(self, job: Job, task: Task, what: str) -> Path:
        return self.folder / "run" / f"{job.number}.{task.place}.{what}"

    def start(self, job: Job, task: Task) -> None:
        environment = {**job.environment, job.index_variable: str(task.place), "SIMULATED_JOB": str(job.number)}
        spec = {
            "argv": job.argv,
            "cwd": job.cwd,
            "environment": environment,
            "output": job.output.replace(PLACE, str(task.place)),
            "begun": str(self.path(job, task, "begun")),
            "ended": str(self.path(job, task, "ended")),
            "signals": self.signals,
            **job.limits,
        }
        file = self.path(job, task, "json")
        file.write_text(json.dumps(spec))
        node = subprocess.Popen(
            [sys.executable, "-m", "pools.simulated_node", str(file)],
            env={"PYTHONPATH": str(TESTS)},
            start_new_session=True,
        )
        task.state, task.begin, task.pid = "running", time.time(), node.pid

    def follow(self, job: Job, task: Task) -> bool:
        alive = is_running(task.pid)  # asked first: it writes down its end before it dies
        ended = self.path(job, task, "ended")
        if not ended.exists():
            if not alive:
                task.state, task.end, task.code = "ended", time.time(), -signal.SIGKILL
            elif task.unwanted and self.path(job, task, "begun").exists():
                self.stop(task)
            return not alive
        said = json.loads(ended.read_text())
        task.state, task.end = "ended", said["at"]
        task.code, task.reason, task.used = said["code"], said["reason"], said["used"]
        return True

    def stop(self, task: Task) -> None:
        with suppress(ProcessLookupError):
            os.kill(task.pid, signal.SIGTERM)
        task.unwanted = False

    def delete(self, task: Task) -> None:
        """Take a task out of the queue; one that runs gets signals, and ends a little later."""
        if task.state == "running":
            task.unwanted = True  # it is told as soon as it listens
        elif task.state != "ended":
            task.state, task.end, task.reason = "ended", time.time(), "order"


class Dialect:
    """How one batch system speaks."""

    commands: ClassVar[tuple[str, ...]]
    unreachable: ClassVar[tuple[int, str]]  # exit code and words of a command whose server does not answer
    noise: ClassVar[str] = ""
    signals: ClassVar[list[tuple[int, float]]]

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def answer(self, command: str, arguments: list[str], request: dict[str, Any]) -> Answer:
        """Carry out a command."""
        raise NotImplementedError


class Server:
    """Answers commands one after the other, and lets the queue work in between."""

    def __init__(self, folder: Path, slots: int, dialect: type[Dialect]) -> None:
        self.folder = folder
        self.queue = Queue(folder, slots, dialect.signals)
        self.dialect = dialect(self.queue)
        self.listener = socket.socket(socket.AF_UNIX)
        (folder / "socket").unlink(missing_ok=True)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen(64)

    def serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.listener, selectors.EVENT_READ)
        while True:
            asked = bool(selector.select(TICK_SECONDS))
            if asked:
                self.take(self.listener.accept()[0])
            reap()
            if self.queue.tick() or asked:
                self.queue.save()

    def take(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = json.loads(client.makefile("rb").readline())
            answer = self.answer(request)
            self.queue.save()
            client.sendall(json.dumps(dataclasses.asdict(answer)).encode())

    def answer(self, request: dict[str, Any]) -> Answer:
        """Carry out a request, with the fault that was asked for."""
        faults = self.folder / "faults.json"
        wanted = json.loads(faults.read_text()) if faults.exists() else {}
        code, words = self.dialect.unreachable
        if wanted.get("command") == request["command"]:
            faults.unlink()
            if "refuse" in wanted:
                return Answer(err=wanted["refuse"] + "\n", code=wanted["code"])
            self.dialect.answer(request["command"], request["arguments"], request)  # and its answer is lost
            return Answer(err=words, code=code)
        answer = self.dialect.answer(request["command"], request["arguments"], request)
        return dataclasses.replace(answer, out=self.dialect.noise + answer.out) if wanted.get("noise") else answer


class _Nothing:
    """In place of a prefix: there is nothing to fetch."""

    ready = True
    reason = ""


def places(text: str) -> list[int]:
    """The places in words such as ``1-3,7``."""
    found: list[int] = []
    for word in text.split(","):
        first, _, last = word.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


class SimulatedPool(Pool):
    """A pool whose scheduler is a simulation."""

    scheduler: ClassVar[str] = "server"
    dialect: ClassVar[type[Dialect]]
    probe: ClassVar[tuple[str, ...]]  # a question that the server answers

    @classmethod
    def default_prefix(cls) -> Any:
        return _Nothing()

    def configure(self) -> None:
        (self.folder / "bin").mkdir()
        self.environment = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        code, words = self.dialect.unreachable
        for command in self.dialect.commands:
            path = self.folder / "bin" / command
            socket_path = str(self.folder / "socket")
            text = CLIENT.format(
                python=sys.executable, socket=socket_path, command=command, code=code, unreachable=words
            )
            path.write_text(text)
            path.chmod(0o755)

    def command(self, daemon: str) -> list[str]:
        return [sys.executable, "-m", "pools.simulated_queue", str(self.folder), str(self.slots), self.system]

    def complete_environment(self) -> dict[str, str]:
        return super().complete_environment() | {"PYTHONPATH": str(TESTS)}

    def launch(self) -> None:
        self.start_daemon("server")

    def answers(self) -> bool:
        return self.ask(*self.probe).returncode == 0

    def fault(self, **wanted: Any) -> None:
        """Have the next call of a ``command`` refused (``refuse``, ``code``) or its answer lost, or ``noise`` added."""
        (self.folder / "faults.json").write_text(json.dumps(wanted))

    def quiet(self) -> None:
        """No faults any more."""
        (self.folder / "faults.json").unlink(missing_ok=True)

    def kept(self) -> dict[str, Any]:
        """What the server has written down."""
        content: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return content

    def in_queue(self) -> int:
        """How many jobs have not ended."""
        if not (self.folder / "state.json").exists():
            return 0
        return sum(task["state"] != "ended" for job in self.kept()["jobs"] for task in job["tasks"].values())


def main(folder: str, slots: str, system: str) -> None:
    """Be the server of a simulated system."""
    from pools.simulated_lsf import Lsf
    from pools.simulated_pbs import OpenPbs, Torque

    dialects: dict[str, type[Dialect]] = {"lsf": Lsf, "openpbs": OpenPbs, "torque": Torque}
    Server(Path(folder), int(slots), dialects[system]).serve()


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    main(*sys.argv[1:])
