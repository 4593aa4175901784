"""What Slurm is told and what it answers. The answers are recordings of a real one: tests/data/slurm/README.md."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.kinds import read_site
from fiducial.batch.queue.requests import kinds_of
from fiducial.batch.queue.system import Bundle, Ref, Status
from fiducial.batch.slurm import parse
from fiducial.batch.slurm.reasons import TRANSIENT, queue_state, sentence
from fiducial.batch.slurm.render import sbatch_words, script, task_lists, time_limit
from fiducial.batch.slurm.system import Slurm
from fiducial.core.errors import BackendError, ConfigurationError, QueueFullError

DATA = Path(__file__).parents[2] / "data" / "slurm"
TOKEN = "fd0123456789abcd"
TOKENS = {"1": TOKEN, "9": TOKEN, "32": TOKEN}


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def slurm_site(**keys: Any) -> Any:
    return read_site("site", {"backend": "slurm", **keys}, "test")


def bundle(folder: Path, *, jobs: int = 3, native: str = "", site: Any = None, **limits: Any) -> Bundle:
    spec = {"name": "camp/reco/01/00001", "limits": limits, "resources": {"cpus": 4}}
    [(request, _)] = kinds_of([spec], site or slurm_site())
    keys = tuple((job, 1) for job in range(1, jobs + 1))
    return Bundle(TOKEN, "camp.reco.01", folder, keys, (folder,) * jobs, request, "l", native)


# ---------------------------------------------------------------------------------------------------- submission


def test_a_bundle_is_one_array_with_full_units(tmp_path: Path) -> None:
    words = sbatch_words(bundle(tmp_path, memory=2**30 + 1, wall_time=86400 * 2, disk=2**30))
    assert words[0] == "sbatch"
    assert words[-1] == str(tmp_path / "slurm.sh")
    assert {"--nodes=1", "--ntasks=1", "--cpus-per-task=4", "--array=1-3", "--no-requeue", "--parsable"} <= set(words)
    assert "--mem=1057M" in words  # 1024 MiB and a byte, and 32 MiB for the runner, rounded up
    assert "--time=2-00:01:30" in words
    assert not any(word.startswith("--tmp") for word in words)
    assert "--tmp=1024M" in sbatch_words(bundle(tmp_path, disk=2**30), node_disk=True)


def test_what_is_not_limited_is_not_asked_for(tmp_path: Path) -> None:
    words = sbatch_words(bundle(tmp_path))
    assert not any(word.startswith(("--mem", "--time", "--tmp", "--partition", "--qos")) for word in words)


def test_a_site_s_wishes_are_options_and_ours_stand_last(tmp_path: Path) -> None:
    site = slurm_site(
        queue="long",
        account="atlas",
        requirements="avx2&el9",
        qos="normal",
        reservation="run 3",
        licenses="conditions:1",
        gres="gpu:1",
        exclude="n[1-3]",
        extra=["--nice=100", "--requeue"],
        steps={"reco": {"qos": "short", "queue": "express"}},
    )
    words = sbatch_words(bundle(tmp_path, site=site))
    asked = {"--partition=express", "--account=atlas", "--constraint=avx2&el9", "--qos=short", "--reservation=run 3"}
    assert asked | {"--licenses=conditions:1", "--gres=gpu:1", "--exclude=n[1-3]", "--nice=100"} <= set(words)
    assert words.index("--requeue") < words.index("--no-requeue")


def test_folders_with_awkward_names_reach_the_node(tmp_path: Path) -> None:
    folder = tmp_path / "50 % of Müller's $HOME"
    words = sbatch_words(bundle(folder))
    assert f"--output={tmp_path}/50 %% of Müller's $HOME/logs/%a.log" in words
    assert f"--chdir={folder}" in words
    assert "--output=/dev/null" in sbatch_words(bundle(tmp_path / "back\\slash"))


def test_the_script_starts_a_job_by_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    start = bundle(folder).start
    start.write_text('#!/bin/bash\necho "place $1"\n')
    start.chmod(0o755)
    (folder / "slurm.sh").write_text(script(bundle(folder)))
    command = ["bash", str(folder / "slurm.sh")]
    assert subprocess.check_output(command, env={"SLURM_ARRAY_TASK_ID": "7"}, text=True) == "place 7\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(24 * 60, "0-00:24:00"), (24 * 3600, "1-00:00:00"), (59.2, "0-00:01:00"), (90061, "1-01:01:01")],
)
def test_a_time_limit_can_be_read_in_one_way_only(seconds: float, words: str) -> None:
    assert time_limit(seconds) == words


def test_jobs_are_named_in_few_words_that_fit_a_command_line() -> None:
    assert list(task_lists([Ref("9", 7), Ref("12", 2), Ref("9", 1), Ref("12", 1), Ref("12", 3)])) == [
        ["9_[1,7]", "12_[1-3]"]
    ]
    many = list(task_lists([Ref("9", place) for place in range(1, 20_001, 2)]))
    assert all(sum(map(len, words)) < 100_000 for words in many)
    named = [place for words in many for word in words for place in word[3:-1].split(",")]
    assert named == [str(place) for place in range(1, 20_001, 2)]


def test_slurm_moves_no_files() -> None:
    with pytest.raises(ConfigurationError, match="shared"):
        slurm_site(shared=False)


# ------------------------------------------------------------------------------------------------------- answers


def test_the_queue_tells_what_runs_waits_and_is_held() -> None:
    said = parse.queued(recorded("squeue.txt"), TOKENS)
    assert {ref.place for ref in said if ref.native == "1"} >= {4, 5, 7}
    assert said[Ref("1", 4)] == Status("running", host="node1", at=said[Ref("1", 4)].at)
    assert said[Ref("1", 4)].at > 1_700_000_000  # type: ignore[operator]
    assert said[Ref("9", 29)] == Status("pending", "it waits for free resources (Resources)")
    assert said[Ref("9", 30)] == Status("held", "an administrator holds it (JobHeldAdmin)")
    assert said[Ref("32", 2)] == Status("held", "it asks for more time than the partition gives (PartitionTimeLimit)")
    assert {ref.place for ref in said if ref.native == "9"} == set(range(1, 31))


def test_a_number_that_was_given_again_is_not_ours() -> None:
    assert parse.queued(recorded("squeue.txt"), {"9": "fdffffffffffffff"}) == {}
    assert parse.remembered(recorded("squeue-ended.txt"), {"9": "fdffffffffffffff"}) == {}
    assert parse.accounted(recorded("sacct.txt"), {"9": "fdffffffffffffff"}) == {}


def of_ends(said: dict[Ref, Status]) -> dict[int, tuple[str, int | None]]:
    """Cause and exit code of job 1 by its places."""
    assert all(status.state == "ended" for ref, status in said.items() if ref.native == "1")
    return {ref.place: (status.cause, status.exit_code) for ref, status in said.items() if ref.native == "1"}


ENDS = {
    1: ("", 0),
    2: ("", 3),
    3: ("", None),
    4: ("removed", None),
    5: ("wall_time", None),
    6: ("", None),
    7: ("lost", None),
    8: ("", 0),
}


def test_the_controller_remembers_how_jobs_ended() -> None:
    said = parse.remembered(recorded("squeue-ended.txt"), TOKENS)
    assert of_ends(said) == ENDS
    assert [said[Ref("1", place)].signal for place in (2, 3, 6)] == [None, 9, 9]
    assert said[Ref("9", 24)].state == "pending"
    assert said[Ref("9", 30)].state == "held"
    assert Ref("9", 25) not in said


def test_the_accounts_tell_how_jobs_ended() -> None:
    said = parse.accounted(recorded("sacct.txt"), TOKENS)
    assert of_ends(said) == ENDS
    assert [said[Ref("1", place)].signal for place in (2, 3, 6)] == [None, 9, 9]
    assert said[Ref("1", 4)].reason.startswith("it was cancelled by ")
    assert said[Ref("1", 7)].host == "node1"
    assert said[Ref("9", 24)] == Status("ended", said[Ref("9", 24)].reason, "removed", at=said[Ref("9", 24)].at)


def test_jobs_that_the_accounts_take_for_alive_have_no_end() -> None:
    line = f"1_1|RUNNING|0:0|Unknown|node1|x.{TOKEN}\n1_[2-3]|PENDING|0:0|Unknown|None assigned|x.{TOKEN}\n"
    assert parse.accounted(line, TOKENS) == {}


@pytest.mark.parametrize(
    ("state", "code", "cause"),
    [
        ("OUT_OF_MEMORY", "0:125", "memory"),
        ("DEADLINE", "0:0", "wall_time"),
        ("BOOT_FAIL", "0:0", "lost"),
        ("PREEMPTED", "0:15", "lost"),
        ("FAILED", "0:53", "lost"),  # recorded where a log's folder could not be written
        ("FAILED", "127:0", ""),
    ],
)
def test_every_end_has_its_cause(state: str, code: str, cause: str) -> None:
    line = f"1_1|{state}|{code}|1795314777|node1|x.{TOKEN}"
    assert parse.accounted(line, TOKENS)[Ref("1", 1)].cause == cause


def test_what_a_slurm_can_do() -> None:
    assert parse.facts(recorded("config.txt")) == parse.Facts(most=1000, accounting=True, memory=3600.0)
    small = "MaxArraySize = 5000\nSchedulerParameters = defer,max_array_tasks=300\nMinJobAge = 300 sec\n"
    assert parse.facts(small) == parse.Facts(most=300, accounting=False, memory=300.0)
    assert parse.facts("AccountingStorageType = (null)\nMaxArraySize = 1\n").most == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("123\n", "123"), ("123;cluster\n", "123"), ("a note of the site\n77\n", "77"), ("", ""), ("Submitted", "")],
)
def test_the_number_of_a_submission(text: str, number: str) -> None:
    assert parse.array_id(text) == number


# ------------------------------------------------------------------------------------------- states and reasons


@pytest.mark.parametrize(
    ("state", "reason", "known"),
    [
        ("PENDING", "Priority", "pending"),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-3]", "pending"),
        ("PENDING", "QOSMaxJobsPerUserLimit", "pending"),
        ("PENDING", "AssocGrpCpuLimit", "pending"),
        ("PENDING", "BeginTime", "pending"),
        ("PENDING", "JobHeldUser", "held"),
        ("PENDING", "launch failed requeued held", "held"),
        ("PENDING", "job requeued in held state", "held"),
        ("PENDING", "DependencyNeverSatisfied", "held"),
        ("PENDING", "QOSMaxMemoryPerJob", "held"),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", "held"),
        ("PENDING", "AssocMaxWallDurationPerJobLimit", "held"),
        ("PENDING", "AssocMaxCpuPerJobLimit", "held"),
        ("REQUEUE_HOLD", "None", "held"),
        ("SPECIAL_EXIT", "None", "held"),
        ("CONFIGURING", "None", "pending"),
        ("SUSPENDED", "None", "running"),
        ("COMPLETING", "None", "ended"),
        ("NODE_FAIL", "None", "ended"),
        ("A_STATE_OF_THE_FUTURE", "None", "pending"),
    ],
)
def test_states_and_reasons(state: str, reason: str, known: str) -> None:
    assert queue_state(state, reason) == known


@pytest.mark.parametrize(
    ("reason", "english"),
    [
        ("None", ""),
        ("Priority", "jobs of higher priority come first (Priority)"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n1",
            "a node that it needs is not available (ReqNodeNotAvail, UnavailableNodes:n1)",
        ),
        ("QOSMaxCpuPerUserLimit", "its quality of service uses as much as it may (QOSMaxCpuPerUserLimit)"),
        ("AssocMaxCpuPerJobLimit", "it asks for what its account does not give to one job (AssocMaxCpuPerJobLimit)"),
        ("launch failed requeued held", "launch failed requeued held"),
    ],
)
def test_reasons_are_told_in_english(reason: str, english: str) -> None:
    assert sentence(reason) == english


def test_refusals_that_were_recorded_are_for_good() -> None:
    for refusal in recorded("refusals.txt").split("\n\n"):
        assert TRANSIENT.search(refusal) is None, refusal


@pytest.mark.parametrize(
    "words",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "scancel: error: slurm_kill_job2() failed Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)",
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:db:6819",
    ],
)
def test_what_passes_is_told_from_what_stays(words: str) -> None:
    assert TRANSIENT.search(words)


# ------------------------------------------------------------------------------- commands that fail: no real Slurm


class Script:
    """A folder of commands that answer as they are told; for faults only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.says("scontrol", recorded("config.txt"))

    def says(self, command: str, out: str = "", *, err: str = "", code: int = 0) -> None:
        for name, text in (("out", out), ("err", err)):
            (self.folder / f"{command}.{name}").write_text(text)
        path = self.folder / command
        here = self.folder / command
        path.write_text(f'#!/bin/sh\necho "$@" >> {here}.calls\ncat {here}.out; cat {here}.err >&2; exit {code}\n')
        path.chmod(0o755)

    def calls(self, command: str) -> list[str]:
        path = self.folder / f"{command}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def commands(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    folder = tmp_path / TOKEN
    (folder / "logs").mkdir(parents=True)
    (folder / "bundle.json").touch()
    return bundle(folder, jobs=8, native="1")


def open_slurm(commands: Script, **keys: Any) -> Slurm:
    return Slurm(slurm_site(commands=str(commands.folder), **keys))


def test_a_full_queue_is_no_refusal(commands: Script, made: Bundle) -> None:
    words = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
    commands.says("sbatch", err=f"{words} accounting/QOS policy (job submit limit, user's size", code=1)
    with pytest.raises(QueueFullError, match="QOSMaxSubmitJobPerUserLimit"):
        open_slurm(commands).submit(made)


def test_a_refusal_says_what_to_do(commands: Script, made: Bundle) -> None:
    commands.says("sbatch", err=recorded("refusals.txt").split("\n\n")[0].partition("\n")[2], code=1)
    with pytest.raises(BackendError) as caught:
        open_slurm(commands).submit(made)
    words = "invalid partition specified: nosuch; Batch job submission failed: Invalid partition name specified"
    assert caught.value.message == f"Slurm: sbatch: {words}"
    assert not caught.value.transient
    assert "sinfo -s" in caught.value.hint


def test_an_answer_that_is_no_number_is_looked_up(commands: Script, made: Bundle) -> None:
    commands.says("sbatch", "Willkommen!\n")
    with pytest.raises(BackendError, match="Willkommen") as caught:
        open_slurm(commands).submit(made)
    assert caught.value.transient


def test_a_cluster_without_arrays_is_told(commands: Script) -> None:
    commands.says("scontrol", "MaxArraySize = 0\n")
    with pytest.raises(BackendError, match="arrays are switched off"):
        assert open_slurm(commands).most


def test_what_slurm_can_do_is_asked_once(commands: Script) -> None:
    slurm = open_slurm(commands)
    assert [slurm.most, slurm.most] == [1000, 1000]
    assert commands.calls("scontrol") == ["show config"]


def test_accounts_that_do_not_answer_leave_the_controller(commands: Script, made: Bundle) -> None:
    commands.says("sacct", err="sacct: error: Connection refused", code=1)
    commands.says("squeue", recorded("squeue-ended.txt"))
    said = open_slurm(commands).endings([made], [Ref("1", 2), Ref("1", 5)])
    assert {ref.place: status.cause for ref, status in said.items()} == {2: "", 5: "wall_time"}


def test_accounts_are_asked_from_before_the_submission_on(commands: Script, made: Bundle) -> None:
    commands.says("sacct", recorded("sacct.txt"))
    open_slurm(commands).endings([made], [Ref("1", 2)])
    [call] = commands.calls("sacct")
    assert "--starttime=20" in call
    assert commands.calls("squeue") == []  # the accounts knew it


def test_a_log_tells_of_memory_where_the_state_does_not(commands: Script, made: Bundle) -> None:
    commands.says("sacct", recorded("sacct.txt"))
    (made.folder / "logs" / "6.log").write_text(recorded("memory.log"))
    (made.folder / "logs" / "3.log").write_text("the payload says: oom-kill, memory limit\n")
    said = open_slurm(commands).endings([made], [Ref("1", 3), Ref("1", 6)])
    assert (said[Ref("1", 6)].cause, said[Ref("1", 3)].cause) == ("memory", "")


def test_what_was_taken_out_of_an_array_while_it_waited_leaves_no_trace(commands: Script, made: Bundle) -> None:
    slurm = open_slurm(commands)
    waits = bundle(made.folder, jobs=30, native="9")
    commands.says("sacct", "")
    commands.says("squeue", recorded("squeue.txt"))
    assert slurm.news([waits])[Ref("9", 25)].state == "pending"
    commands.says("squeue", recorded("squeue-ended.txt"))
    assert slurm.endings([waits], [Ref("9", 25)])[Ref("9", 25)].cause == "removed"
    # Where the whole array is unknown, the controller may have forgotten it in a crash.
    commands.says("squeue", "")
    assert slurm.endings([waits], [Ref("9", 25)]) == {}
    # And who has not seen it wait cannot tell.
    commands.says("squeue", recorded("squeue-ended.txt"))
    assert open_slurm(commands).endings([waits], [Ref("9", 25)]) == {}


def test_variables_of_a_user_hide_nothing(commands: Script, made: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_PARTITION", "other")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    (commands.folder / "squeue").write_text(f"#!/bin/sh\nenv > {commands.folder}/environment\n")
    (commands.folder / "squeue").chmod(0o755)
    open_slurm(commands).news([made])
    said = (commands.folder / "environment").read_text().splitlines()
    assert "SLURM_TIME_FORMAT=%s" in said
    assert not any(line.startswith("SQUEUE_") for line in said)


def test_jobs_that_are_gone_are_no_error_of_an_order(commands: Script) -> None:
    words = "scancel: error: Kill job error on job id 1_1: Invalid job id specified"
    commands.says("scancel", err=words, code=1)
    commands.says("scontrol", err="1_1: Job has already finished", code=1)
    slurm = open_slurm(commands)
    for order in (slurm.cancel, slurm.hold, slurm.release):
        order([Ref("1", 1), Ref("1", 2)])
    assert commands.calls("scancel") == ["1_[1-2]"]
    assert commands.calls("scontrol") == ["hold 1_[1-2]", "release 1_[1-2]"]
