"""Environment scripts, and Python functions as payloads."""

from __future__ import annotations

import sys
from typing import Any

import pytest

MODULE = """
import os, pathlib, sys

def fit(tracks, name="out", **more):
    print("fitted", tracks, more)
    pathlib.Path(name).write_text(str(tracks))
    return {"chi2": 1.25, "tracks": tracks}

class Steps:
    @staticmethod
    def fail():
        raise RuntimeError("no tracks")
"""


def with_script(job: Any, text: str) -> Any:
    script = job.folder / "set up; exit.sh"
    script.write_text(text)
    job.spec["environment_script"] = str(script)
    return job


def test_environment_script_is_sourced(job: Any) -> None:
    with_script(job, 'test $# = 0 || exit 9\nexport COLOUR="blau und rot"\nset -- x y z\n')
    final = job.output(check=["sh", "-c", 'test "$COLOUR" = "blau und rot"'])
    job.spec["argv"] = ["sh", "-c", 'printf "%s|%s|%s" "$COLOUR" "$1" "$#" > out', "sh", "a $(touch /tmp/no) 'b"]
    result = job.run()
    assert result["state"] == "done", result["message"]
    assert final.read_text() == "blau und rot|a $(touch /tmp/no) 'b|1"


@pytest.mark.parametrize("text", ["false\n", "exit 0\n", "exit 4\n", "return 2\n", "if\n", None])
def test_environment_script_that_fails(job: Any, text: str | None) -> None:
    with_script(job, text or "")
    if text is None:
        job.spec["environment_script"] = "/no/such/setup.sh"
    result = job.payload("touch started; cp started /dev/stderr; echo payload ran").run()
    assert (result["state"], result["cause"]) == ("failed", "environment")
    assert job.spec["environment_script"] in result["message"]
    assert "payload ran" not in job.log


def test_payload_after_a_good_environment_script_may_fail(job: Any) -> None:
    with_script(job, "export A=1\n")
    result = job.payload("exit 5").run()
    assert (result["cause"], result["exit_code"]) == ("exit", 5)


def test_command_that_the_environment_does_not_have(job: Any) -> None:
    with_script(job, "export A=1\n")
    job.spec["argv"] = ["no-such-command-here"]
    result = job.run()
    assert result["cause"] == "start"
    assert "no-such-command-here" in result["message"]


@pytest.mark.parametrize("by_file", [True, False])
def test_call(job: Any, by_file: bool) -> None:
    folder = job.folder / "code"
    folder.mkdir()
    (folder / "align.py").write_text(MODULE)
    job.spec.update(
        call=f"{folder}/align.py:fit" if by_file else "align:fit",
        kwargs={"tracks": 12, "opt": [1, "ü"]},
        python=sys.executable,
        environment={} if by_file else {"PYTHONPATH": str(folder)},
        required_metrics=["chi2"],
    )
    final = job.output()
    result = job.run()
    assert result["state"] == "done", job.log
    assert final.read_text() == "12"
    assert result["metrics"] == {"chi2": 1.25, "tracks": 12}
    assert "fitted 12 {'opt': [1, 'ü']}" in job.log


def test_call_that_raises(job: Any) -> None:
    (job.folder / "align.py").write_text(MODULE)
    job.spec.update(call=f"{job.folder}/align.py:Steps.fail", kwargs={}, python=sys.executable)
    result = job.run()
    assert (result["cause"], result["exit_code"]) == ("exit", 1)
    assert "RuntimeError: no tracks" in job.log
