"""The runner has to work with what a worker node has."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fiducial.runner import runner
from pythons import old_pythons

SOURCE = Path(runner.__file__).read_text()


def test_runner_speaks_the_oldest_python() -> None:
    ast.parse(SOURCE, feature_version=(3, 6))


def test_runner_needs_the_standard_library_only() -> None:
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    modules |= {f"{'.' * node.level}{node.module}" for node in imports if isinstance(node, ast.ImportFrom)}
    assert {"json", "ctypes", "typing"} <= modules
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names


def test_runner_starts_without_costly_modules() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import runner; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, str(Path(runner.__file__).parent)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "json" in loaded
    assert not loaded & {"typing", "subprocess", "pathlib", "shutil", "socket", "ctypes", "tempfile", "logging"}


@pytest.mark.parametrize("python", old_pythons()[:1])
def test_whole_job_under_the_oldest_python(job: Any, python: str) -> None:
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    sys.stdout.write(f"the oldest Python here is {version} in {python}\n")
    (job.folder / "setup.sh").write_text("export WORD='zwei Worte'\n")
    raw = job.folder / "raw"
    raw.write_text("abc")
    job.spec["inputs"] = [{"path": str(raw), "name": "ein gang", "size": 3, "adler32": "024d0127"}]
    job.spec["environment_script"] = str(job.folder / "setup.sh")
    final = job.output(check=["grep", "Worte", "{}"])
    payload = 'echo "$WORD" > out; cat "ein gang"; echo \'{"a": 2}\' > metrics.json; setsid sleep 60 & sleep 0.4'
    limits = {"memory": 10**9, "wall_time": 60, "cpu_time": 60, "disk": 10**9}
    result = job.payload(payload, limits=limits).run(python)
    assert (result["state"], result["message"]) == ("done", "all outputs are verified and in place")
    assert final.read_text() == "zwei Worte\n"
    assert result["metrics"] == {"a": 2}
    assert "abc" in job.log
    assert "were killed: 1" in job.log


@pytest.mark.parametrize("python", old_pythons()[:1])
def test_call_of_a_runner_that_was_started_by_a_relative_path(job: Any, python: str) -> None:
    (job.folder / "code.py").write_text("def say():\n    print('hello')\n")
    job.spec.update(call=f"{job.folder}/code.py:say", python=python)
    (job.folder / "again.json").write_text(json.dumps({**job.spec, "directory": f"{job.folder}/again"}))
    copy = job.folder / "runner.py"
    copy.write_text(SOURCE)
    subprocess.run([python, "runner.py", "again.json"], cwd=job.folder, check=True)
    assert (job.folder / "again" / "log.txt").read_text() == "hello\n"


@pytest.mark.parametrize("python", old_pythons()[:1])
def test_call_and_limit_under_the_oldest_python(job: Any, python: str) -> None:
    (job.folder / "code.py").write_text("import time\ndef wait(s):\n    print('waits')\n    time.sleep(s)\n")
    job.spec.update(call=f"{job.folder}/code.py:wait", kwargs={"s": 60}, python=python, limits={"wall_time": 0.5})
    assert job.run(python)["cause"] == "wall_time"
