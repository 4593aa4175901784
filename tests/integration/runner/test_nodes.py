"""The runner as a node of a DAG: which attempt it is, what others have left for it, and what it tells DAGMan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner
from pythons import old_pythons

DONE, AGAIN_EXIT, AGAIN_MEMORY = 0, runner.EXIT_CODES["exit"], runner.EXIT_CODES["memory"]


class Dag:
    """A folder with the runner, and node files to bend."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "runner.py").write_text(Path(runner.__file__).read_text())

    def write(self, name: str, script: str, **more: Any) -> None:
        """A node file whose payload is a shell script."""
        job = {
            "format": 1,
            "ledger": "5f0c",
            "name": f"c/{name}/01/@{{key}}",
            "script": script.split("\n"),
            "directory": f"@{{folder}}/.fiducial/{name}/01/@{{key}}.@{{attempt}}",
            "outputs": [{"key": "out", "path": f"@{{folder}}/out/{name}_@{{key}}", "name": "out"}],
            **more.pop("job", {}),
        }
        retry = {"most": 2, "causes": {}, "final_exit_codes": [9], **more.pop("retry", {})}
        content = {"format": 1, "folder": ".", "retry": retry, "tolerate": 0, "job": job, **more}
        (self.folder / f"{name}.json").write_text(json.dumps(content))

    def run(self, name: str, *words: str, key: str = "7", retry: int = 0, python: str = sys.executable) -> int:
        command = [python, str(self.folder / "runner.py"), "--node", f"{name}.json", "--key", key]
        done = subprocess.run(
            [*command, "--retry", str(retry), *words], cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        self.said = done.stdout + done.stderr
        return done.returncode

    def result(self, name: str, attempt: int = 1, key: str = "7") -> dict[str, Any]:
        return dict(json.loads((self.folder / f".fiducial/{name}/01/{key}.{attempt}/result.json").read_text()))


@pytest.fixture
def dag(tmp_path: Path) -> Dag:
    return Dag(tmp_path / "Spur ø 1")


@pytest.mark.parametrize("python", [sys.executable, *old_pythons()[:1]])
def test_values_are_put_in_their_places(dag: Dag, python: str) -> None:
    said = 'echo "@{file:05} @{word} @{attempt} @{memory_mb} @{unknown} ${HOME}x" > out'
    dag.write("reco", said, values={"file": "int"}, retry={"memory": [1 << 30, 2 << 30]})
    assert dag.run("reco", "file=42", "word=a=b", retry=1, python=python) == DONE
    assert (dag.folder / "out/reco_7").read_text().startswith("00042 a=b 1 2048 @{unknown} ")
    assert "c/reco/01/7, attempt 1 on" in dag.said
    result = dag.result("reco")
    assert (result["folder"], result["retry"], result["name"]) == (str(dag.folder), 1, "c/reco/01/7")


def test_values_of_a_call_keep_their_kind(dag: Dag) -> None:
    (dag.folder / "code.py").write_text("def tell(**kw):\n    open('out', 'w').write(repr(kw))\n")
    call = {"call": f"{dag.folder}/code.py:tell", "kwargs": {"n": {"@": "file"}, "t": "@{file}", "all": ["@{file}"]}}
    dag.write("one", "", values={"file": "int"}, job=call | {"script": None})
    assert dag.run("one", "file=5") == DONE
    assert (dag.folder / "out/one_7").read_text() == "{'n': 5, 't': '5', 'all': ['5']}"


def test_jobs_that_need_more_than_words_are_lines(dag: Dag) -> None:
    lines = [json.dumps({"key": key, "values": {"item": f"ü '{key}'"}}) + "\n" for key in ("a", "b")]
    (dag.folder / "one.jobs").write_text("".join(lines), "utf-8")
    dag.write("one", 'cat <<"E" > out\n@{item}\nE', jobs="one.jobs")
    assert dag.run("one", "--at", str(len(lines[0].encode())), key="b") == DONE
    assert (dag.folder / "out/one_b").read_text("utf-8") == "ü 'b'\n"
    assert dag.run("one", "--at", "0", key="b") == runner.NO_RETRY
    assert "job a is at that place, and not b" in dag.said


def test_attempts_are_counted_where_nobody_else_is(dag: Dag) -> None:
    dag.write("reco", "echo x > out")
    runner.revoke(str(dag.folder / ".fiducial/reco/01/7.1"))
    assert [dag.run("reco"), dag.run("reco")] == [DONE, DONE]
    assert [dag.result("reco", n)["attempt"] for n in (2, 3)] == [2, 3]


def test_two_at_once_are_two_attempts(dag: Dag) -> None:
    dag.write("reco", "sleep 0.3; echo x > out")
    command = [sys.executable, str(dag.folder / "runner.py"), "--node", "reco.json", "--key", "7", "--retry", "0"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait(timeout=60) for one in both] == [DONE] * 4
    assert sorted(dag.result("reco", n)["attempt"] for n in (1, 2, 3, 4)) == [1, 2, 3, 4]


def test_what_is_worth_a_retry_and_what_is_not(dag: Dag) -> None:
    dag.write("reco", "exit 5", retry={"causes": {"exit": 1}})
    assert dag.run("reco") == AGAIN_EXIT
    assert dag.run("reco", retry=1) == runner.NO_RETRY  # used up, for this cause
    assert "no retry would mend it" in dag.said
    dag.write("final", "exit 9")
    assert dag.run("final") == runner.NO_RETRY
    dag.write("last", "exit 5")
    assert dag.run("last", retry=2) == runner.NO_RETRY  # DAGMan would not try it again anyhow


def test_a_rescue_begins_to_count_anew(dag: Dag) -> None:
    dag.write("reco", "exit 5", retry={"causes": {"exit": 1}})
    assert [dag.run("reco", retry=n) for n in (0, 1)] == [AGAIN_EXIT, runner.NO_RETRY]
    assert [dag.run("reco", retry=n) for n in (0, 1)] == [AGAIN_EXIT, runner.NO_RETRY]


def test_other_causes_do_not_use_up_a_retry(dag: Dag) -> None:
    dag.write("reco", "[ @{attempt} = 2 ] && kill -9 $$; exit 5", retry={"most": 5, "causes": {"exit": 1, "signal": 1}})
    codes = [dag.run("reco", retry=n) for n in range(3)]
    assert codes == [AGAIN_EXIT, runner.EXIT_CODES["signal"], runner.NO_RETRY]


def test_more_memory_until_there_is_no_more(dag: Dag) -> None:
    hungry = f"exec {sys.executable} -S -c \"x = b'1' * (200 << 20); import time; time.sleep(9)\""
    dag.write("fat", hungry, retry={"most": 3, "memory": [20 << 20, 40 << 20, 40 << 20]})
    assert dag.run("fat") == AGAIN_MEMORY
    assert dag.run("fat", retry=1) == runner.NO_RETRY
    assert "more than 41.9 MB" in dag.result("fat", 2)["message"]


def test_so_many_may_fail_for_good(dag: Dag) -> None:
    dag.write("reco", "exit 9", tolerate=2)
    assert [dag.run("reco", key=key) for key in ("a", "b", "a", "c")] == [DONE, DONE, DONE, runner.NO_RETRY]
    assert dag.result("reco", key="a")["state"] == "failed"


FOUND = {"from": "@{folder}/.fiducial/reco", "iteration": 1, "output": "out"}


def test_inputs_are_what_others_have_left(dag: Dag) -> None:
    dag.write("reco", "echo @{key} > out")
    for key in ("b", "a"):
        dag.run("reco", key=key)
    inputs = [
        {**FOUND, "key": None, "many": True, "least": 2, "name": "in"},
        {**FOUND, "key": "b", "many": False, "name": None},
    ]
    argv = ["sh", "-c", 'ls in > out; cat "$@" >> out', "sh", "@{inputs.0}", "@{inputs.1}"]
    dag.write("fit", "", job={"script": None, "argv": argv, "inputs": inputs})
    assert dag.run("fit") == DONE
    assert (dag.folder / "out/fit_7").read_text().split() == ["reco_a", "reco_b", "a", "b", "b"]
    (dag.folder / "out/reco_b").write_text("changed\n")
    assert dag.run("fit") == runner.EXIT_CODES["input"]
    assert "instead of 2" in dag.said


def test_too_few_inputs_are_named(dag: Dag) -> None:
    dag.write("reco", "echo @{key} > out")
    dag.run("reco")
    dag.write("fit", "true", job={"inputs": [{**FOUND, "key": None, "many": True, "least": 2, "name": None}]},
              retry={"causes": {"input": 0}})  # fmt: skip
    assert dag.run("fit") == runner.NO_RETRY
    assert "has 1 jobs that are done, and 2 are needed" in dag.said


def test_results_are_found_after_the_folder_was_moved(dag: Dag) -> None:
    dag.write("reco", "echo @{key} > out")
    dag.run("reco")
    dag.folder = dag.folder.rename(dag.folder.with_name("anderswo"))
    dag.write("fit", 'cat "@{inputs.0}" > out', job={"inputs": [{**FOUND, "key": "7", "name": None}]})
    assert dag.run("fit") == DONE
    assert (dag.folder / "out/fit_7").read_text() == "7\n"


@pytest.mark.parametrize(
    "words", [["--node", "none.json"], ["--node", "bad.json", "--key", "a"], ["--node", "x", "--what"]]
)
def test_nodes_that_cannot_be_used_say_so_and_are_not_tried_again(dag: Dag, words: list[str]) -> None:
    (dag.folder / "bad.json").write_text('{"format": 1, "folder": "."}')
    done = subprocess.run([sys.executable, str(dag.folder / "runner.py"), *words], capture_output=True, check=False)
    assert done.returncode == runner.NO_RETRY
    assert b"cannot be used: " in done.stderr
    assert b"Traceback" not in done.stderr
