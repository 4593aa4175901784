"""What the runner says of payloads that do well, and of those that do not."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner


def test_a_good_job_is_done(job: Any) -> None:
    final = job.output()
    result = job.payload('printf abc > out; echo \'{"chi2": 1.5, "n": 3}\' > metrics.json; echo said').run()
    assert (result["state"], result["cause"], result["exit_code"], result["signal"]) == ("done", "ok", 0, None)
    assert final.read_text() == "abc"
    checksum = f"{zlib.adler32(b'abc'):08x}"
    assert result["outputs"] == [{"key": "out", "path": str(final), "size": 3, "adler32": checksum}]
    assert result["metrics"] == {"chi2": 1.5, "n": 3}
    assert (result["ledger"], result["job"], result["attempt"]) == ("5f0c", 7, 2)
    assert result["finished"] >= result["started"]
    assert result["usage"]["max_rss"] > 0
    assert job.log == "said\n"
    assert result["stderr"] == ""
    assert sorted(path.name for path in job.directory.iterdir()) == ["log.txt", "result.json", "script"]


def test_arguments_reach_the_payload_untouched(job: Any) -> None:
    words = ["a b", "$HOME", "'", "", "ü\n"]
    code = "import sys, json; json.dump(sys.argv[1:], open('out', 'w'))"
    final = job.output("out")
    job.python(code)
    job.spec["argv"] += words
    job.run()
    assert json.loads(final.read_text()) == words


def test_script_gets_interpreter_and_arguments(job: Any) -> None:
    final = job.output()
    job.payload("import sys; open('out', 'w').write(sys.argv[1])", interpreter=["python3", "-S"], arguments=["x y"])
    assert job.run()["state"] == "done"
    assert final.read_text() == "x y"


def test_environment_of_the_payload(job: Any) -> None:
    final = job.output()
    job.payload("env -0 > out; pwd > pwd; cp pwd /dev/stdout", environment={"COLOUR": "grün und rot"}).run()
    pairs = dict(item.split("=", 1) for item in final.read_text().split("\0") if item)
    assert pairs["COLOUR"] == "grün und rot"
    assert (pairs["FIDUCIAL_LEDGER_ID"], pairs["FIDUCIAL_JOB"], pairs["FIDUCIAL_ATTEMPT"]) == ("5f0c", "7", "2")
    assert pairs["FIDUCIAL_DIRECTORY"] == str(job.directory)
    assert pairs["FIDUCIAL_SCRATCH"] == job.log.strip() == str(job.directory / "scratch")
    assert pairs["FIDUCIAL_METRICS"] == pairs["FIDUCIAL_SCRATCH"] + "/metrics.json"


def test_exit_code(job: Any) -> None:
    final = job.output()
    result = job.payload("echo 1 > out; exit 3").run()
    assert (result["state"], result["cause"], result["exit_code"]) == ("failed", "exit", 3)
    assert result["message"] == "the payload ended with exit code 3"
    assert not final.exists()
    assert result["outputs"] == []
    assert "fiducial: the payload ended with exit code 3" in job.log


def test_signal(job: Any) -> None:
    result = job.payload("kill -SEGV $$").run()
    assert (result["state"], result["cause"], result["exit_code"], result["signal"]) == ("failed", "signal", None, 11)
    assert "SIGSEGV" in result["message"]


@pytest.mark.parametrize("argv", [["no-such-command-here"], ["/no/such/file"], ["/etc/passwd"]])
def test_what_cannot_be_started(job: Any, argv: list[str]) -> None:
    job.spec["argv"] = argv
    result = job.run()
    assert (result["state"], result["cause"]) == ("failed", "start")
    assert argv[0] in result["message"]


def test_command_is_found_by_the_path_of_the_payload(job: Any) -> None:
    tool = job.folder / "tools" / "align"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho aligned\n")
    tool.chmod(0o755)
    job.spec.update(argv=["align"], environment={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    assert job.run()["state"] == "done"
    assert job.log == "aligned\n"


@pytest.mark.parametrize(
    ("payload", "options", "message"),
    [
        ("true", {}, "output out was not written"),
        ("touch out", {}, "output out has 0 bytes, less than 1"),
        ("echo 12 > out", {"min_size": 10}, "output out has 3 bytes, less than 10"),
        ("mkdir out", {}, "output out is not a regular file"),
        ("ln -s /etc/passwd out", {}, "output out is not a regular file"),
        ("echo 12 > out", {"check": ["grep", "-q", "13", "{}"]}, "output out does not pass its check grep"),
        ("echo 12 > out", {"check": ["grep", "-q", "13"]}, "output out does not pass its check grep"),
        ("echo 12 > out", {"check": ["no-such-check"]}, "no-such-check cannot be started"),
    ],
)
def test_outputs_that_do_not_count(job: Any, payload: str, options: dict[str, Any], message: str) -> None:
    final = job.output(**options)
    good = job.output("good", path=job.folder / "good")
    result = job.payload(f"echo good > good; {payload}").run()
    assert result["state"] == "failed"
    assert result["cause"] == ("start" if "started" in message else "output")
    assert message in result["message"]
    assert not final.exists()
    assert not good.exists(), "nothing is published unless all is well"


def test_outputs_that_pass(job: Any) -> None:
    final = job.output("deep/er/out", check=["grep", "-q", "12", "{}"])
    job.output("none", path=job.folder / "none", optional=True)
    direct = job.output(None, path=job.folder / "new" / "direct")
    result = job.payload(f'echo 12 > deep/er/out; echo direct > "{direct}"').run()
    assert result["state"] == "done", result["message"]
    assert [entry["path"] for entry in result["outputs"]] == [str(final), str(direct)]
    assert final.read_text() == "12\n"


def test_stale_output_is_gone_before_the_payload_starts(job: Any) -> None:
    final = job.output()
    final.parent.mkdir()
    final.write_text("of an earlier attempt")
    direct = job.output(None, path=job.folder / "direct")
    direct.write_text("of an earlier attempt")
    result = job.payload(f'ls -a "{final.parent}" "{job.folder}"').run()
    assert result["cause"] == "output"
    assert not final.exists()
    assert not direct.exists()
    assert "direct" not in job.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "/no/such/raw.file"}, "input /no/such/raw.file cannot be read: No such file or directory"),
        ({"size": 4}, "has 3 bytes instead of 4"),
        ({"adler32": "00000001"}, "does not have the Adler-32 00000001"),
        ({"name": "../raw"}, "does not stay inside scratch"),
    ],
)
def test_inputs_that_are_not_as_promised(job: Any, options: dict[str, Any], message: str) -> None:
    raw = job.folder / "raw"
    raw.write_text("abc")
    job.spec["inputs"] = [{"path": str(raw), "name": "raw", "size": None, "adler32": None, **options}]
    result = job.payload("true").run()
    assert (result["state"], result["cause"]) == ("failed", "spec" if "stay" in message else "input")
    assert message in result["message"]


def test_input_is_there_under_its_name(job: Any) -> None:
    raw = job.folder / "raw data.ü"
    raw.write_text("abc")
    adler32 = f"{zlib.adler32(b'abc'):08X}"
    job.spec["inputs"] = [
        {"path": str(raw), "name": "in/put ü", "size": 3, "adler32": adler32},
        {"path": str(raw), "name": None},
    ]
    final = job.output("out put ü", path=job.folder / "final ü" / "out put")
    result = job.payload("cp 'in/put ü' 'out put ü'").run()
    assert result["state"] == "done", result["message"]
    assert final.read_text() == "abc"
    assert raw.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"chi2": NaN}', "the metric 'chi2' in metrics.json is nan, not a finite number"),
        ('{"chi2": -Infinity}', "not a finite number"),
        ('{"chi2": 1e999}', "not a finite number"),
        ('{"chi2": "1"}', "the metric 'chi2' in metrics.json is not a number"),
        ('{"chi2": true}', "not a number"),
        ('{"chi2": [1]}', "not a number"),
        ("[1]", "is not a JSON object"),
        ('{"chi2": 1', "metrics.json is not JSON"),
        ('{"ndf": 1}', "the metric 'chi2' is required"),
        ("", "the metric 'chi2' is required"),
    ],
)
def test_metrics_that_are_none(job: Any, text: str, message: str) -> None:
    result = job.payload(f"printf '%s' '{text}' > \"$FIDUCIAL_METRICS\"", required_metrics=["chi2"]).run()
    assert (result["state"], result["cause"]) == ("failed", "metrics")
    assert message in result["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2, and this runner understands only 1"),
        ({"format": None}, "format None"),
        ({"script": None}, 'none of "argv", "script" and "call"'),
        ({"outputs": [{"name": "x"}]}, "cannot be used: KeyError"),
        ({"environment": {"A": 1}}, "cannot be used: TypeError"),
        ({"environment": {"A": "\0"}}, "cannot be used: ValueError"),
    ],
)
def test_specification_that_cannot_be_used(job: Any, change: dict[str, Any], message: str) -> None:
    job.payload("true").spec.update(change)
    result = job.run()
    assert (result["state"], result["cause"]) == ("failed", "spec")
    assert message in result["message"]
    assert message in result["stderr"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job": 1, "attempt": 1, "ledger": "l", "directory": "relative"}'])
def test_specification_that_does_not_even_name_its_directory(job: Any, text: str) -> None:
    (job.folder / "job.json").write_text(text)
    command = [sys.executable, runner.__file__, str(job.folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == runner.EXIT_CODES["spec"]
    assert "job.json cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("keep", "payload", "kept"),
    [
        ("never", "exit 1", False),
        ("failure", "exit 1", True),
        ("failure", "true", False),
        ("always", "true", True),
    ],
)
def test_scratch_is_kept_as_wanted(job: Any, keep: str, payload: str, kept: bool) -> None:
    job.payload(f"mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 500 a; {payload}", keep_scratch=keep).run()
    assert (job.directory / "scratch" / "a" / "b" / "c").exists() is kept
    assert (job.directory / "scratch").exists() is kept


def test_scratch_elsewhere(job: Any, tmp_path: Path) -> None:
    base = tmp_path / "fast disk"
    base.mkdir()
    final = job.output()
    job.payload("pwd > out", scratch=str(base)).run()
    assert final.read_text().startswith(str(base) + "/fiducial-5f0c-7.2-")
    assert list(base.iterdir()) == []


def test_scratch_that_cannot_be_made(job: Any) -> None:
    result = job.payload("true", scratch="/no/such/disk").run()
    assert (result["cause"], result["state"]) == ("start", "failed")
    assert "/no/such/disk" in result["message"]
