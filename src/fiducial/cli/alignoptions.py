"""The options of ``fiducial align``: what each is, which fit together, and what they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fiducial.alignment.faser.request import Request

CONFIG = Path("config.json")

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
Recipe = Annotated[
    str | None,
    typer.Option(help="How an iteration is fitted: a name (fiducial alignment recipe list), or a file of your own."),
]
WithPede = Annotated[
    bool, typer.Option("--with-pede", help="Let pede fit, that of config.json (pede_install), and not our own fit.")
]
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
DespiteDaemon = Annotated[bool, typer.Option("--despite-daemon", help="Work here although auto_iter.py does, or may.")]
Submit = Annotated[bool, typer.Option("--submit", help="With --backend dagman: give the DAG to DAGMan.")]
Workers = Annotated[int | None, typer.Option("--workers", "-j", min=1, help="Jobs at a time; default: cores.")]
Memory = Annotated[str | None, typer.Option(help='Memory that all jobs may use together, e.g. "16 GB".')]
Folder = Annotated[Path | None, typer.Option(help="Folder for the campaign's files; its name is the campaign's.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="Set a variable of the workflow.")]
ShowWorkflow = Annotated[bool, typer.Option("--show-workflow", help="Print the workflow file that would run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run; write nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def note(text: str) -> None:
    """Say something that a user should know."""
    typer.echo(f"note: {text}", err=True)


def must_stand_behind(ctx: Any) -> None:
    """Refuse options before the name of a command below ``align``, for nobody would read them.

    Raises:
        UsageError: there are some.
    """
    from fiducial.core.errors import UsageError

    given = [name for name in ctx.params if ctx.get_parameter_source(name).name == "COMMANDLINE"]
    if given:
        option = f"--{given[0].rstrip('_').replace('_', '-')}"
        raise UsageError(
            f"{option} stands before {ctx.invoked_subcommand}",
            hint=f"fiducial align {ctx.invoked_subcommand} {option} …",
        )


def must_fit_together(said: dict[str, Any]) -> None:
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


#: Options of ``align`` that ``check`` has no use for, as if nobody had said them.
_UNSAID: dict[str, Any] = {
    **dict.fromkeys(("once", "simulate", "all_iterations"), False),
    **dict.fromkeys(("events", "seed", "threshold", "show_workflow")),
    "behind": (),
}


def check_words(said: dict[str, Any]) -> dict[str, Any]:
    """The words of ``check``, as those of an alignment.

    Raises:
        UsageError: some contradict each other.
    """
    whole = {**_UNSAID, **said}
    must_fit_together(whole)
    return whole


def request_of(said: dict[str, Any]) -> Request:
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
        name=None if said["folder"] is None else said["folder"].absolute().name,
        folder=None if said["folder"] is None else str(path("folder")),
        initial_constants=path("constants"),
        recipe=parsed("recipe", ask.parse_recipe),
        source=path("source"),
        environment_script=path("env_script"),
        calypso=path("calypso_path"),
        with_pede=said["with_pede"] or None,
        reco_words=said["behind"],
        variables=variables,
    ).with_variables(variables_of(said["set_"]))


def which_iteration(iteration: str | None) -> int:
    """The number of the one iteration of ``--once``.

    Raises:
        UsageError: it is none.
    """
    from fiducial.alignment.faser.request import parse_iterations

    return parse_iterations(iteration or "", what="number of an iteration", least=0)


def configured(config: Path | None, simulate: bool) -> Request:
    """What config.json asks for: the one that is named, or else the one that lies here."""
    from fiducial.alignment.faser.configfile import is_faser, read_config
    from fiducial.alignment.faser.request import Request

    if config is None and (simulate or not CONFIG.is_file()):
        return Request()
    if config is None and not is_faser(CONFIG):
        note(f"{CONFIG} is not used: it is none of FASER's alignment")
        return Request()
    if config is None:
        note(f"what the options leave open is taken from {CONFIG}")
    return read_config(config or CONFIG)
