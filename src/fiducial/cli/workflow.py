"""``fiducial workflow``: check, show and begin workflow files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app
from fiducial.cli.output import print_json

if TYPE_CHECKING:
    from fiducial.core.check import Finding
    from fiducial.core.workflow import Workflow

__all__ = ["app"]

app = subject_app(help="Check, show and begin workflow files.", no_args_is_help=True)

_File = Annotated[Path, typer.Argument(help="The workflow file.", metavar="FILE", show_default=False)]
_Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a variable; may be repeated.")]
_Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("check")
def check_command(file: _File, set_: _Set = None, json: _Json = False) -> None:
    """Say all that is off in a workflow file, with lines; exit with 3 if it cannot run."""
    from fiducial.cli.options import parse_set
    from fiducial.core.findings import InvalidWorkflowError

    overrides = parse_set(set_ or [])
    try:
        findings = _findings(file, overrides)
    except InvalidWorkflowError as error:
        findings = list(error.findings)
    if json:
        print_json([_finding_json(file, finding) for finding in findings])
    else:
        _write_findings(file, findings)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(3)


@app.command()
def show(
    file: _File,
    set_: _Set = None,
    svg: Annotated[Path | None, typer.Option(help="Write a drawing to this file.", metavar="FILE")] = None,
    json: _Json = False,
) -> None:
    """Draw the steps of a workflow, with the number of their jobs."""
    from fiducial.cli.options import parse_set
    from fiducial.core.check import job_counts, with_limit
    from fiducial.core.graph import svg_graph, text_graph
    from fiducial.core.workflowfile import load

    workflowfile, overrides = load(file), parse_set(set_ or [])
    workflow, counts = with_limit(workflowfile, overrides), job_counts(workflowfile, overrides)
    if svg is not None:
        _write_file(svg, svg_graph(workflow, counts))
        typer.echo(f"{svg} is written")
    elif json:
        print_json(_show_json(workflow, counts))
    else:
        typer.echo(text_graph(workflow, counts, ascii_only=not _terminal_knows("┌▼↻")), nl=False)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="Write to this file.", metavar="FILE")] = None,
) -> None:
    """Print the JSON Schema of workflow files, by which editors complete and check them."""
    from json import dumps

    from fiducial.core.schema import workflow_schema

    text = dumps(workflow_schema(), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
    else:
        _write_file(output, text + "\n")
        typer.echo(f"{output} is written; put '#:schema {output}' on top of a workflow file")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder; made if it is not there.", metavar="DIR")] = Path(),
) -> None:
    """Write a commented workflow to begin with, which runs as it stands."""
    from fiducial.cli.starter import FILES
    from fiducial.core.errors import FolderError

    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise FolderError(f"'{folder / there[0]}' is there already", hint="name another folder")
    for name, text in FILES.items():
        _write_file(folder / name, text)
    first = folder / next(iter(FILES))
    typer.echo(f"{first} is written")
    typer.echo(f"look at it:  fiducial workflow show {first}")
    typer.echo(f"run it:      fiducial run {first}")


def _findings(file: Path, overrides: dict[str, Any]) -> list[Finding]:
    from fiducial.core.check import check
    from fiducial.core.workflowfile import load

    return check(load(file), overrides)


def _write_findings(file: Path, findings: list[Finding]) -> None:
    for finding in findings:
        typer.echo(finding.text(str(file), severity=True))
    counts = {kind: sum(finding.severity == kind for finding in findings) for kind in ("error", "warning")}
    words = [f"{number} {kind}{'' if number == 1 else 's'}" for kind, number in counts.items() if number]
    typer.echo(f"{file}: {' and '.join(words) or 'nothing is off'}")


def _finding_json(file: Path, finding: Finding) -> dict[str, Any]:
    from dataclasses import asdict

    return {"file": str(file), **asdict(finding)}


def _show_json(workflow: Workflow, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "name": workflow.name,
        "description": workflow.description,
        "iteration": workflow.iteration.model_dump() if workflow.iteration else None,
        "steps": [
            {
                "name": name,
                "jobs": counts.get(name),
                "iterated": step.iterate,
                "after": [after.model_dump() for after in step.after],
                "outputs": {key: output.path for key, output in step.outputs.items()},
            }
            for name, step in workflow.steps.items()
        ],
    }


def _write_file(path: Path, text: str) -> None:
    from fiducial.core.errors import FiducialError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FiducialError(f"cannot write '{path}': {error.strerror}") from None


def _terminal_knows(signs: str) -> bool:
    import sys

    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
