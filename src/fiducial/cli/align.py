"""``fiducial align``: FASER's tracker alignment, with the options of main.py, auto_iter.py and dag_manager.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.alignment.faser.campaign import Once, Plan
    from fiducial.alignment.faser.request import Request

app = subject_app()

_BEHIND = "fiducial.align.behind"
_CONFIG = Path("config.json")

Year = Annotated[str | None, typer.Option("--year", "-y", help="Year of the run, e.g. 2023.")]
Run = Annotated[str | None, typer.Option("--run", "-r", help="Number of the run, e.g. 011705.")]
Files = Annotated[
    str | None,
    typer.Option("--files", "--file", "-f", help="Raw files: 400, or half open 450-500 (450:500): 50 files."),
]
Iterations = Annotated[
    str | None, typer.Option("--iterations", "--iteration", "-i", help="Most iterations; with --once: which one.")
]
ThreeSt = Annotated[bool, typer.Option("--threest", help="Three stations; the default.")]
FourSt = Annotated[bool, typer.Option("--fourst", help="Four stations: with the interface tracker in front.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="FASER's config.json, old or new; default: the one in this folder.")
]
EnvScript = Annotated[
    Path | None,
    typer.Option("--env_script", "--env-script", help="Sourced before reconstructing (reco_condor_env.sh)."),
]
CalypsoPath = Annotated[
    Path | None, typer.Option("--calypso_path", "--calypso-path", help="Calypso's install, to make that script of.")
]
Source = Annotated[Path | None, typer.Option(help="Folder of faser_reco_alignment.py; default: this folder.")]
Raw = Annotated[Path | None, typer.Option(help="Folder of all raw files, if it is not that on EOS.")]
Constants = Annotated[Path | None, typer.Option(help="Constants to begin with (inputforalign.txt).")]
OnlyOnce = Annotated[bool, typer.Option("--once", help="Reconstruct for iteration -i and stop; the fit is yours.")]
Simulate = Annotated[bool, typer.Option("--simulate", help="Make raw files first, and need no Calypso.")]
Events = Annotated[int | None, typer.Option(min=100, help="Muons in each simulated file.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the simulation.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, help="Converged when every shift is below this part of its error.")
]
AllIterations = Annotated[bool, typer.Option("--all-iterations", help="Do all -i iterations, converged or not.")]
Continue = Annotated[
    bool, typer.Option("--continue", "--remain", "-c", help="Go on, and take up changed options for what is left.")
]
Submit = Annotated[bool, typer.Option("--submit", help="Accepted: jobs run on this machine, at once.")]
Workers = Annotated[int | None, typer.Option("--workers", "-j", min=1, help="Jobs at a time; default: cores.")]
Memory = Annotated[str | None, typer.Option(help='Memory that all jobs may use together, e.g. "16 GB".')]
Folder = Annotated[Path | None, typer.Option(help="Folder for the campaign's files.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="Set a variable of the workflow.")]
ShowWorkflow = Annotated[bool, typer.Option("--show-workflow", help="Print the workflow file that would run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


class AlignCommand(TyperCommand):
    """Keeps the words behind ``--`` for the reconstruction, and answers options of FASER's other programs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split the words at ``--``."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_BEHIND] = tuple(args[end + 1 :])
        if end:
            from fiducial.alignment.faser.foreign import refuse_foreign

            refuse_foreign(args[:end])
        return super().parse_args(ctx, args[:end])


@app.command(cls=AlignCommand, epilog="What stands behind -- goes to faser_reco_alignment.py: … -- --nevents 100")
def align(
    ctx: typer.Context,
    year: Year = None,
    run: Run = None,
    files: Files = None,
    iterations: Iterations = None,
    threest: ThreeSt = False,
    fourst: FourSt = False,
    config: Config = None,
    env_script: EnvScript = None,
    calypso_path: CalypsoPath = None,
    source: Source = None,
    raw: Raw = None,
    constants: Constants = None,
    once: OnlyOnce = False,
    simulate: Simulate = False,
    events: Events = None,
    seed: Seed = None,
    threshold: Threshold = None,
    all_iterations: AllIterations = False,
    continue_: Continue = False,
    submit: Submit = False,
    workers: Workers = None,
    memory: Memory = None,
    folder: Folder = None,
    set_: Set = None,
    show_workflow: ShowWorkflow = False,
    dry_run: DryRun = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align FASER's tracker: reconstruct, fit, add to the constants, until nothing moves. The same command goes on."""
    from fiducial.alignment.faser import campaign
    from fiducial.cli.aligned import need_alignment

    need_alignment()
    said = ctx.params | {"behind": ctx.meta[_BEHIND]}
    _must_fit_together(said)
    request = _request(said).over(_configured(config, simulate))
    single: Once | None = None
    if once:
        plan, single = campaign.plan_once(request, _which(iterations), simulate=simulate)
    else:
        plan = campaign.plan(request, simulate=simulate)
    if show_workflow:
        typer.echo(plan.source.text, nl=False)
        return
    _check(plan, single)
    if submit:
        _note("--submit: the jobs run on this machine, at once; nothing is sent to HTCondor")
    if dry_run:
        from fiducial.cli.run import tell_plan

        tell_plan(plan.prepared, json_)
        return
    show = not (quiet or json_)
    outcome = _execute(plan, single, show=show, workers=workers, memory=memory, update=continue_)
    _tell(plan, single, outcome, json_)


def _note(text: str) -> None:
    typer.echo(f"note: {text}", err=True)


# ------------------------------------------------------------------------------------------------- what was said


def _must_fit_together(said: dict[str, Any]) -> None:
    """Refuse words that contradict each other.

    Raises:
        UsageError: some do.
    """
    from fiducial.core.errors import UsageError

    if said["threest"] and said["fourst"]:
        raise UsageError("--threest and --fourst exclude each other", hint="--fourst alone runs four stations")
    if said["once"] and said["iterations"] is None:
        raise UsageError("--once needs the number of the iteration", hint="-i 1 for the first")
    for name in ("all_iterations", "threshold", "show_workflow") if said["once"] else ():
        if said[name]:
            raise UsageError(f"--{name.replace('_', '-')} does not go with --once, which is one iteration")
    for name in ("raw", "behind") if said["simulate"] else ():
        if said[name]:
            word = "--raw" if name == "raw" else "what stands behind --"
            raise UsageError(
                f"{word} does not go with --simulate", hint="a simulation has raw files and a reconstruction of its own"
            )
    for name in () if said["simulate"] else ("events", "seed"):
        if said[name] is not None:
            raise UsageError(f"--{name} goes with --simulate")


def _request(said: dict[str, Any]) -> Request:
    """What the options ask for."""
    from fiducial.alignment.faser import request as ask
    from fiducial.cli.run import variables_of

    def parsed(name: str, parse: Any) -> Any:
        return None if said[name] is None else parse(said[name])

    def path(name: str) -> Path | None:
        return None if said[name] is None else said[name].absolute()

    variables = {name: said[name] for name in ("events", "seed", "threshold") if said[name] is not None}
    if said["raw"] is not None:
        variables["raw"] = ask.plain(path("raw"), "--raw")
    return ask.Request(
        year=parsed("year", ask.parse_year),
        run=parsed("run", ask.parse_run),
        files=parsed("files", ask.parse_files),
        iterations=None if said["once"] else parsed("iterations", ask.parse_iterations),
        stop_early=False if said["all_iterations"] else None,
        stations=4 if said["fourst"] else 3 if said["threest"] else None,
        folder=None if said["folder"] is None else str(path("folder")),
        initial_constants=path("constants"),
        source=path("source"),
        environment_script=path("env_script"),
        calypso=path("calypso_path"),
        reco_words=said["behind"],
        variables=variables | variables_of(said["set_"]),
    )


def _which(iteration: str | None) -> int:
    from fiducial.alignment.faser.request import parse_iterations

    return parse_iterations(iteration or "", what="number of an iteration", least=0)


def _configured(config: Path | None, simulate: bool) -> Request:
    """What config.json asks for: the one that is named, or else the one that lies here."""
    from fiducial.alignment.faser.configfile import is_faser, read_config
    from fiducial.alignment.faser.request import Request

    if config is None and (simulate or not _CONFIG.is_file()):
        return Request()
    if config is None and not is_faser(_CONFIG):
        _note(f"{_CONFIG} is not used: it is none of FASER's alignment")
        return Request()
    if config is None:
        _note(f"what the options leave open is taken from {_CONFIG}")
    return read_config(config or _CONFIG)


# ------------------------------------------------------------------------------------------------- what happens


def _check(plan: Plan, single: Once | None) -> None:
    from fiducial.alignment.faser import premises

    found = premises.check(plan) if single is None else premises.check_once(plan, single)
    for note in (*plan.notes, *found):
        _note(note)


def _execute(
    plan: Plan,
    single: Once | None,
    *,
    show: bool,
    workers: int | None,
    memory: str | None,
    update: bool,
) -> dict[str, Any]:
    from fiducial.alignment.faser.campaign import differences
    from fiducial.cli.run import execute
    from fiducial.core.errors import ChangedError

    name = plan.prepared.name
    if update:
        _must_exist(name)

    def begun() -> None:
        _lay_out(plan, single)
        if show:
            typer.echo(_beginning(plan, single), err=True)

    try:
        return execute(plan.prepared, workers=workers, memory=memory, update=update, show=show, begun=begun)
    except ChangedError as error:
        changed = ", ".join(differences(plan))
        message = f"{error.message}: {changed}" if changed else error.message
        hint = "the options that it was begun with go on with it; --continue takes up changed ones for what is left"
        raise ChangedError(message, hint=f"{hint}; fiducial campaign archive {name} puts it aside") from None


def _must_exist(name: str) -> None:
    """Begin nothing new for somebody who wants to go on.

    Raises:
        NotFoundError: there is nothing to go on with.
    """
    from fiducial.cli.opened import opened
    from fiducial.core.errors import NotFoundError
    from fiducial.ledger import queries

    with opened() as database, database.read() as connection:
        row = queries.find_campaign(connection, name)
    if row is None or row["name"] != name or row["state"] == "archived":
        hint = "without --continue it begins; where one was begun, its folder's .fiducial/ledger.db knows it"
        raise NotFoundError(f"there is no campaign '{name}' to go on with", hint=hint)


def _lay_out(plan: Plan, single: Once | None) -> None:
    """Put into the campaign's folder what it was made of."""
    from fiducial.alignment.constants import replace_text
    from fiducial.alignment.faser.campaign import FILE

    if plan.script is not None:
        plan.script.make()
    if single is None:
        replace_text(plan.prepared.folder / FILE, plan.source.text)
    if plan.request.config is not None:
        replace_text(plan.prepared.folder / _CONFIG.name, plan.request.config.read_text("utf-8"))


def _beginning(plan: Plan, single: Once | None) -> str:
    variables, many = plan.source.workflow.variables, len(plan.request.files or ())
    what = f"iteration {single.number}" if single else f"at most {plan.prepared.max_iterations} iterations"
    name, files = plan.prepared.name, f"{many} file{'s' if many != 1 else ''}"
    return (
        f"campaign {name}: {files}, {variables['stations']} stations, {what}, in {plan.prepared.folder}\n"
        f"look at it from another terminal: fiducial campaign show {name}"
    )


# ------------------------------------------------------------------------------------------------- what is told


def _tell(plan: Plan, single: Once | None, outcome: dict[str, Any], json_: bool) -> None:
    from fiducial.cli.aligned import summary
    from fiducial.cli.run import exit_code, tell

    found = _found(plan, single, summary(outcome, plan.prepared.folder), outcome)
    if json_:
        from fiducial.cli.output import print_json

        print_json(found)
    elif outcome["interrupted"] or outcome["state"] != "done":
        tell(outcome)
    elif single is not None:
        _tell_next(plan, single)
    else:
        _tell_end(plan, found, outcome)
    raise typer.Exit(exit_code(outcome))


def _found(plan: Plan, single: Once | None, found: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    """What ``--json`` prints."""
    from fiducial.alignment.faser.campaign import CONSTANTS
    from fiducial.core.variables import render

    head = {"campaign": plan.prepared.name, "folder": str(plan.prepared.folder), "state": outcome["state"]}
    if single is not None:
        return {**head, "iteration": single.number, "jobs": found["jobs"], "next": _next(plan, single)}
    variables = plan.source.workflow.variables
    shifts = found["max_shift_over_error"]
    # Where all iterations were wanted, the campaign has no condition that could have come true.
    converged = bool(shifts) and outcome["state"] == "done" and shifts[-1] < variables["threshold"]
    last = {"number": int(variables["first_iteration"]) + len(shifts) - 1}
    constants = plan.prepared.folder / render(variables["iter"], last, "variables.iter") / CONSTANTS
    return {**head, **found, "converged": converged, "constants": str(constants) if constants.is_file() else None}


def _tell_end(plan: Plan, found: dict[str, Any], outcome: dict[str, Any]) -> None:
    from fiducial.cli.aligned import tell_iterations, verdict

    tell_iterations(found, int(plan.source.workflow.variables["first_iteration"]))
    typer.echo(verdict(found, outcome))
    if found["pull_mean"] is not None:
        typer.echo(f"pulls against the truth: mean {found['pull_mean']:+.2f}, width {found['pull_width']:.2f}")
    typer.echo(f"constants: {found['constants']}")
    typer.echo(f"report:    {found['report']}")
    typer.echo(f"look:      fiducial campaign show {plan.prepared.name}")
    if not found["converged"]:
        typer.echo("hint: a larger -i, with --continue, goes on where it stopped", err=True)


def _tell_next(plan: Plan, single: Once) -> None:
    from fiducial.alignment.faser.campaign import CONSTANTS

    commands = _next(plan, single)
    typer.echo(f"iteration {single.number} is reconstructed: {single.folder / '2kfalignment'}")
    typer.echo(f"next, the fit, which writes {single.folder / CONSTANTS}:\n  {commands[0]}")
    typer.echo(f"then iteration {single.number + 1}: the same command with -i {single.number + 1}")


def _next(plan: Plan, single: Once) -> list[str]:
    """The command of the fit."""
    import shlex

    from fiducial.alignment.faser.campaign import CONSTANTS

    folder, stations = single.folder, plan.source.workflow.variables["stations"]
    words = ["fiducial", "alignment", "solve", "--ntuples", folder / "2kfalignment"]
    words += ["--constants", folder / "1reco" / CONSTANTS, "--stations", stations]
    words += ["--output-dir", folder / "3millepede", "--new-constants", folder / CONSTANTS]
    return [shlex.join(map(str, words))]
