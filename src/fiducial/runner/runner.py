#!/usr/bin/env python3
"""Run one job on a worker node, and prove what became of it.

This one file is all that Fiducial needs where a job runs: Python >= 3.6 on Linux and its standard library. Use it as

    python3 runner.py job.json          one job; prints nothing unless it cannot even begin
    python3 runner.py --queued DIR N    the Nth job of DIR/jobs.jsonl, or else DIR/jobs/N.json, as a batch system starts
                                        it: leaves the marks DIR/begun/N when its payload runs and DIR/ended/N when
                                        its result is written; DIR/jobs.index has where each line begins
    python3 runner.py --node STEP.json --key KEY --retry N [--at OFFSET] [NAME=VALUE ...]
                                        one job as a node of a DAG, see below
    python3 runner.py --node STEP.json --place N --run N --marks DIR [--memory BYTES] [--within S] [--again]
                                        one job of an array that is part of a whole campaign, see below
    python3 runner.py --carried job.json   a job that a batch system brought to a node that sees none of its folders:
                                        what it leaves, outputs too, lies in ./attempt in the end, to be brought back
    python3 runner.py --warm FD FD      a worker that the local backend feeds with jobs through two sockets
    python3 runner.py --call call.json  (what a payload with "call" is started by)

The job specification, a JSON object::

    {"format": 1, "ledger": "<uuid>", "job": 17, "attempt": 2, "name": "faser/reco/01/00450",
     "argv": ["touch", "out"]                     one of these three:
     "script": "text", "interpreter": ["/bin/bash"], "arguments": [...]
     "call": "module:function" or "/path/file.py:function", "kwargs": {...}, "python": "/path/python",
     "environment": {"K": "V"}, "environment_script": "/path/env.sh" or null,
     "directory": "/abs/attempt-dir",             made here; holds log.txt, scratch, result.json
     "scratch": "/abs/base" or null,              null: scratch lies in the directory; $VARIABLES are the node's
     "keep_scratch": "never" | "failure" | "always",
     "inputs":  [{"path": "/abs", "name": link's name in scratch or null, "size": n or null, "adler32": hex or null}],
     "outputs": [{"key": "what the step calls it", "path": "/abs/final",
                  "name": name in scratch, or null if the payload writes the path itself,
                  "min_size": 1, "check": ["argv", "{}"] or null, "optional": false,
                  "files": ["plots/*.png"] if it is several files: "path" is then a folder, "name" is "."}],
     "metrics": "metrics.json" or null, "required_metrics": ["chi2"],
     "limits": {"memory": bytes, "cpu_time": s, "wall_time": s, "disk": bytes}, "grace": 10.0}

In "check", ``{}`` stands for the file, which is appended where no word is ``{}``; the command runs in scratch, with the
payload's environment. A callable that returns a dictionary and writes no metrics file has returned its metrics. The
payload finds FIDUCIAL_LEDGER_ID, FIDUCIAL_JOB, FIDUCIAL_ATTEMPT, FIDUCIAL_DIRECTORY, FIDUCIAL_SCRATCH and
FIDUCIAL_METRICS in its environment.

The result, ``result.json``, is written last and atomically::

    {"format": 1, "ledger", "job", "attempt", "state": "done" | "failed" | "killed", "cause": see EXIT_CODES,
     "exit_code": 0 or null, "signal": null, "message": "one sentence", "host", "started", "finished",
     "usage": {"wall_s", "cpu_s", "max_rss", "read_bytes", "write_bytes"},
     "outputs": [{"key", "path", "size", "adler32"}], "metrics": {"chi2": 1.02}}

Of an output that is several files each is told by itself, with the key "what the step calls it/its place in scratch".

A node of a DAG has nobody who tells it what other jobs have published, nor which attempt it is. It is described by a
node file for all jobs of a step in one iteration, which lies in the folder of this file, or below it::

    {"format": 1, "folder": "." or "/abs",        the campaign's folder; a relative one begins where this file lies
     "values": {"file": "int" or "text"},         of NAME=VALUE on the command line
     "jobs": null or "path of lines",             --at finds {"key", "values"} or {"key", "job"} there, a line for a job
     "retry": {"most": 3, "causes": {"memory": 3}, "final_exit_codes": [2],
               "memory": [bytes, ...], "wall_time": [s, ...]},              the last two by the number of the retry
     "tolerate": how many jobs of the step may fail for good,
     "job": a specification; its script may be a list of lines}

In the texts of that specification ``@{file}`` stands for a value, and ``@{file:05}`` for one with zeros in front;
``{"@": "file"}`` is the value itself, a number where it is one. ``folder``, ``key``, ``attempt`` and ``memory_mb`` are
known as well, and ``inputs.0`` is what was found for the first input: names of files, in a list so many words. Such an
input is what other nodes have left in their results::

    {"from": "@{folder}/.fiducial/reco", "iteration": 1 or "every" or "last", "key": "00450" or null for all jobs,
     "output": "ntuple", "name": link's name (of the folder of links if there are many), "many": true, "least": jobs}

The exit code is that of the cause, or NO_RETRY where the step's retries say that another attempt is of no use.

A job of an array (--place: its line, found by an index beside the lines) has nobody who tries it again by cause. It
does so itself, as long as its allocation has the memory and the time; what needs more it leaves to a second array
(--again), which has all that a retry may ask for, does what the first has not done, and nothing that was stopped or
cannot be mended. --run counts the submissions of a campaign. DIR/begun and DIR/ended get a mark KEY.ATTEMPT each.

A job that is carried has its inputs in the working directory, as their "carried" says. Where the payload has the paths
that they have at home, or those of outputs, it is given those that they have here. Output number N is ``files/N`` in
the attempt's directory, verified, and told in the result with the path that it will have at home.

Never twice: a runner prepares a directory of its own beside the attempt's, with ``log.txt`` locked in it, and renames
it to the attempt's name. That succeeds for one process only, also on network file systems, and ``revoke`` can take the
name away before any runner has it. Two locks tell later what is still alive: the directory's is held while the runner
lives, the log's while the runner or any process of the payload does.
"""

import errno
import fcntl
import json
import os
import re
import select
import signal
import stat
import sys
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1

#: What a runner that ran one job exits with, by the result's cause.
EXIT_CODES = {
    "ok": 0,  # done
    "spec": 64,  # the specification cannot be used
    "input": 65,  # an input is missing or has changed
    "environment": 66,  # the environment script failed
    "start": 67,  # the payload could not be started
    "exit": 68,  # the payload's exit code is not 0
    "signal": 69,  # a signal that is not ours ended the payload
    "memory": 70,  # over a limit: stopped by the watchdog
    "cpu_time": 71,
    "wall_time": 72,
    "disk": 73,
    "output": 74,  # an output is missing, too small, or does not pass its check
    "metrics": 75,  # the metrics are missing or no finite numbers
    "publish": 76,  # a file cannot be written: disk full, no permission
    "stopped": 77,  # the runner was told to stop
    "refused": 78,  # the attempt belongs to another runner, or was revoked; nothing was run
}

#: What a node of a DAG exits with where no retry mends it: DAGMan knows it from UNLESS-EXIT.
NO_RETRY = 79

#: Messages and specifications over this size go through a file, since a socket takes no more than some 200 kB at once.
MESSAGE_LIMIT = 100000

#: Jobs that end sooner than this are not announced as started: it would double the messages of short jobs.
ANNOUNCE_AFTER = 0.2

#: Bytes of an entry in the index of a file with a line for each job: digits, blanks and a line end.
INDEX_WIDTH = 16

#: What is locked in place of the attempt's directory where directories cannot be.
LOCK_FILE = "lock"

_PR_SET_CHILD_SUBREAPER = 36
_CHILDREN = "/proc/%d/task/%d/children"
_MARK = b"FIDUCIAL_DIRECTORY="
_BLOCK = 1 << 20
_FIRST_SAMPLE = 0.05
_SLOWEST_SAMPLE = 1.0
_UNKILLABLE_AFTER = 60.0
_HOST = os.uname()[1]
_FILE = os.path.abspath(__file__)  # before we change the directory: old Pythons give what the command line said
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

#: Signals by which a batch system ends all processes of a job; in s, how soon after the payload's the runner's comes.
_ENDING = (*_STOPPING, signal.SIGKILL)
_STOP_FOLLOWS = 0.3
_FOREIGN = (errno.ENOSYS, errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP, errno.EINVAL)

# The caller's positional parameters are hidden from the sourced script, which would take them for its own. What the
# payload's command resolves to goes into a file: no file means that the script failed, an empty one that there is no
# such command. Nothing of the user's is ever pasted into shell code.
_SOURCE = (
    '__fiducial=("$@"); set --; source "$0" && '
    '{ type -P -- "${__fiducial[1]}" >"${__fiducial[0]}"; exec -- "${__fiducial[@]:1}"; }'
)


class Verdict(Exception):
    """How a job ended, as soon as it is known."""

    def __init__(self, state: str, cause: str, message: str) -> None:
        super().__init__(message)
        self.state = state
        self.cause = cause
        self.message = message


class Refused(Exception):
    """The attempt's directory belongs to somebody else."""


def failed(cause: str, message: str) -> "Verdict":
    """The verdict on a job that went wrong by itself."""
    return Verdict("failed", cause, message)


# ---------------------------------------------------------------------------------------------------- claiming


class Claim:
    """The attempt's directory, as long as this process holds it."""

    def __init__(self, directory: str, log: int, lock: int) -> None:
        self.directory = directory
        self.log = log
        self._lock = lock

    def note(self, text: str) -> None:
        """Leave a line of the runner's own in the log, if it has room for one."""
        try:
            os.write(self.log, ("fiducial: %s\n" % text).encode("utf-8", "surrogateescape"))
        except OSError:
            pass

    def release(self) -> None:
        """Let go of both locks; the log's lives on in what the payload may have left."""
        os.close(self.log)
        os.close(self._lock)


_token = "%d-%s" % (os.getpid(), os.urandom(4).hex())
_claims = 0


def _make_beside(directory: str) -> str:
    """A new directory with a name of its own, on the same file system as ``directory``."""
    global _claims
    _claims += 1
    parent = os.path.dirname(directory)
    path = "%s/.claim-%s-%d" % (parent, _token, _claims)
    try:
        os.mkdir(path)
    except FileNotFoundError:
        os.makedirs(parent, exist_ok=True)
        os.mkdir(path)
    return path


def _lock(descriptor: int) -> bool:
    """Lock what nobody else can have locked; false where the file system has no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _FOREIGN:
            raise
        return False
    return True


def _lock_directory(path: str) -> int:
    """A lock on the directory; NFS has locks on files only, so that there it is on a file in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    if not _lock(descriptor):
        os.close(descriptor)
        descriptor = os.open(path + "/" + LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(descriptor)  # without any locks, the rename alone decides, and nobody can tell later who lives
    return descriptor


def _take_name(temporary: str, directory: str) -> bool:
    """Rename onto ``directory``, which works only as long as it is not there or empty."""
    try:
        os.rename(temporary, directory)
    except OSError as error:
        remove_tree(temporary)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def claim(directory: str) -> "Claim":
    """Make ``directory`` ours, or raise ``Refused`` if it is anybody else's."""
    temporary = _make_beside(directory)
    log = os.open(temporary + "/log.txt", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    _lock(log)
    mine = Claim(directory, log, _lock_directory(temporary))
    try:
        if not _take_name(temporary, directory):
            raise Refused("%s belongs to another runner or was revoked" % directory)
    except BaseException:
        mine.release()
        raise
    return mine


def revoke(directory: str) -> bool:
    """Take the name away from all runners; true means that none has started in it, and none ever can."""
    if os.path.exists(directory + "/revoked"):
        return True
    temporary = _make_beside(directory)
    os.close(os.open(temporary + "/revoked", os.O_WRONLY | os.O_CREAT, 0o666))
    return _take_name(temporary, directory) or os.path.exists(directory + "/revoked")


# --------------------------------------------------------------------------------------------------- processes


def become_subreaper() -> bool:
    """Ask the kernel to give us daemons of the payload as children; false where it cannot."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _read(path: str) -> bytes:
    """A small file, empty if it is not there."""
    try:
        with open(path, "rb", 0) as file:
            return file.read()
    except OSError:
        return b""


def _pids() -> "list[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> "list[bytes]":
    """The fields of /proc/PID/stat from the state on; the command's name before may hold anything."""
    return _read("/proc/%d/stat" % pid).rpartition(b")")[2].split()


def _children_by_scan() -> "dict[int, list[int]]":
    children = {}  # type: dict[int, list[int]]
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    return children


def _children(pid: int) -> "list[int]":
    try:
        tasks = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return []
    return [int(child) for task in tasks for child in _read(_CHILDREN % (pid, int(task))).split()]


def descendants(root: int) -> "list[int]":
    """All processes below ``root``, parents first."""
    listed = os.path.exists(_CHILDREN % (root, root))
    scan = {} if listed else _children_by_scan()
    found = [root]
    for pid in found:
        found.extend(_children(pid) if listed else scan.get(pid, ()))
    return found[1:]


def tagged() -> "dict[str, list[int]]":
    """Processes of this machine that were started as part of an attempt, by its directory."""
    found = {}  # type: dict[str, list[int]]
    for pid in _pids():
        for item in _read("/proc/%d/environ" % pid).split(b"\0"):
            if item.startswith(_MARK) and pid != os.getpid():
                found.setdefault(os.fsdecode(item[len(_MARK) :]), []).append(pid)
    return found


def signal_all(pids: "list[int]", number: int) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def out_of_memory_kills() -> int:
    """How often the kernel has killed for want of memory: in our cgroup if that says so, or else on the machine."""
    paths = []
    for line in _read("/proc/self/cgroup").decode("utf-8", "surrogateescape").splitlines():
        controllers, path = line.split(":", 2)[1:]
        if controllers in ("", "memory"):
            name = "memory.oom_control" if controllers else "memory.events"
            paths.append(os.path.join("/sys/fs/cgroup", controllers, path.lstrip("/"), name))
    for path in [*paths, "/proc/vmstat"]:
        for item in _read(path).splitlines():
            if item.startswith(b"oom_kill "):
                return int(item.split()[1])
    return 0


def _find(command: str, path: str) -> str:
    """Where a command lies, by the payload's PATH and not by ours."""
    if "/" in command:
        return command
    for folder in path.split(":"):
        candidate = folder + "/" + command
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, "no such command in PATH", command)


_null = -1
_umask = os.umask(0)
os.umask(_umask)
_DIRECTORY_MODE = stat.S_IFDIR | (0o777 & ~_umask)


def spawn(argv: "list[str]", environment: "dict[str, str]", log: int) -> int:
    """Start a process in a session of its own, in the current directory, with its output in ``log``."""
    global _null
    if _null < 0:
        _null = os.open(os.devnull, os.O_RDONLY)
    path = _find(argv[0], environment.get("PATH", os.defpath))
    try:
        return os.posix_spawn(
            path,
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, f, t) for f, t in ((_null, 0), (log, 1), (log, 2))],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT),
        )
    except (AttributeError, NotImplementedError):  # Python < 3.8, or a C library that cannot make a session
        return _spawn_slowly([path, *argv[1:]], environment, log)


def _spawn_slowly(argv: "list[str]", environment: "dict[str, str]", log: int) -> int:
    import subprocess

    process = subprocess.Popen(argv, env=environment, stdin=_null, stdout=log, stderr=log, start_new_session=True)
    process.returncode = 0  # we wait for it ourselves
    return process.pid


class Desk:
    """What can wake a waiting runner: here, signals only."""

    def __init__(self) -> None:
        self.stop = ""  # why the job at hand is to end, once it is
        self.leaving = False  # whether no other job shall follow
        self.subreaper = become_subreaper()
        self.environment = dict(os.environ)
        self._kills = out_of_memory_kills()
        self.scratches = Scratches(recycling=False)
        self._bell, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(ring)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in _STOPPING:
            signal.signal(number, self._on_signal)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)

    def _on_signal(self, number: int, frame: "Any") -> None:
        self.leaving = True
        self.stop = "the runner was stopped by %s" % _signal_name(number)

    def wait(self, timeout: float) -> None:
        """Sleep until a child ends, a stop is asked for, or the time is over."""
        for descriptor, _ in self._poll.poll(max(0, int(timeout * 1000) + 1)):
            if descriptor == self._bell:
                os.read(self._bell, 4096)
            else:
                self.listen()

    def listen(self) -> None:
        """Take what has come in beside signals."""

    def announce(self, spec: "dict[str, Any]") -> None:
        """Tell that the payload runs."""

    def starved(self) -> bool:
        """Whether the kernel has killed for want of memory since this was last asked."""
        before, self._kills = self._kills, out_of_memory_kills()
        return self._kills > before


class Scratches:
    """One empty directory, handed on from job to job.

    To make a directory and to remove it costs more than a short payload: ext4 passes over every inode that was freed
    in the last seconds when it looks for a new one, so that removing anything makes the next creation slow.
    """

    def __init__(self, recycling: bool) -> None:
        self._recycling = recycling
        self._spare = ""

    def keep(self, path: str) -> bool:
        """Lay a scratch aside, if it is as it was made."""
        if not self._recycling or self._spare or os.stat(path).st_mode != _DIRECTORY_MODE or os.listdir(path):
            return False
        spare = "%s/.scratch-%s" % (os.path.dirname(os.path.dirname(path)), _token)
        os.rename(path, spare)
        self._spare = spare
        return True

    def take(self, path: str) -> bool:
        """Use the directory that was laid aside, if there is one and it lies on the same file system."""
        spare, self._spare = self._spare, ""
        if not spare:
            return False
        try:
            os.rename(spare, path)
            return True
        except OSError:
            self._remove(spare)
            return False

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._spare:
            self._remove(self._spare)
        self._spare = ""

    @staticmethod
    def _remove(spare: str) -> None:
        try:
            os.rmdir(spare)
        except OSError:
            pass


class Usage:
    """What processes have used that are over, and the highest use of memory seen."""

    def __init__(self) -> None:
        self.cpu = 0.0
        self.peak = 0
        self.read = 0
        self.written = 0

    def add(self, usage: "Any") -> None:
        """Account for a process that has been waited for."""
        self.cpu += usage.ru_utime + usage.ru_stime
        self.peak = max(self.peak, usage.ru_maxrss * 1024)
        self.read += usage.ru_inblock * 512
        self.written += usage.ru_oublock * 512


class Tree:
    """A process, and everything that it brings into the world."""

    def __init__(self, pid: int, desk: "Desk", usage: "Usage", directory: str) -> None:
        self.status = None  # type: int | None
        self.gone = False  # whether nothing was left when last looked
        self._pid = pid
        self._desk = desk
        self._usage = usage
        self._directory = directory

    def reap(self) -> bool:
        """Collect what has ended; true when nothing is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return self._desk.subreaper or not self._strays()
            if pid == 0:
                return False
            self._usage.add(usage)
            if pid == self._pid:
                self.status = status

    def _strays(self) -> "list[int]":
        """Without a subreaper, daemons are found by the mark in their environment."""
        return [] if self._desk.subreaper else tagged().get(self._directory, [])

    def members(self) -> "list[int]":
        """All that live."""
        below = descendants(os.getpid())
        return below + [pid for pid in self._strays() if pid not in below]

    def end(self, grace: float) -> None:
        """Ask all to end, and make them once the grace is over."""
        deadline = time.monotonic() + grace
        signal_all(self.members(), signal.SIGTERM)
        signal_all(self.members(), signal.SIGCONT)
        while not self.reap() and time.monotonic() < deadline:
            self._desk.wait(min(0.25, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> int:
        """Make all end, and say how many that were; what hangs in the kernel for good is left to it."""
        victims = set()  # type: set[int]
        deadline = time.monotonic() + _UNKILLABLE_AFTER
        while not self.reap() and time.monotonic() < deadline:
            members = self.members()
            victims.update(members)
            signal_all(members, signal.SIGKILL)
            self._desk.wait(0.02)
        return len(victims)

    def measure(self) -> "tuple[float, int, list[int]]":
        """CPU seconds so far, resident bytes now, and the processes that were counted."""
        ticks, pages, members = 0, 0, self.members()
        for pid in members:
            fields = _stat(pid)
            if len(fields) > 21:
                ticks += sum(map(int, fields[11:15]))
                pages += int(fields[21])
        return self._usage.cpu + ticks / float(_TICKS), pages * _PAGE, members


_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _shared_out(pids: "list[int]") -> int:
    """Bytes of memory, each page divided among those who share it; costly, and right for forked workers."""
    total = 0
    for pid in pids:
        text = _read("/proc/%d/smaps_rollup" % pid) or _read("/proc/%d/smaps" % pid)
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Pss:"))
    return total * 1024


def disk_use(path: str) -> int:
    """Bytes that a directory takes up, symbolic links not followed."""
    total = 0
    for base, folders, files in os.walk(path):
        for name in folders + files:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except OSError:
                pass
    return total


class Watchdog:
    """Looks after the limits: soon at first, then once a second."""

    def __init__(self, limits: "dict[str, Any]", scratch: str, started: float) -> None:
        self._limits = limits
        self._scratch = scratch
        self._wall_end = started + limits["wall_time"] if limits.get("wall_time") else float("inf")
        self._interval = _FIRST_SAMPLE
        self._next = started + _FIRST_SAMPLE
        self._next_disk = started

    def pause(self) -> float:
        """How long there is nothing to look after."""
        return max(0.0, min(self._next, self._wall_end) - time.monotonic())

    def look(self, tree: "Tree", usage: "Usage") -> "Verdict | None":
        """The limit that is broken, if one is."""
        now = time.monotonic()
        if now >= self._wall_end:
            return _over("wall_time", "ran for more than %g s" % self._limits["wall_time"])
        if now < self._next:
            return None
        self._interval = min(2 * self._interval, _SLOWEST_SAMPLE)
        self._next = now + self._interval
        cpu, memory, members = tree.measure()
        return self._cpu(cpu) or self._memory(memory, members, usage) or self._disk(now)

    def _cpu(self, used: float) -> "Verdict | None":
        limit = self._limits.get("cpu_time")
        if limit and used > limit:
            return _over("cpu_time", "used %.1f s of CPU time, more than %g s" % (used, limit))
        return None

    def _memory(self, resident: int, members: "list[int]", usage: "Usage") -> "Verdict | None":
        limit = self._limits.get("memory")
        if limit and resident > limit:
            resident = _shared_out(members) or resident
        usage.peak = max(usage.peak, resident)
        if limit and resident > limit:
            return _over("memory", "used %s of memory, more than %s" % (_megabytes(resident), _megabytes(limit)))
        return None

    def _disk(self, now: float) -> "Verdict | None":
        limit = self._limits.get("disk")
        if not limit or now < self._next_disk:
            return None
        used = disk_use(self._scratch)
        # Walking a large scratch is work for the disk; it shall never take more than a twentieth of the time.
        self._next_disk = now + 20 * (time.monotonic() - now)
        if used > limit:
            return _over("disk", "filled scratch with %s, more than %s" % (_megabytes(used), _megabytes(limit)))
        return None


def _over(cause: str, what: str) -> "Verdict":
    return Verdict("killed", cause, "the payload %s" % what)


def _megabytes(count: int) -> str:
    return "%.1f MB" % (count / 1e6)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


# ------------------------------------------------------------------------------------------------------- files


def checksum(path: str) -> "tuple[int, str]":
    """Size and Adler-32 of a file, as EOS and XRootD write it."""
    size, value = 0, 1
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while True:
            block = os.read(descriptor, _BLOCK)
            if not block:
                return size, "%08x" % value
            size += len(block)
            value = zlib.adler32(block, value) & 0xFFFFFFFF
    finally:
        os.close(descriptor)


def write_atomically(path: str, data: bytes) -> None:
    """All of the file or nothing of it."""
    temporary = path + ".tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy(source: int, target: int, desk: "Desk") -> None:
    while True:
        if desk.stop:
            raise Verdict("killed", "stopped", desk.stop)
        block = os.read(source, _BLOCK)
        if not block:
            break
        _write_all(target, block)
    os.fchmod(target, stat.S_IMODE(os.fstat(source).st_mode))
    os.fsync(target)


def _carry(source: str, temporary: str, desk: "Desk") -> None:
    """Copy to another file system; nothing half stays there."""
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _copy(reading, writing, desk)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _temporary(final: str, job: int, attempt: int) -> str:
    """Where a file from another file system grows before it gets its name."""
    return "%s.tmp-%d.%d" % (final, job, attempt)


def publish(source: str, final: str, temporary: str, desk: "Desk") -> None:
    """Bring a file to its place, where it appears whole or not at all."""
    try:
        os.replace(source, final)
        return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(final), exist_ok=True)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    try:
        os.replace(source, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _carry(source, temporary, desk)
        os.replace(temporary, final)


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it."""
    try:
        os.rmdir(path)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    for base, folders, _ in os.walk(path):
        for name in folders:  # a payload may have taken away its own permission
            if not os.path.islink(os.path.join(base, name)):
                os.chmod(os.path.join(base, name), 0o700)
    for base, folders, files in os.walk(path, topdown=False):
        for name in files + folders:
            full = os.path.join(base, name)
            if os.path.isdir(full) and not os.path.islink(full):
                os.rmdir(full)
            else:
                os.unlink(full)
    os.rmdir(path)


def _inside(scratch: str, name: str) -> str:
    """A path in scratch, and never out of it."""
    if name[:1] == "/" or not name or ".." in name.split("/"):
        raise failed("spec", "the name %r does not stay inside scratch" % name)
    if "/" in name:
        os.makedirs(os.path.dirname(scratch + "/" + name), exist_ok=True)
    return scratch + "/" + name


# --------------------------------------------------------------------------------------------------------- job


class Job:
    """One attempt at one job, from an empty scratch to published outputs."""

    def __init__(self, spec: "dict[str, Any]", desk: "Desk", held: "Claim") -> None:
        self.usage = Usage()
        self.exit_code = None  # type: int | None
        self.signal = None  # type: int | None
        self.outputs = []  # type: list[dict[str, Any]]
        self.metrics = {}  # type: dict[str, float]
        self.started = time.time()
        self._begin = time.monotonic()
        self._spec = spec
        self._held = held
        self._desk = desk
        self._scratch = ""
        self._environment = {}  # type: dict[str, str]
        self._watchdog = None  # type: Watchdog | None

    def perform(self) -> "Verdict":
        """Everything, up to the verdict."""
        verdict = self._attempt()
        try:
            self._clean(verdict)
        except OSError as error:
            self._held.note("scratch is left behind: %s" % error)
        return verdict

    def _attempt(self) -> "Verdict":
        try:
            _check_spec(self._spec)
            self._prepare()
            self._run_payload()
            self.metrics = self._read_metrics()
            self._deliver()
        except Verdict as verdict:
            return verdict
        except OSError as error:
            return failed("publish", _sentence(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return failed("spec", "the specification cannot be used: %r" % error)
        return Verdict("done", "ok", "all outputs are verified and in place")

    # ...................................................................................................... before

    def _prepare(self) -> None:
        if any("from" in item for item in self._spec.get("inputs") or ()):
            self._spec = with_found_inputs(self._spec)
        spec = self._spec
        self._make_scratch()
        os.chdir(self._scratch)
        if spec.get("carried"):
            spec = self._spec = away_from_home(spec, self._scratch)
        for item in spec.get("inputs") or ():
            self._take_input(item)
        for item in spec.get("outputs") or ():
            self._clear_output(item)
        self._environment = self._make_environment()
        self._watchdog = Watchdog(spec.get("limits") or {}, self._scratch, time.monotonic())

    def _make_scratch(self) -> None:
        base = self._spec.get("scratch")
        path = self._held.directory + "/scratch"
        if base:
            base = os.path.expandvars(base)
            name = "%s-%d.%d" % (self._spec["ledger"][:8], self._spec["job"], self._spec["attempt"])
            path = "%s/fiducial-%s-%s" % (base, name, os.urandom(3).hex())
        try:
            if not self._desk.scratches.take(path):
                os.mkdir(path)
        except OSError as error:
            raise failed("start", "scratch cannot be made: %s" % _sentence(error))
        self._scratch = path

    def _take_input(self, item: "dict[str, Any]") -> None:
        path = item["path"]
        try:
            self._verify_input(path, item.get("size"), item.get("adler32"))
        except OSError as error:
            raise failed("input", "input %s cannot be read: %s" % (path, error.strerror))
        if item.get("name") is not None:
            os.symlink(path, _inside(self._scratch, item["name"]))

    def _verify_input(self, path: str, size: "int | None", adler32: "str | None") -> None:
        there = os.stat(path).st_size
        if size is not None and there != size:
            raise failed("input", "input %s has %d bytes instead of %d" % (path, there, size))
        if adler32 is not None and int(checksum(path)[1], 16) != int(adler32, 16):
            raise failed("input", "input %s does not have the Adler-32 %s" % (path, adler32))

    def _clear_output(self, item: "dict[str, Any]") -> None:
        """An earlier attempt's output must not pass for this one's; the folder to write it in is there."""
        if item.get("files"):  # what a pattern matches there may be somebody else's
            return
        if self._spec.get("carried"):  # it will be published at home
            _inside(self._scratch, item["name"])
            return
        try:
            os.unlink(item["path"])
        except FileNotFoundError:
            if item.get("name") is None:
                os.makedirs(os.path.dirname(item["path"]), exist_ok=True)
        if item.get("name") is not None:
            _inside(self._scratch, item["name"])
        for attempt in range(1, self._spec["attempt"]):  # a copy that was cut short when its node died
            temporary = _temporary(item["path"], self._spec["job"], attempt)
            if os.path.exists(temporary):
                os.unlink(temporary)

    def _make_environment(self) -> "dict[str, str]":
        environment = self._desk.environment.copy()
        environment.update(self._spec.get("environment") or {})
        environment["FIDUCIAL_LEDGER_ID"] = self._spec["ledger"]
        environment["FIDUCIAL_JOB"] = str(self._spec["job"])
        environment["FIDUCIAL_ATTEMPT"] = str(self._spec["attempt"])
        environment["FIDUCIAL_DIRECTORY"] = self._held.directory
        environment["FIDUCIAL_SCRATCH"] = self._scratch
        metrics = self._spec.get("metrics", "metrics.json")
        environment.pop("FIDUCIAL_METRICS", None)  # we may be part of a payload ourselves
        if metrics:
            environment["FIDUCIAL_METRICS"] = _inside(self._scratch, metrics)
        return environment

    # ..................................................................................................... payload

    def _run_payload(self) -> None:
        argv = self._command()
        marker = self._held.directory + "/environment"
        status = self._run(self._with_environment(argv, marker))
        if self._spec.get("environment_script"):
            self._check_environment(marker, argv[0])
        self._judge(status)

    def _command(self) -> "list[str]":
        spec = self._spec
        if spec.get("argv"):
            return list(spec["argv"])
        if spec.get("script") is not None:
            path = self._held.directory + "/script"
            write_atomically(path, spec["script"].encode("utf-8", "surrogateescape"))
            return [*(spec.get("interpreter") or ["/bin/bash"]), path, *(spec.get("arguments") or ())]
        if spec.get("call"):
            path = self._held.directory + "/call.json"
            call = {"call": spec["call"], "kwargs": spec.get("kwargs") or {}}
            write_atomically(path, json.dumps(call).encode())
            return [spec.get("python") or sys.executable, _FILE, "--call", path]
        raise failed("spec", 'the specification has none of "argv", "script" and "call"')

    def _with_environment(self, argv: "list[str]", marker: str) -> "list[str]":
        script = self._spec.get("environment_script")
        return ["bash", "-c", _SOURCE, script, marker, *argv] if script else argv

    def _check_environment(self, marker: str, command: str) -> None:
        found = _read(marker)
        if not os.path.exists(marker):
            raise failed("environment", "the environment script %s failed" % self._spec["environment_script"])
        os.unlink(marker)
        if not found:
            raise failed("start", "after the environment script there is no command %s" % command)

    def _run(self, argv: "list[str]") -> int:
        """Run a command under the watchdog, until it and all of its processes have ended."""
        if self._desk.stop:
            raise Verdict("killed", "stopped", self._desk.stop)
        try:
            pid = spawn(argv, self._environment, self._held.log)
        except OSError as error:
            raise failed("start", "%s cannot be started: %s" % (argv[0], error.strerror))
        tree = Tree(pid, self._desk, self.usage, self._held.directory)
        verdict = self._follow(tree)
        if verdict:
            tree.end(float(self._spec.get("grace", 10.0)))
            self._record(tree.status)
            raise verdict
        if not tree.gone and not tree.reap():
            self._held.note("processes that the payload left behind were killed: %d" % tree.kill())
        return tree.status or 0

    def _follow(self, tree: "Tree") -> "Verdict | None":
        watchdog = self._watchdog
        assert watchdog is not None
        unannounced = True
        while True:
            self._desk.wait(watchdog.pause())
            tree.gone = tree.reap()
            if tree.status is not None:
                return None
            if self._desk.stop:
                return Verdict("killed", "stopped", self._desk.stop)
            verdict = watchdog.look(tree, self.usage)
            if verdict:
                return verdict
            if unannounced and time.monotonic() - self._begin >= ANNOUNCE_AFTER:
                unannounced = False
                self._announce()

    def _announce(self) -> None:
        """From now on, also an engine that comes later can find this runner."""
        about = {
            "host": _HOST,
            "pid": os.getpid(),
            "started": self.started,
            "resources": self._spec.get("resources") or {},
        }
        write_atomically(self._held.directory + "/runner.json", json.dumps(about).encode())
        self._desk.announce(self._spec)

    def _record(self, status: "int | None") -> None:
        if status is not None and os.WIFSIGNALED(status):
            self.signal = os.WTERMSIG(status)
        elif status is not None:
            self.exit_code = os.WEXITSTATUS(status)

    def _judge(self, status: int) -> None:
        self._record(status)
        if self.signal == signal.SIGKILL and self._desk.starved():
            raise Verdict("killed", "memory", "the payload was killed by the kernel, which had run out of memory")
        if self._was_stopped():
            raise Verdict("killed", "stopped", self._desk.stop)
        if self.signal is not None:
            raise failed("signal", "the payload was ended by %s" % _signal_name(self.signal))
        if self.exit_code:
            raise failed("exit", "the payload ended with exit code %d" % self.exit_code)

    def _was_stopped(self) -> bool:
        """Whether what ended the payload was meant for us: batch systems signal all processes of a job in any order."""
        number = self.signal or (self.exit_code or 0) - 128
        deadline = time.monotonic() + _STOP_FOLLOWS
        while number in _ENDING and not self._desk.stop and time.monotonic() < deadline:
            self._desk.wait(deadline - time.monotonic())
        return bool(self._desk.stop and (self.signal or self.exit_code))

    # ....................................................................................................... after

    def _read_metrics(self) -> "dict[str, float]":
        name = self._spec.get("metrics", "metrics.json")
        text = _read(self._environment["FIDUCIAL_METRICS"]) if name else b""
        values = _parse_metrics(text, name) if text else {}
        for wanted in self._spec.get("required_metrics") or ():
            if wanted not in values:
                raise failed("metrics", "the metric %r is required, and %s does not have it" % (wanted, name))
        return values

    def _deliver(self) -> None:
        """Verify all outputs before the first of them is published."""
        ready = []
        for item in self._wanted_files():
            source = _inside(self._scratch, item["name"]) if item.get("name") is not None else item["path"]
            entry = self._verify_output(item, source)
            if entry:
                ready.append((source, entry))
        for number, (source, entry) in enumerate(ready):
            final = entry["path"]
            if self._spec.get("carried"):
                final = "%s/files/%d" % (self._held.directory, number)
            if source != final:
                temporary = _temporary(final, self._spec["job"], self._spec["attempt"])
                publish(source, final, temporary, self._desk)
            self.outputs.append(entry)

    def _wanted_files(self) -> "list[dict[str, Any]]":
        """The outputs, file by file: those that have patterns for names become what matches them."""
        wanted = self._spec.get("outputs") or []  # type: list[dict[str, Any]]
        if not any(item.get("files") for item in wanted):
            return wanted
        named = [item for item in wanted if not item.get("files")]
        taken = {item["name"] for item in named if item.get("name") is not None}
        for item in wanted:
            found = [name for name in self._matching(item.get("files") or []) if name not in taken]
            if item.get("files") and not found and not item.get("optional"):
                raise failed("output", "no file %s was written" % " or ".join(item["files"]))
            taken.update(found)
            named += [
                dict(item, key="%s/%s" % (item["key"], name), path="%s/%s" % (item["path"], name), name=name)
                for name in found
            ]
        return named

    def _matching(self, patterns: "list[str]") -> "list[str]":
        """Files of the payload, by their places in scratch: no links, for those are inputs."""
        import glob

        base = os.path.realpath(self._scratch)
        found = set()
        for pattern in patterns:
            if pattern[:1] == "/" or ".." in pattern.split("/"):
                raise failed("spec", "the pattern %r does not stay inside scratch" % pattern)
            for path in glob.iglob(os.path.join(glob.escape(base), pattern), recursive=True):
                if os.path.isfile(path) and os.path.realpath(path) == os.path.normpath(path):
                    found.add(os.path.relpath(path, base))
        return sorted(found)

    def _verify_output(self, item: "dict[str, Any]", source: str) -> "dict[str, Any] | None":
        shown = item.get("name") or item["path"]
        try:
            info = os.lstat(source)
        except OSError:
            if item.get("optional"):
                return None
            raise failed("output", "output %s was not written" % shown)
        if not stat.S_ISREG(info.st_mode):
            raise failed("output", "output %s is not a regular file" % shown)
        least = item.get("min_size", 1) or 0
        if info.st_size < least:
            raise failed("output", "output %s has %d bytes, less than %d" % (shown, info.st_size, least))
        if item.get("check"):
            words = item["check"] if "{}" in item["check"] else item["check"] + ["{}"]
            self._check_output([source if word == "{}" else word for word in words], shown)
        size, adler32 = checksum(source) if info.st_size else (0, "00000001")
        return {"key": item.get("key"), "path": item["path"], "size": size, "adler32": adler32}

    def _check_output(self, argv: "list[str]", shown: str) -> None:
        marker = self._held.directory + "/environment"
        status = self._run(self._with_environment(argv, marker))
        if status:
            raise failed("output", "output %s does not pass its check %s" % (shown, " ".join(argv)))

    def _clean(self, verdict: "Verdict") -> None:
        keep = self._spec.get("keep_scratch", "never")
        kept = keep == "always" or (keep == "failure" and verdict.state != "done")
        if self._scratch and not kept and not self._desk.scratches.keep(self._scratch):
            remove_tree(self._scratch)


def _check_spec(spec: "dict[str, Any]") -> None:
    if spec.get("format") != FORMAT:
        raise failed(
            "spec",
            "the specification has format %r, and this runner understands only %d" % (spec.get("format"), FORMAT),
        )


def _sentence(error: OSError) -> str:
    where = error.filename2 or error.filename
    return "%s: %s" % (where, error.strerror) if where else str(error.strerror or error)


_PAYLOAD = ("argv", "script", "arguments", "interpreter", "call", "kwargs", "environment", "environment_script")


def away_from_home(spec: "dict[str, Any]", scratch: str) -> "dict[str, Any]":
    """A job that was carried here: its files have places in scratch, and the payload's words name those."""
    places = {}  # type: dict[str, str]
    spec = dict(spec)
    for kind, path in (("inputs", "home"), ("outputs", "path")):
        items = spec[kind] = [dict(item) for item in spec.get(kind) or ()]
        for number, item in enumerate(items):
            if item.get("name") is None:
                item["name"] = "%s.%d/%s" % (kind, number, os.path.basename(item[path]))
                places[item[path]] = "%s/%s" % (scratch, item["name"])
    for key in _PAYLOAD:
        if key in spec:
            spec[key] = _with_places(spec[key], places)
    for item in spec["outputs"]:
        item["check"] = _with_places(item.get("check"), places)
    return spec


def _with_places(value: "Any", places: "dict[str, str]") -> "Any":
    """The same with other paths; one that is only a part of a longer path is none."""
    if isinstance(value, list):
        return [_with_places(each, places) for each in value]
    if isinstance(value, dict):
        return {key: _with_places(each, places) for key, each in value.items()}
    if not isinstance(value, str) or not places:
        return value
    import re

    longest_first = sorted(places, key=len, reverse=True)
    pattern = r"(?<![\w./-])(?:%s)(?![\w/-]|\.\w)" % "|".join(map(re.escape, longest_first))
    return re.sub(pattern, lambda found: places[found.group()], value)


def _parse_metrics(text: bytes, name: str) -> "dict[str, float]":
    try:
        values = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise failed("metrics", "%s is not JSON: %s" % (name, error))
    except RecursionError:
        raise failed("metrics", "%s is nested too deeply" % name)
    if not isinstance(values, dict):
        raise failed("metrics", "%s is not a JSON object of names and numbers" % name)
    for key, value in values.items():
        if type(value) not in (int, float):
            raise failed("metrics", "the metric %r in %s is not a number" % (key, name))
        if value != value or value in (float("inf"), float("-inf")):
            raise failed("metrics", "the metric %r in %s is %r, not a finite number" % (key, name, value))
    return values


def _result(job: "Job", spec: "dict[str, Any]", verdict: "Verdict") -> "dict[str, Any]":
    finished = time.time()
    usage = job.usage
    return {
        "format": FORMAT,
        "ledger": spec["ledger"],
        "job": spec["job"],
        "attempt": spec["attempt"],
        "state": verdict.state,
        "cause": verdict.cause,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "message": verdict.message,
        "host": _HOST,
        "started": job.started,
        "finished": finished,
        "usage": {
            "wall_s": round(finished - job.started, 6),
            "cpu_s": round(usage.cpu, 6),
            "max_rss": usage.peak,
            "read_bytes": usage.read,
            "write_bytes": usage.written,
        },
        "outputs": job.outputs if verdict.state == "done" else [],
        "metrics": job.metrics,
        **({key: spec[key] for key in ("name", "folder", "retry", "run") if key in spec} if "retry" in spec else {}),
    }


def run_job(spec: "dict[str, Any]", desk: "Desk") -> "tuple[dict[str, Any], bytes]":
    """Claim, run and report one job: the result, also as it stands in the file. ``Refused`` if it is not ours."""
    try:
        held = claim(spec["directory"].rstrip("/"))
    except OSError as error:
        nothing = Job(spec, desk, Claim(spec["directory"], -1, -1))
        result = _result(nothing, spec, failed("publish", "the attempt cannot be claimed: %s" % _sentence(error)))
        return result, json.dumps(result).encode()
    try:
        job = Job(spec, desk, held)
        verdict = job.perform()
        if verdict.state != "done":
            held.note(verdict.message)
        return _write_result(job, spec, verdict, held)
    finally:
        os.chdir("/")
        held.release()


def _write_result(
    job: "Job", spec: "dict[str, Any]", verdict: "Verdict", held: "Claim"
) -> "tuple[dict[str, Any], bytes]":
    result = _result(job, spec, verdict)
    data = json.dumps(result).encode()
    try:
        write_atomically(held.directory + "/result.json", data)
    except OSError as error:  # without a result on disk nothing is proved
        result = _result(job, spec, failed("publish", "the result cannot be written: %s" % _sentence(error)))
        data = json.dumps(result).encode()
    return result, data


# --------------------------------------------------------------------------------------------------- warm mode


class Worker(Desk):
    """A runner that takes job after job from the engine, as long as that lives."""

    def __init__(self, specs: int, control: int) -> None:
        super().__init__()
        self.scratches = Scratches(recycling=True)
        self._current = ""
        self._specs = specs
        self._control = control
        os.set_blocking(specs, False)
        os.set_inheritable(specs, False)
        os.set_inheritable(control, False)
        self._poll.register(control, select.POLLIN)
        self._idle = select.poll()
        for descriptor in (specs, control, self._bell):
            self._idle.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Run what comes, until the engine is gone or somebody says stop."""
        while not self.leaving:
            spec = self._next()
            if spec is not None:
                self._handle(spec)
        self.scratches.clear()

    def _next(self) -> "dict[str, Any] | None":
        ready = [descriptor for descriptor, _ in self._idle.poll()]
        if self._bell in ready:
            os.read(self._bell, 4096)
        if self._control in ready:
            self.listen()
        if self.leaving or self._specs not in ready:
            return None
        return self._receive()

    def _receive(self) -> "dict[str, Any] | None":
        try:
            data = os.read(self._specs, MESSAGE_LIMIT)
        except BlockingIOError:  # another worker was faster
            return None
        if not data:
            self.leaving = True
            return None
        spec = json.loads(data.decode())  # type: dict[str, Any]
        if "file" in spec:
            with open(spec["file"], "rb") as file:
                data = file.read()
            os.unlink(spec["file"])
            spec = json.loads(data.decode())
        return spec

    def _handle(self, spec: "dict[str, Any]") -> None:
        self._current = "%d.%d" % (spec["job"], spec["attempt"])
        try:
            data = run_job(spec, self)[1]
        except Refused as refusal:
            data = self._event("refused", spec, reason=str(refusal))
        if len(data) > MESSAGE_LIMIT:
            data = self._event("finished", spec, file=spec["directory"] + "/result.json")
        self._current = ""
        if not self.leaving:
            self.stop = ""
        self._say(data)

    def _event(self, kind: str, spec: "dict[str, Any]", **more: "Any") -> bytes:
        return json.dumps(dict(more, event=kind, job=spec["job"], attempt=spec["attempt"])).encode()

    def _say(self, data: bytes) -> None:
        try:
            os.write(self._control, data)
        except OSError:
            self.leaving = True

    def announce(self, spec: "dict[str, Any]") -> None:
        """Tell the engine that the payload runs, unless it is too busy: the watchdog must not wait for it."""
        room = select.poll()
        room.register(self._control, select.POLLOUT)
        if room.poll(0):
            self._say(self._event("started", spec, at=time.time(), host=_HOST))

    def listen(self) -> None:
        """Orders of the engine; its end is an order to start nothing more."""
        try:
            data = os.read(self._control, 4096)
        except OSError:
            data = b""
        if not data:
            self.leaving = True
            self._poll.unregister(self._control)
        elif json.loads(data.decode()).get("kill") == self._current:
            self.stop = "the job was stopped by order"


# --------------------------------------------------------------------------------------------------- callables


def call(path: str) -> None:
    """Call the function that a file names; a dictionary that it returns becomes the metrics."""
    with open(path) as file:
        order = json.load(file)
    where, _, name = order["call"].rpartition(":")
    function = _load(where)
    for part in name.split("."):
        function = getattr(function, part)
    returned = function(**order["kwargs"])
    metrics = os.environ.get("FIDUCIAL_METRICS")
    if isinstance(returned, dict) and metrics and not os.path.exists(metrics):
        write_atomically(metrics, json.dumps(returned, default=float).encode())


def _load(where: str) -> "Any":
    import importlib
    import importlib.util

    sys.path[0] = os.path.dirname(where) if where.endswith(".py") else os.getcwd()
    if not where.endswith(".py"):
        return importlib.import_module(where)
    name = os.path.basename(where)[:-3]
    spec = importlib.util.spec_from_file_location(name, where)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ----------------------------------------------------------------------------------------------- inputs by result

_PLACE = re.compile(r"@\{([A-Za-z_]\w*(?:\.\d+)?)(?::(\d+))?\}")
#: The checksum of a larger input is not computed again: it is told from another by its size alone.
_MOST_READ = 16 << 20


def filled(value: "Any", names: "dict[str, Any]") -> "Any":
    """Put values in the places of a template; places with other names stay as they are."""
    if isinstance(value, str):
        return _PLACE.sub(lambda match: _in_place(match, names), value)
    if isinstance(value, dict):
        if len(value) == 1 and value.get("@") in names:
            return names[value["@"]]
        return {key: filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [word for item in value for word in _filled_item(item, names)]
    return value


def _filled_item(item: "Any", names: "dict[str, Any]") -> "list[Any]":
    """What an item of a list becomes: a place of several files becomes as many items."""
    match = _PLACE.match(item) if isinstance(item, str) else None
    if match and match.group() == item and isinstance(names.get(match.group(1)), list):
        return list(names[match.group(1)])
    return [filled(item, names)]


def _in_place(match: "Any", names: "dict[str, Any]") -> str:
    if match.group(1) not in names:
        return str(match.group())
    value = names[match.group(1)]
    text = " ".join(value) if isinstance(value, list) else str(value)
    return text.zfill(int(match.group(2) or 0))


def with_found_inputs(spec: "dict[str, Any]") -> "dict[str, Any]":
    """The specification with files in the place of inputs that are to be found in the results of other jobs."""
    entries = []  # type: list[dict[str, Any]]
    names = {}  # type: dict[str, Any]
    for number, item in enumerate(spec["inputs"]):
        if "from" not in item:
            entries.append(item)
            continue
        found = find_input(item)
        shown = [entry["name"] or entry["path"] for entry in found]
        names["inputs.%d" % number] = shown if item.get("many") else shown[0]
        entries += found
    rest = filled({key: value for key, value in spec.items() if key != "inputs"}, names)
    return dict(rest, inputs=entries)


def find_input(item: "dict[str, Any]") -> "list[dict[str, Any]]":
    """What other jobs have published, as inputs: of each job the newest attempt that is done counts."""
    results = [result for folder in _iterations(item) for result in _results(folder, item.get("key"))]
    if len(results) < item.get("least", 1):
        where = "%s has %d jobs that are done" % (item["from"], len(results))
        raise failed("input", "%s, and %d are needed" % (where, item.get("least", 1)))
    files = [entry for result in results for entry in _published(item, result)]
    if not files:
        raise failed("input", "no job in %s has published %r" % (item["from"], item["output"]))
    names = _link_names(files, item)
    return [dict(entry, name=names[place]) for place, entry in enumerate(files)]


def _iterations(item: "dict[str, Any]") -> "list[str]":
    wanted = item["iteration"]
    if isinstance(wanted, int):
        return ["%s/%02d" % (item["from"], wanted)]
    there = sorted((name for name in os.listdir(item["from"]) if name.isdigit()), key=int)
    return ["%s/%s" % (item["from"], name) for name in (there if wanted == "every" else there[-1:])]


def _results(folder: str, key: "str | None") -> "list[dict[str, Any]]":
    """The results of jobs that are done, by their keys."""
    newest = {}  # type: dict[str, int]
    if key is not None:
        newest[key] = last_attempt("%s/%s" % (folder, key))
    else:
        for name in os.listdir(folder):
            job, _, number = name.rpartition(".")
            if job and number.isdigit():
                newest[job] = max(int(number), newest.get(job, 0))
    found = []
    for job in sorted(newest):
        for attempt in range(newest[job], 0, -1):
            result = read_result("%s/%s.%d" % (folder, job, attempt))
            if result.get("state") == "done":
                found.append(dict(result, now=os.path.dirname(os.path.dirname(os.path.dirname(folder)))))
                break
    return found


def last_attempt(stem: str) -> int:
    """The number of the last attempt at a job; there is no gap below it."""
    number = 0
    while os.path.exists("%s.%d" % (stem, number + 1)):
        number += 1
    return number


def read_result(directory: str) -> "dict[str, Any]":
    """What a runner has left in an attempt's directory; nothing if it has not ended or the file is damaged."""
    try:
        result = json.loads(_read(directory + "/result.json").decode("utf-8"))
    except ValueError:
        return {}
    return result if isinstance(result, dict) else {}


def _published(item: "dict[str, Any]", result: "dict[str, Any]") -> "list[dict[str, Any]]":
    wanted = item["output"]
    entries = []
    for output in result.get("outputs") or ():
        key = output["key"] or ""
        if key == wanted or key.startswith(wanted + "/"):
            adler32 = output["adler32"] if output["size"] <= _MOST_READ else None
            path = moved(output["path"], result.get("folder"), result["now"])
            entries.append({"path": path, "size": output["size"], "adler32": adler32})
    return entries


def moved(path: str, before: "str | None", now: str) -> str:
    """Where a file lies after the folder that it lay in was moved."""
    return now + path[len(before) :] if before and path.startswith(before + "/") else path


def _link_names(files: "list[dict[str, Any]]", item: "dict[str, Any]") -> "list[str | None]":
    """Names of links: those of the files, with their own folders where they would be the same."""
    if item.get("name") is None or not item.get("many"):
        return [item.get("name")] * len(files)
    names = [os.path.basename(entry["path"]) for entry in files]
    if len(set(names)) < len(names):
        base = os.path.commonpath([os.path.dirname(entry["path"]) for entry in files])
        names = [os.path.relpath(entry["path"], base) for entry in files]
    return ["%s/%s" % (item["name"], name) for name in names]


# ------------------------------------------------------------------------------------------------ as node of a DAG


class Node:
    """One job of a DAG: what the node file says of its step, and what the command line says of itself."""

    def __init__(self, options: "dict[str, str]", values: "dict[str, str]") -> None:
        self._base = os.path.dirname(_FILE)
        with open(os.path.join(self._base, options["node"]), encoding="utf-8") as file:
            self._about = json.load(file)  # type: dict[str, Any]
        self.folder = os.path.normpath(os.path.join(self._base, self._about["folder"]))
        self._retry = int(options.get("retry", "0"))
        self._run = int(options["run"]) if "run" in options else None
        line = self._line(self._offset(options)) if "at" in options or "place" in options else {}
        self.key = line.get("key", options.get("key", ""))  # type: str
        if "key" in options and options["key"] != self.key:
            raise ValueError("job %s is at that place, and not %s" % (self.key, options["key"]))
        kinds = self._about.get("values") or {}
        typed = {name: int(value) if kinds.get(name) == "int" else value for name, value in values.items()}
        self._names = dict(typed, **line.get("values", {}))
        self._job = line.get("job") or self._about["job"]

    def _offset(self, options: "dict[str, str]") -> int:
        if "at" in options:
            return int(options["at"])
        with open(os.path.splitext(os.path.join(self._base, self._about["jobs"]))[0] + ".index", "rb") as index:
            index.seek((int(options["place"]) - 1) * INDEX_WIDTH)
            return int(index.read(INDEX_WIDTH))

    def _line(self, offset: int) -> "dict[str, Any]":
        with open(os.path.join(self._base, self._about["jobs"]), "rb") as file:
            file.seek(offset)
            return dict(json.loads(file.readline().decode("utf-8")))

    def spec(self, attempt: int) -> "dict[str, Any]":
        """What an attempt is to do."""
        memory, wall_time = self._by_retry("memory"), self._by_retry("wall_time")
        names = dict(self._names, folder=self.folder, key=self.key, attempt=attempt)
        names["memory_mb"] = int(memory or 0) >> 20
        spec = dict(filled(self._job, names), attempt=attempt, folder=self.folder, retry=self._retry)
        if isinstance(spec.get("script"), list):
            spec["script"] = "\n".join(spec["script"])
        spec["job"] = zlib.crc32(spec["name"].encode("utf-8")) & 0xFFFFFFFF
        if self._run is not None:
            spec["run"] = self._run
        spec["resources"] = dict(spec.get("resources") or {}, memory=memory)
        spec["limits"] = dict(spec.get("limits") or {}, memory=memory, wall_time=wall_time)
        return spec

    def _by_retry(self, what: str) -> "Any":
        """Memory or wall time, which grow from retry to retry."""
        steps = self._policy.get(what) or [None]
        return steps[min(self._retry, len(steps) - 1)]

    @property
    def _policy(self) -> "dict[str, Any]":
        return self._about.get("retry") or {}

    @property
    def stem(self) -> str:
        """What the directories of all its attempts begin with."""
        return str(self.spec(1)["directory"].rpartition(".")[0])

    def run(self, desk: "Desk") -> "tuple[dict[str, Any], str]":
        """Run the next attempt that nobody else has: the result, and its directory."""
        attempt = last_attempt(self.stem) + 1
        while True:
            spec = self.spec(attempt)
            try:
                return run_job(spec, desk)[0], spec["directory"]
            except Refused:
                attempt += 1

    def exit_code(self, result: "dict[str, Any]", directory: str) -> int:
        """What DAGMan is told: whether it is done, may be tried again, or is of no use any more."""
        cause = result["cause"]
        if cause in ("ok", "stopped") or not self._is_hopeless(result, directory):
            return EXIT_CODES[cause]
        return EXIT_CODES["ok"] if self._is_tolerated(result) else NO_RETRY

    def _is_hopeless(self, result: "dict[str, Any]", directory: str) -> bool:
        """The same decision as that of the engine, see ``fiducial.core.retry``."""
        cause, policy = result["cause"], self._policy
        if cause == "exit" and result["exit_code"] in (policy.get("final_exit_codes") or ()):
            return True
        if cause in ("memory", "wall_time") and self._is_at_most(policy.get(cause) or [None]):
            return True  # the same again would fail the same way
        most = policy.get("most", 0)
        used = self._causes_before(directory).count(cause)
        return bool(self._retry >= most or used >= (policy.get("causes") or {}).get(cause, most))

    def _is_at_most(self, steps: "list[Any]") -> bool:
        """Whether the next attempt would have no more of what there was too little of."""
        steps = steps[self._retry :]
        return len(steps) < 2 or bool(steps[1] == steps[0])

    def _causes_before(self, directory: str) -> "list[str]":
        """Why earlier attempts failed, as far back as this run of the DAG goes: in a run, retries only count up."""
        stem, _, number = directory.rpartition(".")
        found = []
        level = self._retry
        for attempt in range(int(number) - 1, 0, -1):
            result = read_result("%s.%d" % (stem, attempt))
            if not result or result["cause"] == "stopped":  # its node died, or it was sent elsewhere
                continue
            if result.get("retry", level) >= level or result.get("run") != self._run:
                break
            level = result["retry"]
            found.append(result["cause"])
        return found

    def _is_tolerated(self, result: "dict[str, Any]") -> bool:
        """Take one of the places that the step has for jobs that fail for good."""
        step, iteration = result["name"].rsplit("/", 3)[1:3]
        folder = "%s/.fiducial/tolerated-%s-%s" % (self.folder, step, iteration)
        for place in range(self._about.get("tolerate") or 0):
            os.makedirs(folder, exist_ok=True)
            try:
                descriptor = os.open("%s/%d" % (folder, place), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                if _read("%s/%d" % (folder, place)) != self.key.encode("utf-8"):
                    continue
                return True
            os.write(descriptor, self.key.encode("utf-8"))
            os.close(descriptor)
            return True
        return False


class Task(Node):
    """One job of an array whose batch system knows no causes: it is tried again here, as far as the allocation goes."""

    def __init__(self, options: "dict[str, str]", values: "dict[str, str]") -> None:
        super().__init__(options, values)
        self._again = "again" in options
        self._marks = options["marks"]
        self._memory = int(options.get("memory", "0"))
        self._end = time.time() + int(options["within"]) if "within" in options else 0.0

    def _by_retry(self, what: str) -> "Any":
        steps = self._policy.get(what) or [None]
        limit = steps[-1 if self._again else 0]
        granted = self._memory if what == "memory" else self._end - time.time() if self._end else 0
        return min(limit, granted) if limit and granted else limit

    def persevere(self, desk: "Desk") -> int:
        """Run it until it is done, or nothing more can be done here: the exit code."""
        code = self._before()
        while code is None:
            result, directory = self.run(desk)
            code = _told(result, directory, self.exit_code(result, directory))
            if self._is_to_be_tried(code, result["cause"]):
                self._retry += 1
                code = None
        return code

    def run(self, desk: "Desk") -> "tuple[dict[str, Any], str]":
        """Run the next attempt, between two marks."""
        self._mark("begun", last_attempt(self.stem) + 1)
        result, directory = super().run(desk)
        self._mark("ended", result["attempt"])
        return result, directory

    def _mark(self, kind: str, attempt: int) -> None:
        touch("%s/%s/%s.%d" % (self._marks, kind, self.key, attempt))

    def _before(self) -> "int | None":
        """Go on where an earlier allocation of this run has left off; the exit code if nothing is to be done."""
        last = last_attempt(self.stem)
        results = [(n, read_result("%s.%d" % (self.stem, n))) for n in range(last, 0, -1)]
        if any(result.get("state") == "done" for _, result in results):
            return self._say("it is done already", EXIT_CODES["ok"])
        mine = [(n, result) for n, result in results if result.get("run") == self._run]
        if not mine:
            if self._again and not self._was_begun(last):
                return self._say("it was taken out of the queue before it began", NO_RETRY)
            self._retry = int(self._again)
            return None
        number, newest = mine[0]
        self._retry = newest["retry"]
        if newest["cause"] == "stopped":
            return self._say("it was stopped, and nobody asked for it again", NO_RETRY) if self._again else None
        code = self._unmended(newest, "%s.%d" % (self.stem, number))
        self._retry += 1
        return code

    def _unmended(self, result: "dict[str, Any]", directory: str) -> "int | None":
        """The exit code of an earlier allocation's attempt, where no other shall follow."""
        again, self._again = self._again, False
        code = self.exit_code(result, directory)
        self._again = again
        return self._say("it has failed for good", code) if code in (EXIT_CODES["ok"], NO_RETRY) else None

    def _was_begun(self, last: int) -> bool:
        return any(os.path.exists("%s/begun/%s.%d" % (self._marks, self.key, n)) for n in range(1, last + 2))

    def _say(self, what: str, code: int) -> int:
        sys.stdout.write("%s: %s\n" % (self.spec(1)["name"], what))
        return code

    def _is_to_be_tried(self, code: int, cause: str) -> bool:
        """Whether the next attempt can be made in this allocation."""
        if code in (EXIT_CODES["ok"], NO_RETRY) or cause == "stopped":
            return False
        # Few jobs take half of the time that they are given: what remains will do for most.
        needed = ((self._policy.get("wall_time") or [None])[0] or 0) / 2
        return cause not in ("memory", "wall_time") and (not self._end or time.time() + needed <= self._end)

    def _is_at_most(self, steps: "list[Any]") -> bool:
        return self._again or bool(steps[-1] == steps[0])


def touch(path: str) -> None:
    """Leave a mark; where that cannot be, the engine finds out by itself, later."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
    except OSError:
        pass


def _end_of(path: str) -> str:
    """The last lines of a text that may be long."""
    try:
        with open(path, "rb") as file:
            file.seek(-min(4000, os.fstat(file.fileno()).st_size), os.SEEK_END)
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


_NODE_OPTIONS = ("--node", "--key", "--retry", "--at", "--place", "--run", "--marks", "--memory", "--within")


def _node_words(arguments: "list[str]") -> "tuple[dict[str, str], dict[str, str]]":
    """Options and values on a node's command line."""
    options, values = {}, {}  # type: dict[str, str], dict[str, str]
    words = iter(arguments)
    for word in words:
        if word in _NODE_OPTIONS:
            options[word[2:]] = next(words, "")
        elif word == "--again":
            options["again"] = ""
        elif "=" in word and not word.startswith("-"):
            name, _, value = word.partition("=")
            values[name] = value
        else:
            raise ValueError("the word %s is not known" % word)
    return options, values


def run_node(arguments: "list[str]") -> int:
    """Run a node of a DAG, say on standard output and standard error what became of it, and return the exit code."""
    try:
        words = _node_words(arguments)
        node = Task(*words) if "place" in words[0] else Node(*words)
        node.spec(1)["directory"].rindex(".")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.stderr.write("runner: the node %s cannot be used: %s\n" % (" ".join(arguments), str(error) or repr(error)))
        return NO_RETRY
    if isinstance(node, Task):
        return node.persevere(Desk())
    result, directory = node.run(Desk())
    return _told(result, directory, node.exit_code(result, directory))


def _told(result: "dict[str, Any]", directory: str, code: int) -> int:
    """Say what became of an attempt, and give back its exit code."""
    about = "%s, attempt %d on %s" % (result["name"], result["attempt"], result["host"])
    sys.stdout.write("%s: %s\nlog: %s/log.txt\n" % (about, result["state"], directory))
    if result["state"] != "done":
        log = _end_of(directory + "/log.txt")
        sys.stderr.write("%s: %s: %s\n%s" % (about, result["cause"], result["message"], log))
    if code in (EXIT_CODES["ok"], NO_RETRY) and result["state"] != "done":
        sys.stderr.write("the step goes on without it\n" if code == EXIT_CODES["ok"] else "no retry would mend it\n")
    sys.stdout.flush()
    sys.stderr.flush()
    return code


# -------------------------------------------------------------------------------------------------- as program


def _fault(spec: "Any") -> str:
    """Why a specification does not even say where its result belongs; empty if it does."""
    if not isinstance(spec, dict):
        return "it is not a JSON object"
    for key, kind in (("job", int), ("attempt", int), ("ledger", str), ("directory", str)):
        if not isinstance(spec.get(key), kind):
            return "format %r, and no usable %r" % (spec.get("format"), key)
    return "" if spec["directory"].startswith("/") else "its directory is not an absolute path"


class Queued(Desk):
    """A runner that a batch system started: it leaves marks where the engine looks for them, all at once."""

    def __init__(self, folder: str, place: str) -> None:
        super().__init__()
        self._folder = folder
        self._place = place

    def announce(self, spec: "dict[str, Any]") -> None:
        """Tell that the payload runs."""
        self.mark("begun")

    def mark(self, kind: str) -> None:
        """Leave a mark of a kind."""
        touch("%s/%s/%s" % (self._folder, kind, self._place))


def run_queued(folder: str, place: str) -> int:
    """Run one job of a submission, and return the exit code."""
    desk = Queued(folder, place)
    path = "%s/jobs/%s.json" % (folder, place)
    if not os.path.exists(path):
        path = "%s/jobs.jsonl" % folder
    code = run_file(path, desk, place)
    if code != EXIT_CODES["refused"]:
        desk.mark("ended")
    return code


def _described(path: str, place: str) -> bytes:
    """What a file says of a job: all of it, or, of one with a line for each job, the line."""
    with open(path, "rb") as file:
        if path.endswith(".jsonl"):
            with open(path[: -len("jsonl")] + "index", "rb") as index:
                index.seek((int(place) - 1) * INDEX_WIDTH)
                file.seek(int(index.read(INDEX_WIDTH)))
            return file.readline()
        return file.read()


def run_file(path: str, desk: "Desk | None" = None, place: str = "1", carried: bool = False) -> int:
    """Run the job that a file describes, and return the exit code."""
    try:
        spec = json.loads(_described(path, place).decode("utf-8"))
        fault = _fault(spec)
        if carried and not fault:
            _settle_here(spec)
    except (OSError, ValueError) as error:
        fault = str(error)
    if fault:
        sys.stderr.write("runner: %s cannot be used: %s\n" % (path, fault))
        return EXIT_CODES["spec"]
    try:
        result = run_job(spec, desk or Desk())[0]
    except Refused:
        return EXIT_CODES["refused"]
    if result["cause"] in ("spec", "publish"):
        sys.stderr.write("runner: %s: %s\n" % (path, result["message"]))
    return EXIT_CODES[result["cause"]]


def _settle_here(spec: "dict[str, Any]") -> None:
    """Make a job that was carried here find its files, and leave its own, in the working directory."""
    here = os.getcwd()
    spec.update(carried=True, directory=here + "/attempt")
    for item in spec.get("inputs") or ():
        item["home"] = item["path"]
        item["path"] = "%s/%s" % (here, item.get("carried"))


def _fill_standard_descriptors() -> None:
    """A batch system may start us with some closed, and what we open must not take their place."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return


def main(arguments: "list[str]") -> int:
    """What the command line asks for."""
    _fill_standard_descriptors()
    if len(arguments) == 3 and arguments[0] == "--warm":
        Worker(int(arguments[1]), int(arguments[2])).serve()
        return 0
    if len(arguments) == 3 and arguments[0] == "--queued":
        return run_queued(arguments[1], arguments[2])
    if len(arguments) == 2 and arguments[0] == "--carried":
        return run_file(arguments[1], carried=True)
    if len(arguments) == 2 and arguments[0] == "--call":
        call(arguments[1])
        return 0
    if arguments[:1] == ["--node"]:
        return run_node(arguments)
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        return run_file(arguments[0])
    sys.stderr.write("usage: runner.py job.json\n")
    return EXIT_CODES["spec"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
