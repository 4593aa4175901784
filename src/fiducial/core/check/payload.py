"""What a step runs, where that is, and what it asks of the machine."""

from __future__ import annotations

import ast
from pathlib import Path

from fiducial.core.check.report import Report
from fiducial.core.resources import Resources
from fiducial.core.variables import is_template, nearest
from fiducial.core.workflow import Retry, Step
from fiducial.core.workflowfile import is_file_call

__all__ = ["check"]

_GB = 2**30
_DAY = 86400.0
#: More than this is rather a wrong unit than a wish.
_SENSIBLE = {"cpus": 1024, "memory": 4096 * _GB, "disk": 100_000 * _GB, "walltime": 60 * _DAY, "cputime": 6000 * _DAY}
_LEAST_MEMORY = 2**20
#: Causes of failure that a retry can be asked for; backends may know more.
_CAUSES = (
    *("cpu_time", "disk", "environment", "exit", "input", "lost", "memory", "metrics", "output", "publish"),
    *("signal", "spec", "start", "stopped", "wall_time"),
)


def check(report: Report) -> None:
    """Look at commands, scripts, calls, environment and resources of all steps."""
    _check_environment(report, "environment_script", report.workflow.environment_script)
    for name, step in report.workflow.steps.items():
        where = f"steps.{name}"
        _check_environment(report, f"{where}.environment_script", step.environment_script)
        _check_arguments(report, where, step)
        _check_resources(report, f"{where}.resources", step.resources)
        _check_retry(report, f"{where}.retry", step.retry, step.resources)
        if step.command is not None:
            _check_command(report, f"{where}.command", step, step.command)
        if step.script is not None:
            _check_script(report, f"{where}.script", step.script)
        if step.call is not None:
            _check_call(report, f"{where}.call", step.call)


def _check_environment(report: Report, where: str, script: str | None) -> None:
    if script is None or is_template(script) or script.startswith(("~", "$")):
        return
    if not (report.file.folder / script).is_file():
        report.warn(where, f"there is no '{report.file.folder / script}' here", "fine if there is one where jobs run")


def _check_arguments(report: Report, where: str, step: Step) -> None:
    if step.arguments is None:
        return
    if step.command is not None:
        report.error(f"{where}.arguments", "a command has its arguments in command")
    elif (step.call is not None) != isinstance(step.arguments, dict):
        wanted = "a call takes a table of keyword arguments" if step.call else "a script takes a list of words"
        report.error(f"{where}.arguments", wanted)


def _check_command(report: Report, where: str, step: Step, command: list[str]) -> None:
    linked = {wanted.link for wanted in step.inputs.values()}
    for place, word in enumerate(command):
        here = f"{where}.{place}"
        if is_template(word) or word.removeprefix("./") in linked:
            continue
        local = report.file.folder / word
        meant = f"{{{{ workflow_folder }}}}/{word.removeprefix('./')}"
        if word.startswith(("./", "../")):
            report.error(here, f"jobs run in a scratch folder, where '{word}' is not", f'write "{meant}"')
        elif not word.startswith("/") and "." in word.strip(".") and local.is_file():
            report.warn(
                here, f"jobs run in a scratch folder; '{word}' is a file beside the workflow", f'write "{meant}"'
            )


def _check_script(report: Report, where: str, script: str) -> None:
    if not script.strip():
        report.error(where, "the script is empty")
    elif "\n" not in script and " " not in script and (report.file.folder / script).is_file():
        report.warn(where, f"script holds the text itself, and '{script}' is a file", f'write template = "{script}"')


def _check_call(report: Report, where: str, call: str) -> None:
    if is_template(call):
        return
    file, _, function = call.rpartition(":")
    if not file or not function.replace(".", "_").isidentifier():
        report.error(where, f"'{call}' is no function", 'write "module:function" or "path/file.py:function"')
    elif is_file_call(call):
        _check_function(report, where, report.file.folder / file, function)


def _check_function(report: Report, where: str, path: Path, function: str) -> None:
    try:
        tree = ast.parse(path.read_bytes())
    except OSError:
        report.error(where, f"cannot read '{path}'")
    except (SyntaxError, ValueError) as error:
        report.error(where, f"'{path}' is not Python: {error}")
    else:
        if function.partition(".")[0] not in _top_names(tree):
            report.error(where, f"'{path}' has no function '{function}'")


def _top_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _check_resources(report: Report, where: str, resources: Resources) -> None:
    for key, most in _SENSIBLE.items():
        value = getattr(resources, key)
        if value is not None and value > most:
            report.warn(f"{where}.{key}", f"{_amount(key, value)} is more than any machine gives", "is the unit right?")
    if resources.memory is not None and resources.memory < _LEAST_MEMORY:
        report.error(
            f"{where}.memory", f"{resources.memory} bytes is too little for any program", 'write for example "4 GB"'
        )
    if resources.walltime is not None and resources.flavour is not None:
        report.warn(f"{where}.flavour", "walltime is given as well, and goes before")


def _amount(key: str, value: float) -> str:
    if key in {"memory", "disk"}:
        return f"{value / _GB:,.0f} GB"
    return f"{value:,.0f} cores" if key == "cpus" else f"{value / _DAY:,.0f} days"


def _check_retry(report: Report, where: str, retry: Retry, resources: Resources) -> None:
    if retry.memory_max is not None and resources.memory is not None and retry.memory_max < resources.memory:
        report.error(f"{where}.memory_max", "is less than the first try gets")
    for cause in retry.by_cause:
        if cause not in _CAUSES and (advice := nearest(cause, _CAUSES)):
            report.warn(f"{where}.by_cause.{cause}", f"no job fails by '{cause}'", advice)
    wall = resources.wall_seconds()
    if retry.walltime_max is not None and wall is not None and retry.walltime_max < wall:
        report.error(f"{where}.walltime_max", "is less than the first try gets")
