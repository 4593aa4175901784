"""A simulated PBS: qsub, qstat, qdel, qhold and qrls in the documented formats of OpenPBS and of Torque."""

from __future__ import annotations

import json
import re
import signal
import time
import xml.etree.ElementTree as ET
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pools.simulated_queue import HOST, PLACE, Answer, Dialect, Job, SimulatedPool, Task, places

SERVER = "pbs.example.org"
QUEUES = ("workq", "long")
NUMBERS = re.compile(r"(\d+)(?:\[([\d,-]*)\])?(?:\..*)?")
UNITS = {"": 1, "b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
#: Exit status by the limit that a job was over, and substates of jobs that have ended.
KILLED = {"openpbs": {"walltime": -29, "mem": -27, "cput": -28}, "torque": {"walltime": -11, "mem": -10, "cput": -12}}
DELETED, FINISHED = 91, 92


class RefusalError(Exception):
    """What a command refuses, in its words, and its exit code."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


class Words(ArgumentParser):
    """Reads options as PBS's commands do."""

    def error(self, message: str) -> Any:
        raise RefusalError(f"usage: {message}", 2)


def submission_words() -> Words:
    words = Words(add_help=False, prefix_chars="-", allow_abbrev=False)
    for option in ("-N", "-q", "-A", "-P", "-J", "-t", "-o", "-e", "-j", "-m", "-r", "-S", "-p"):
        words.add_argument(option)
    words.add_argument("-l", action="append", default=[])
    words.add_argument("-V", action="store_true")
    words.add_argument("script")
    return words


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([kmg]?b?)", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + float(part)
    return total


def clock(duration: float) -> str:
    whole = int(duration)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def date(at: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(at))


class Pbs(Dialect):
    """What both dialects share."""

    dialect: ClassVar[str]
    index_variable: ClassVar[str]
    longest_name: ClassVar[int]
    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel", "qhold", "qrls")
    unreachable: ClassVar[tuple[int, str]] = (255, f"qstat: cannot connect to server {SERVER} (errno=15010)\n")
    signals: ClassVar[list[tuple[int, float]]] = [(signal.SIGTERM, 12), (signal.SIGKILL, 5)]

    def answer(self, command: str, arguments: list[str], request: dict[str, Any]) -> Answer:
        try:
            if command == "qsub":
                return self.qsub(arguments, request)
            if command == "qstat":
                return self.qstat(arguments)
            return self.order(command, arguments)
        except RefusalError as error:
            return Answer(err=f"{command}: {error}\n", code=error.code)

    # ------------------------------------------------------------------------------------------------ submission

    def qsub(self, arguments: list[str], request: dict[str, Any]) -> Answer:
        given = submission_words().parse_args(arguments)
        queue = given.q or QUEUES[0]
        if queue not in QUEUES:
            raise RefusalError("Unknown queue", 170)
        if len(given.N) > self.longest_name or not given.N[0].isalpha():
            raise RefusalError("illegal -N value", 2)
        index = self.indices(given)
        limits, asked = self.resources(given.l)
        script = self.queue.folder / "run" / f"script.{self.queue.next}"
        script.write_bytes(Path(request["cwd"], given.script).read_bytes())
        output = Path(request["cwd"], given.o or ".")
        name = f"{given.N}.o{self.queue.next}" + (f".{PLACE}" if index else "")
        job = self.queue.submit(
            index or [1],
            name=given.N,
            argv=[given.S or "/bin/sh", str(script)],
            cwd=str(self.queue.folder),
            environment={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.queue.folder)},
            array=bool(index),
            output=str(output / name if output.is_dir() else output),
            limits=limits,
            index_variable=self.index_variable if index else "PBS_NO_INDEX",
            fields={"queue": queue, "asked": json.dumps(asked), "held": ""},
        )
        return Answer(f"{self.identity(job)}\n")

    def indices(self, given: Any) -> list[int]:
        """The places of an array, none for a single job."""
        raise NotImplementedError

    def resources(self, words: list[str]) -> tuple[dict[str, float], dict[str, str]]:
        """Limits to hold, and what was asked for, from ``-l``."""
        asked: dict[str, str] = {}
        for word in words:
            for part in re.split(r"[,:](?=\w+=)", word):
                name, _, value = part.partition("=")
                asked[name] = value
        limits: dict[str, float] = {name: seconds(asked[name]) for name in ("walltime", "cput") if name in asked}
        if "mem" in asked:
            limits["mem"] = size(asked["mem"])
        return limits, asked

    def identity(self, job: Job, place: int | None = None) -> str:
        inside = "" if not job.array else f"[{place or ''}]"
        return f"{job.number}{inside}.{SERVER}"

    # --------------------------------------------------------------------------------------------------- questions

    def find(self, word: str) -> tuple[Job, str | None]:
        """A job, and which of its elements: all ("" or None) or a range.

        Raises:
            RefusalError: there is none.
        """
        match = NUMBERS.fullmatch(word)
        job = self.queue.jobs.get(int(match[1])) if match else None
        if match is None or job is None:
            raise RefusalError(f"Unknown Job Id {word}", 153)
        return job, match[2]

    def over(self, job: Job) -> bool:
        return all(task.state == "ended" for task in job.tasks.values())

    def exit_status(self, task: Task) -> int | None:
        if task.code is None:
            return None
        if task.reason in KILLED[self.dialect]:
            return KILLED[self.dialect][task.reason]
        return task.code if task.code >= 0 else 256 - task.code

    def used(self, task: Task) -> dict[str, str]:
        return {
            "cput": clock(task.used.get("cput", 0)),
            "mem": f"{int(task.used.get('mem', 0)) // 1024}kb",
            "walltime": clock(task.used.get("walltime", time.time() - task.begin)),
        }

    def qstat(self, arguments: list[str]) -> Answer:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------ orders

    def order(self, command: str, arguments: list[str]) -> Answer:
        raise NotImplementedError

    def carry(self, command: str, tasks: list[Task]) -> None:
        for task in tasks:
            if command == "qdel":
                self.queue.delete(task)
            elif command == "qhold" and task.state == "queued":
                task.state = "held"
            elif command == "qrls" and task.state == "held":
                task.state = "queued"


class OpenPbs(Pbs):
    """OpenPBS 2022, with its job history on."""

    dialect: ClassVar[str] = "openpbs"
    index_variable: ClassVar[str] = "PBS_ARRAY_INDEX"
    longest_name: ClassVar[int] = 230

    def indices(self, given: Any) -> list[int]:
        if given.t:
            raise RefusalError("illegal option -- t", 2)
        found = places(given.J) if given.J else []
        if len(found) == 1:
            raise RefusalError("illegal -J value", 2)
        if len(found) > 10_000:
            raise RefusalError("Array job exceeds server or queue size limit", 60)
        return found

    def resources(self, words: list[str]) -> tuple[dict[str, float], dict[str, str]]:
        if any(word.startswith("select=") for word in words) and any(re.match("v?mem=", word) for word in words):
            raise RefusalError('Resource must only appear in "select" specification when select is used: mem', 1)
        return super().resources(words)

    def qstat(self, arguments: list[str]) -> Answer:
        if "json" not in arguments:
            raise RefusalError("this simulation answers qstat -f -F json only", 2)
        words = [word for word in arguments if NUMBERS.fullmatch(word)]
        history, expand = "-x" in arguments, "-t" in arguments
        found: dict[str, Any] = {}
        err, code = "", 0
        for word in words or [str(number) for number in self.queue.jobs]:
            try:
                job, _ = self.find(word)
            except RefusalError as error:
                err, code = f"{err}qstat: {error}\n", error.code
                continue
            if self.over(job) and not history:
                if words:
                    told = "Job has finished, use -x or -H to obtain historical job information"
                    err, code = f"{err}qstat: {self.identity(job)} {told}\n", 35
                continue
            found |= dict(self.records(job, expand))
        content = {"timestamp": int(time.time()), "pbs_version": "2022.1.1", "pbs_server": SERVER, "Jobs": found}
        if not found:
            del content["Jobs"]
        return Answer(json.dumps(content, indent=4) + "\n", err, code)

    def records(self, job: Job, expand: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        if job.array:
            yield self.identity(job), self.parent(job)
        if expand or not job.array:
            for task in job.tasks.values():
                yield self.identity(job, task.place), self.record(job, task)

    def common(self, job: Job) -> dict[str, Any]:
        return {
            "Job_Name": job.name,
            "Job_Owner": f"{job.owner}@{HOST}",
            "queue": job.fields["queue"],
            "server": SERVER,
            "ctime": date(job.submitted),
            "Resource_List": json.loads(job.fields["asked"]),
            "Variable_List": {"PBS_O_HOME": job.cwd, "PBS_O_HOST": HOST},
        }

    def parent(self, job: Job) -> dict[str, Any]:
        begun = any(task.begin for task in job.tasks.values())
        held = job.fields["held"] and not self.over(job)
        state = "H" if held else "F" if self.over(job) else "B" if begun else "Q"
        return {**self.common(job), "job_state": state, "Hold_Types": job.fields["held"] or "n", "array": "True"}

    def record(self, job: Job, task: Task) -> dict[str, Any]:
        # The elements of a held array that wait are shown as queued: the array is what is held.
        held = "Q" if job.array else "H"
        ended = "X" if job.array and not self.over(job) else "F"
        state = {"queued": "Q", "held": held, "running": "R", "ended": ended}[task.state]
        found = {**self.common(job), "job_state": state, "Hold_Types": job.fields["held"] or "n"}
        if job.array:
            found |= {"array_id": self.identity(job), "array_index": task.place}
        if task.begin:
            found |= {"exec_host": f"{HOST}/0", "stime": date(task.begin), "resources_used": self.used(task)}
            found["comment"] = f"Job run at {date(task.begin)} on ({HOST}:ncpus=1)"
        if task.state == "ended":
            found["substate"] = DELETED if task.reason == "order" else FINISHED
            found["obittime"] = date(task.end)
            if task.code is not None:
                found["Exit_status"] = self.exit_status(task)
        return found

    def order(self, command: str, arguments: list[str]) -> Answer:
        err, code = "", 0
        for word in arguments:
            try:
                job, span = self.find(word)
                if self.over(job):
                    raise RefusalError(f"Job has finished {word}", 35)
                if command != "qdel" and span:
                    raise RefusalError(f"Invalid request {word}", 30)
                tasks = list(job.tasks.values())
                self.carry(command, [job.tasks[place] for place in places(span)] if span else tasks)
                if command != "qdel":
                    job.fields["held"] = "u" if command == "qhold" else ""
            except RefusalError as error:
                err, code = f"{err}{command}: {error}\n", error.code
        return Answer(err=err, code=code)


class Torque(Pbs):
    """Torque 6, which keeps jobs for a while after their end."""

    dialect: ClassVar[str] = "torque"
    index_variable: ClassVar[str] = "PBS_ARRAYID"
    longest_name: ClassVar[int] = 15

    def indices(self, given: Any) -> list[int]:
        if given.J:
            raise RefusalError("invalid option -- 'J'", 2)
        return places(given.t) if given.t else []

    def qstat(self, arguments: list[str]) -> Answer:
        if "-x" not in arguments:
            raise RefusalError("this simulation answers qstat -x only", 2)
        words = [word for word in arguments if NUMBERS.fullmatch(word)]
        tree = ET.Element("Data")
        err, code = "", 0
        for word in words or [str(number) for number in self.queue.jobs]:
            try:
                self.show(tree, self.find(word)[0], expand="-t" in arguments)
            except RefusalError as error:
                err, code = f"{err}qstat: {error} {SERVER}\n", error.code
        return Answer(ET.tostring(tree, "unicode") if len(tree) else "", err, code)

    def show(self, tree: ET.Element, job: Job, *, expand: bool) -> None:
        if job.array and not expand:
            states = {task.state for task in job.tasks.values()}
            letter = "R" if "running" in states else "Q" if "queued" in states else "H" if "held" in states else "C"
            self.write(tree, self.identity(job), job.name, letter, job, None)
            return
        for task in job.tasks.values():
            letter = {"queued": "Q", "held": "H", "running": "R", "ended": "C"}[task.state]
            name = f"{job.name}-{task.place}" if job.array else job.name
            self.write(tree, self.identity(job, task.place), name, letter, job, task)

    def write(self, tree: ET.Element, identity: str, name: str, letter: str, job: Job, task: Task | None) -> None:
        element = ET.SubElement(tree, "Job")
        fields: dict[str, Any] = {
            "Job_Id": identity,
            "Job_Name": name,
            "Job_Owner": f"{job.owner}@{HOST}",
            "job_state": letter,
            "queue": job.fields["queue"],
            "server": SERVER,
            "ctime": str(int(job.submitted)),
            "Hold_Types": "u" if letter == "H" else "n",
            "Resource_List": json.loads(job.fields["asked"]),
        }
        if task is not None and task.begin:
            fields |= {"exec_host": f"{HOST}/0", "start_time": str(int(task.begin)), "resources_used": self.used(task)}
        if task is not None and task.state == "ended":
            status = self.exit_status(task)
            fields |= {"comp_time": date(task.end), "exit_status": str(271 if status is None else status)}
        for key, value in fields.items():
            child = ET.SubElement(element, key)
            if isinstance(value, dict):
                for part, text in value.items():
                    ET.SubElement(child, part).text = text
            else:
                child.text = value

    def order(self, command: str, arguments: list[str]) -> Answer:
        span = arguments[1] if arguments[0] == "-t" else None
        err, code = "", 0
        for word in arguments[2:] if span else arguments:
            try:
                job, own = self.find(word)
                chosen = span or own
                tasks = [job.tasks[place] for place in places(chosen)] if chosen else list(job.tasks.values())
                if all(task.state == "ended" for task in tasks):
                    raise RefusalError(
                        f"Request invalid for state of job MSG=invalid state for job - COMPLETE {word}", 170
                    )
                self.carry(command, tasks)
            except RefusalError as error:
                err, code = f"{err}{command}: {error}\n", error.code
        return Answer(err=err, code=code)


class OpenPbsPool(SimulatedPool):
    """A simulated OpenPBS."""

    system: ClassVar[str] = "openpbs"
    dialect: ClassVar[type[Dialect]] = OpenPbs
    probe: ClassVar[tuple[str, ...]] = ("qstat", "-f", "-F", "json")

    def clear(self) -> None:
        if (self.folder / "state.json").exists():
            for job in self.kept()["jobs"]:
                self.ask("qdel", f"{job['number']}[].{SERVER}" if job["array"] else f"{job['number']}.{SERVER}")
            self.wait_for(lambda: self.in_queue() == 0, "an empty queue")


class TorquePool(OpenPbsPool):
    """A simulated Torque."""

    system: ClassVar[str] = "torque"
    dialect: ClassVar[type[Dialect]] = Torque
    probe: ClassVar[tuple[str, ...]] = ("qstat", "-x")
