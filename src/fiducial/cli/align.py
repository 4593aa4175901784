"""``fiducial align``: FASER's tracker alignment, with the options of main.py, auto_iter.py and dag_manager.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fiducial.cli import alignoptions as words
from fiducial.cli.aligncheck import check
from fiducial.cli.aligninit import init
from fiducial.cli.lazy import subject_app
from fiducial.cli.options import SiteName

if TYPE_CHECKING:
    from fiducial.alignment.faser.campaign import Plan
    from fiducial.alignment.faser.once import Once
    from fiducial.alignment.faser.takeover.decide import Decision

app = subject_app()

_BEHIND = "fiducial.align.behind"


class AlignGroup(TyperGroup):
    """Keeps the words behind ``--`` for the reconstruction, and answers options of FASER's other programs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split the words at ``--``, unless they are those of a command below."""
        below = bool(args) and args[0] in self.commands
        end = args.index("--") if "--" in args and not below else len(args)
        ctx.meta[_BEHIND] = tuple(args[end + 1 :])
        if end and not below:
            from fiducial.alignment.faser.foreign import refuse_foreign

            refuse_foreign(args[:end])
        return super().parse_args(ctx, args[:end])


@app.callback(
    cls=AlignGroup,
    invoke_without_command=True,
    epilog="What stands behind -- goes to faser_reco_alignment.py: -- --nevents 100",
)
def align(
    ctx: typer.Context,
    year: words.Year = None,
    run: words.Run = None,
    files: words.Files = None,
    iterations: words.Iterations = None,
    threest: words.ThreeSt = False,
    fourst: words.FourSt = False,
    config: words.Config = None,
    env_script: words.EnvScript = None,
    calypso_path: words.CalypsoPath = None,
    source: words.Source = None,
    raw: words.Raw = None,
    constants: words.Constants = None,
    recipe: words.Recipe = None,
    with_pede: words.WithPede = False,
    once: words.OnlyOnce = False,
    simulate: words.Simulate = False,
    events: words.Events = None,
    seed: words.Seed = None,
    threshold: words.Threshold = None,
    all_iterations: words.AllIterations = False,
    continue_: words.Continue = False,
    despite_daemon: words.DespiteDaemon = False,
    site: SiteName = None,
    submit: words.Submit = False,
    workers: words.Workers = None,
    memory: words.Memory = None,
    folder: words.Folder = None,
    set_: words.Set = None,
    show_workflow: words.ShowWorkflow = False,
    dry_run: words.DryRun = False,
    json_: words.Json = False,
    quiet: words.Quiet = False,
) -> None:
    """Align FASER's tracker: reconstruct, fit, add to the constants, until nothing moves. The same command goes on."""
    if ctx.invoked_subcommand is not None:
        words.must_stand_behind(ctx)
        return
    from fiducial.alignment.faser.campaign import plan as plan_all
    from fiducial.alignment.faser.once import plan_once
    from fiducial.cli.aligned import need_alignment

    need_alignment()
    said = ctx.params | {"behind": ctx.meta[_BEHIND]}
    words.must_fit_together(said)
    request = words.request_of(said).over(words.configured(config, simulate))
    single: Once | None = None
    if once:
        plan, single = plan_once(request, words.which_iteration(iterations), simulate=simulate)
    else:
        plan = plan_all(request, simulate=simulate)
    taken = None
    if single is None and not simulate:
        from fiducial.cli.aligntaken import taken_over

        plan, taken = taken_over(plan, request, begin=continue_)
    if show_workflow:
        for note in plan.request.notes:
            words.note(note)
        typer.echo(plan.source.text, nl=False)
        return
    others = {"--workers": workers, "--memory": memory, "--once": once or None}
    dag = _dag(site, submit, {**others, "--continue": (continue_ and taken is None) or None})
    _check(plan, single, taken, dag)
    _look_for_daemons(plan, single, despite_daemon)
    if dry_run:
        from fiducial.cli.run import tell_plan

        if not json_:
            typer.echo(_how(plan, single))
        tell_plan(plan.prepared, json_)
        return
    show = not (quiet or json_)
    if dag is not None:
        _write_dag(plan, dag, taken, submit=submit, show=show, json_=json_)
        return
    outcome = _execute(plan, single, taken, site=site, show=show, workers=workers, memory=memory, update=continue_)
    if plan.request.taken:
        from fiducial.cli.aligntaken import forget

        forget(plan)
    _tell(plan, single, outcome, json_)


app.command()(init)
app.command()(check)


# ------------------------------------------------------------------------------------------------- what happens


def _check(plan: Plan, single: Once | None, taken: Decision | None, dag: Any) -> None:
    from fiducial.alignment.faser import premises
    from fiducial.alignment.faser.htcondor import still_needless

    for note in plan.notes if dag is None else filter(None, map(still_needless, plan.notes)):
        words.note(note)
    found = premises.check(plan, taken_over=taken is not None) if single is None else premises.check_once(plan, single)
    for note in found:
        words.note(note)


def _dag(site: str | None, submit: bool, others: dict[str, Any]) -> Any:
    """The site, if it is DAGMan's; elsewhere ``--submit`` asks for what happens anyhow."""
    from fiducial.cli.dag import dag_site
    from fiducial.cli.run import dagman_of

    if submit and dag_site(site) is None:
        words.note("--submit: the jobs run at once, and nothing is sent to HTCondor; --backend dagman makes a DAG")
        submit = False
    return dagman_of(site, submit, others)


def _write_dag(plan: Plan, site: Any, taken: Decision | None, *, submit: bool, show: bool, json_: bool) -> None:
    from dataclasses import replace

    from fiducial.alignment.faser.dag import layout
    from fiducial.alignment.faser.htcondor import requirements, with_fit_limits
    from fiducial.alignment.faser.layout import scope_of
    from fiducial.cli.aligntaken import keep
    from fiducial.cli.dag import plan_of, tell_written, write_dag

    keep(plan, taken)
    config = plan.request.config
    prepared = replace(plan.prepared, workflow=with_fit_limits(plan.prepared.workflow, config))
    dag = plan_of(prepared, site, layout(prepared.workflow, scope_of(prepared)))
    found = write_dag(
        dag,
        site,
        requirements=requirements(config),
        submit=submit,
        show=show,
        begun=lambda: _lay_out(plan, None),
    )
    tell_written(found, json_)


def _look_for_daemons(plan: Plan, single: Once | None, despite: bool) -> None:
    from fiducial.alignment.faser.campaign import data_folder
    from fiducial.alignment.faser.daemon import find_daemons, must_not_work_here

    folders = [single.base if single else plan.prepared.folder, *filter(None, [data_folder(plan)])]
    daemons = find_daemons({Path.cwd(), *(folder.parent for folder in folders)})
    if not despite:
        must_not_work_here(daemons, folders)
    for daemon in daemons:
        words.note(f"{daemon.told}; {daemon.stop}")


def _execute(
    plan: Plan,
    single: Once | None,
    taken: Decision | None,
    *,
    site: str | None,
    show: bool,
    workers: int | None,
    memory: str | None,
    update: bool,
) -> dict[str, Any]:
    from fiducial.cli import alignbegun, aligntaken
    from fiducial.cli.run import execute
    from fiducial.core.errors import ChangedError

    earlier = alignbegun.begun(plan.prepared.name)
    aligntaken.keep(plan, taken)
    if update and taken is None:
        alignbegun.must_exist(earlier, plan.prepared.name)
    if earlier is not None:
        alignbegun.must_go_on(earlier, plan, single, update=update)

    def begun() -> None:
        _lay_out(plan, single)
        if show:
            typer.echo(_beginning(plan, single), err=True)

    try:
        return execute(plan.prepared, site=site, workers=workers, memory=memory, update=update, show=show, begun=begun)
    except ChangedError as error:
        raise alignbegun.refused(error, earlier, plan) from None


def _lay_out(plan: Plan, single: Once | None) -> None:
    """Put into the campaign's folder what it was made of."""
    from fiducial.alignment.faser.campaign import CONFIG, FILE, data_folder
    from fiducial.alignment.faser.folders import join
    from fiducial.alignment.faser.overwriting import keeps_its_config
    from fiducial.storage.replace import replace_text

    data = data_folder(plan)
    if single is not None and data is not None:
        known = plan.source.workflow.variables
        ntuples, fit = str(known["ntuple_folder"]), str(known["fit_folder"])
        join(plan.prepared.folder, data, iteration=".", ntuples=ntuples, fit=fit)

    for script in (plan.script, plan.pede):
        if script is not None:
            script.make()
    if single is None:
        text = "# Written by fiducial align, and written anew by each such command: to change it, take a copy.\n"
        replace_text(plan.prepared.folder / FILE, f"{text}{plan.source.text}")
    if plan.request.config is not None and not keeps_its_config(plan.prepared.folder):
        replace_text(plan.prepared.folder / CONFIG, plan.request.config.read_text("utf-8"))


def _beginning(plan: Plan, single: Once | None) -> str:
    name, many = plan.prepared.name, len(plan.request.files or ())
    files = f"{many} file{'s' if many != 1 else ''}"
    return (
        f"campaign {name}: {files}, {_how(plan, single)}, in {plan.prepared.folder}\n"
        f"look at it from another terminal: fiducial campaign show {name}"
    )


def _how(plan: Plan, single: Once | None) -> str:
    most = plan.prepared.max_iterations
    what = f"iteration {single.number}" if single else f"at most {most} iteration{'s' if most != 1 else ''}"
    return f"{plan.source.workflow.variables['stations']} stations, recipe {plan.recipe_copy.stem}, {what}"


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
    from fiducial.alignment.faser.layout import first_of, iteration

    head = {"campaign": plan.prepared.name, "folder": str(plan.prepared.folder), "state": outcome["state"]}
    if single is not None:
        return {**head, "iteration": single.number, "jobs": found["jobs"], "next": _next(plan, single)}
    shifts = found["max_shift_over_error"]
    # Where all iterations were wanted, the campaign has no condition that could have come true.
    converged = bool(shifts) and outcome["state"] == "done" and shifts[-1] < plan.source.workflow.variables["threshold"]
    constants = iteration(plan.prepared, first_of(plan.prepared) + len(shifts) - 1).constants
    return {**head, **found, "converged": converged, "constants": str(constants) if constants.is_file() else None}


def _tell_end(plan: Plan, found: dict[str, Any], outcome: dict[str, Any]) -> None:
    from fiducial.alignment.faser.layout import first_of
    from fiducial.cli.aligned import tell_iterations, verdict

    tell_iterations(found, first_of(plan.prepared))
    typer.echo(verdict(found, outcome))
    if found["pull_mean"] is not None:
        typer.echo(f"pulls against the truth: mean {found['pull_mean']:+.2f}, width {found['pull_width']:.2f}")
    typer.echo(f"constants: {found['constants']}")
    typer.echo(f"report:    {found['report']}")
    typer.echo(f"look:      fiducial campaign show {plan.prepared.name}")
    if not found["converged"]:
        typer.echo("hint: a larger -i, with --continue, goes on where it stopped", err=True)


def _tell_next(plan: Plan, single: Once) -> None:
    commands = _next(plan, single)
    typer.echo(f"iteration {single.number} is reconstructed: {single.iteration.ntuples}")
    typer.echo(f"next, the fit, which writes {single.iteration.constants}:\n  {commands[0]}")
    typer.echo(f"then iteration {single.number + 1}: the same command with -i {single.number + 1}")


def _next(plan: Plan, single: Once) -> list[str]:
    """The command of the fit."""
    import shlex

    place, variables = single.iteration, plan.source.workflow.variables
    line: list[object] = ["fiducial", "alignment", "solve", "--ntuples", place.ntuples]
    line += ["--constants", place.began_with, "--stations", variables["stations"]]
    line += ["--recipe", plan.recipe_copy]
    line += ["--output-dir", place.fit, "--new-constants", place.constants]
    line += variables["solve_options"]
    return [shlex.join(map(str, line))]
