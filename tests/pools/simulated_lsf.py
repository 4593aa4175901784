"""A simulated LSF: bsub, bjobs, bhist, bkill, bstop and bresume in the formats of IBM's command reference 10.1."""

from __future__ import annotations

import json
import re
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pools.simulated_queue import HOST, PLACE, Answer, Dialect, Job, SimulatedPool, Task, places

TERMS = {
    "walltime": "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    "cput": "TERM_CPULIMIT: job killed after reaching LSF CPU usage limit",
    "mem": "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
    "order": "TERM_OWNER: job killed by owner",
}
QUEUES = ("normal", "long")
STATES = {"queued": "PEND", "held": "PSUSP", "running": "RUN"}
NUMBERS = re.compile(r"(\d+)(?:\[([\d,:-]+)\])?")


class RefusalError(Exception):
    """What a command refuses, in its words."""


class Words(ArgumentParser):
    """Reads options as LSF's commands do."""

    def error(self, message: str) -> Any:
        raise RefusalError(message)


def submission_words() -> Words:
    words = Words(add_help=False, prefix_chars="-", allow_abbrev=False)
    for option in ("-J", "-q", "-P", "-G", "-oo", "-o", "-e", "-eo", "-W", "-c", "-M", "-n", "-sp", "-app"):
        words.add_argument(option)
    words.add_argument("-R", action="append", default=[])
    for flag in ("-rn", "-r", "-x"):
        words.add_argument(flag, action="store_true")
    words.add_argument("command", nargs="...")
    return words


def seconds(text: str | None) -> float | None:
    """A limit, ``[hours:]minutes``."""
    if text is None:
        return None
    hours, _, minutes = text.rpartition(":")
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes)


def short_time(at: float) -> str:
    return time.strftime("%b %e %H:%M", time.gmtime(at)) if at else "-"


def long_time(at: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S", time.gmtime(at))


class Lsf(Dialect):
    """Speaks as LSF does. The unit of limits is KB, since LSF_UNIT_FOR_LIMITS is not set."""

    commands: ClassVar[tuple[str, ...]] = ("bsub", "bjobs", "bhist", "bkill", "bstop", "bresume")
    unreachable: ClassVar[tuple[int, str]] = (255, "Failed in an LSF library call: LIM is down; try later\n")
    noise: ClassVar[str] = "Cannot connect to LSF. Please wait ...\nCannot connect to LSF. Please wait ...\n"
    signals: ClassVar[list[tuple[int, float]]] = [(signal.SIGINT, 2), (signal.SIGTERM, 12), (signal.SIGKILL, 5)]

    def answer(self, command: str, arguments: list[str], request: dict[str, Any]) -> Answer:
        try:
            if command == "bsub":
                return self.bsub(arguments, request)
            if command == "bjobs":
                return self.bjobs(arguments)
            if command == "bhist":
                return self.bhist(arguments)
            return self.order(command, arguments)
        except RefusalError as error:
            return Answer(err=f"{error}. Job not submitted.\n" if command == "bsub" else f"{error}\n", code=255)

    # ------------------------------------------------------------------------------------------------ submission

    def bsub(self, arguments: list[str], request: dict[str, Any]) -> Answer:
        given = submission_words().parse_args(arguments)
        queue = given.q or "normal"
        if queue not in QUEUES:
            raise RefusalError(f"{queue}: No such queue")
        for requirement in given.R:
            if requirement.count("[") != requirement.count("]"):
                raise RefusalError("Bad resource requirement syntax")
        name, _, index = (given.J or "").rstrip("]").partition("[")
        chosen = places(index) if index else [0]
        if len(chosen) > 1000:
            raise RefusalError(f"{given.J}: Job array index too large")
        output = str(Path(request["cwd"], given.oo or given.o or "/dev/null")).replace("%I", PLACE)
        limits = {
            "walltime": seconds(given.W),
            "cput": seconds(given.c),
            "mem": int(given.M) * 1024 if given.M else None,
        }
        job = self.queue.submit(
            chosen,
            name=name,
            argv=["/bin/sh", "-c", " ".join(given.command)],
            cwd=request["cwd"],
            environment=request["environment"],
            array=bool(index),
            output=output,
            limits={limit: value for limit, value in limits.items() if value is not None},
            index_variable="LSB_JOBINDEX",
            fields={"queue": queue, "project": given.P or "default", "index": index},
        )
        default = "" if given.q else "default "
        return Answer(f"Job <{job.number}> is submitted to {default}queue <{queue}>.\n")

    # --------------------------------------------------------------------------------------------------- questions

    def chosen(self, words: list[str]) -> Iterator[tuple[Job, list[Task]] | str]:
        """What job numbers with elements mean; a text for one that is not there."""
        for word in words:
            match = NUMBERS.fullmatch(word)
            job = self.queue.jobs.get(int(match[1])) if match else None
            if match is None or job is None:
                yield word
            elif match[2]:
                yield job, [job.tasks[place] for place in places(match[2]) if place in job.tasks]
            else:
                yield job, list(job.tasks.values())

    def bjobs(self, arguments: list[str]) -> Answer:
        if "-o" not in arguments or "-json" not in arguments:
            raise RefusalError("this simulation answers bjobs -json -o only")
        fields = arguments[arguments.index("-o") + 1].split()
        words = [word for word in arguments[arguments.index("-o") + 2 :] if word[0].isdigit()]
        everything = "-a" in arguments or bool(words)
        records: list[dict[str, str]] = []
        missing = []
        for found in self.chosen(words or [str(number) for number in self.queue.jobs]):
            if isinstance(found, str):
                missing.append(found)
                records.append({"JOBID": found, "ERROR": f"Job <{found}> is not found"})
                continue
            for task in found[1]:
                if everything or task.state != "ended":
                    records.append(self.record(found[0], task, fields))
        text = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)
        err = "".join(f"Job <{word}> is not found\n" for word in missing)
        return Answer(text + "\n", err, 255 if missing else 0)

    def record(self, job: Job, task: Task, fields: list[str]) -> dict[str, str]:
        index = f"[{task.place}]" if job.array else ""
        known = {
            "JOBID": str(job.number),
            "JOBINDEX": str(task.place),
            "JOB_NAME": f"{job.name}{index}",
            "STAT": self.state(task),
            "EXIT_CODE": "" if task.code in (0, None) else str(self.exit_code(task)),
            "EXIT_REASON": TERMS.get(task.reason, self.by_itself(task)),
            "PEND_REASON": "New job is waiting for scheduling;" if task.state == "queued" else "",
            "EXEC_HOST": HOST if task.begin else "",
            "START_TIME": short_time(task.begin),
            "FINISH_TIME": f"{short_time(task.end)} L" if task.end else "-",
        }
        return {name.upper(): known[name.upper()] for name in fields}

    @staticmethod
    def state(task: Task) -> str:
        if task.state != "ended":
            return STATES[task.state]
        return "DONE" if task.code == 0 else "EXIT"

    @staticmethod
    def exit_code(task: Task) -> int:
        code = task.code or 0
        return code if code >= 0 else 128 - code

    @staticmethod
    def by_itself(task: Task) -> str:
        return "TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF" if (task.code or 0) < 0 else ""

    def bhist(self, arguments: list[str]) -> Answer:
        words = [word for word in arguments if NUMBERS.fullmatch(word)]
        words = words[1:] if "-n" in arguments else words
        blocks, missing = [], []
        for found in self.chosen(words):
            if isinstance(found, str):
                missing.append(f"Job <{found}> is not found\n")
            else:
                blocks += [self.history(found[0], task) for task in found[1]]
        return Answer(("\n" + "-" * 78 + "\n").join(blocks), "".join(missing), 255 if missing and not blocks else 0)

    def history(self, job: Job, task: Task) -> str:
        index = f"[{task.place}]" if job.array else ""
        user, project = job.owner, job.fields["project"]
        lines = [
            f"Job <{job.number}{index}>, Job Name <{job.name}{index}>, User <{user}>, Project <{project}>, "
            f"Command <{job.argv[-1]}>",
            f"{long_time(job.submitted)}: Submitted from host <{HOST}>, to Queue <{job.fields['queue']}>, "
            f"CWD <{job.cwd}>, Output File (overwrite) <{job.output}>;",
        ]
        if task.begin:
            lines.append(f"{long_time(task.begin)}: {index} dispatched to <{HOST}>;".replace("  ", " "))
            lines.append(f"{long_time(task.begin)}: Starting (Pid {task.pid});")
        if task.state == "ended":
            lines += self.last_words(task)
        now = long_time(time.time())
        summary = f"\n\nSummary of time in seconds spent in various states by  {now}\n"
        states = ("PEND", "PSUSP", "RUN", "USUSP", "SSUSP", "UNKWN", "TOTAL")
        table = "".join(f"  {word:7}" for word in states) + "\n" + "".join(f"  {0:<7}" for _ in states) + "\n"
        return "\n".join(folded(line) for line in lines) + summary + table

    def last_words(self, task: Task) -> list[str]:
        at = long_time(task.end)
        cpu = f"The CPU time used is {task.used.get('cput', 0.0):.1f} seconds"
        if task.code == 0:
            return [f"{at}: Done successfully. {cpu};"]
        code = self.exit_code(task)
        how = f"Exited by signal {code - 128}. {cpu};" if code > 128 else f"Exited with exit code {code}. {cpu};"
        reason = TERMS.get(task.reason, self.by_itself(task))
        end = f"{at}: Completed <exit>; {reason};" if reason else f"{at}: Completed <exit>;"
        return [f"{at}: {how if task.begin else 'Exited'}", end]

    # ------------------------------------------------------------------------------------------------------ orders

    def order(self, command: str, arguments: list[str]) -> Answer:
        out, err, done = "", "", False
        for found in self.chosen(arguments):
            if isinstance(found, str):
                err += f"Job <{found}>: No matching job found\n"
                continue
            for task in found[1]:
                name = f"{found[0].number}[{task.place}]" if found[0].array else str(found[0].number)
                said = self.carry(command, task)
                done = done or not said.startswith("!")
                out, err = (
                    (out, f"{err}Job <{name}>: {said[1:]}\n")
                    if said[0] == "!"
                    else (
                        f"{out}Job <{name}> {said}\n",
                        err,
                    )
                )
        return Answer(out, err, 0 if done else 255)

    def carry(self, command: str, task: Task) -> str:
        """Carry an order out; what is said of it, with an exclamation mark if it cannot be."""
        if task.state == "ended":
            return "!Job has already finished"
        if command == "bkill":
            self.queue.delete(task)
            return "is being terminated"
        if command == "bstop" and task.state == "queued":
            task.state = "held"
            return "is being stopped"
        if command == "bresume" and task.state == "held":
            task.state = "queued"
            return "is being resumed"
        return "!Job is in the wrong state for that"


def folded(line: str) -> str:
    """Lines are folded after 80 characters, at any character, with the rest 21 columns in."""
    first, rest = line[:79], line[79:]
    return "\n".join([first, *(" " * 21 + rest[start : start + 58] for start in range(0, len(rest), 58))])


class LsfPool(SimulatedPool):
    """A simulated LSF."""

    system: ClassVar[str] = "lsf"
    dialect: ClassVar[type[Dialect]] = Lsf
    probe: ClassVar[tuple[str, ...]] = ("bjobs", "-json", "-o", "jobid")

    def clear(self) -> None:
        numbers = [str(job["number"]) for job in self.kept()["jobs"]] if (self.folder / "state.json").exists() else []
        if numbers:
            self.ask("bkill", *numbers)
            self.wait_for(lambda: self.in_queue() == 0, "an empty queue")
