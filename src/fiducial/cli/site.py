"""``fiducial site``: the places where campaigns can run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.batch.site import Site
    from fiducial.core.rows import Row
    from fiducial.settings import Settings

app = subject_app(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def site() -> None:
    """List and try out the places where campaigns can run."""


@app.command("list")
def list_(json_: Json = False) -> None:
    """List the sites of the settings, and the batch systems that need none. Exits with 1 if a site's table is wrong."""
    from fiducial import settings
    from fiducial.batch.kinds import kind_names
    from fiducial.cli.output import print_json, print_table
    from fiducial.cli.sites import site_names

    chosen = settings.load()
    default = chosen.get("run.site") or "local"
    views = [_view(chosen, name, default) for name in site_names(chosen)]
    faulty = [view for view in views if view["error"]]
    if json_:
        print_json({"sites": views, "backends": kind_names()})
        raise typer.Exit(1 if faulty else 0)
    rows = [(f"{v['name']}{' *' if v['default'] else ''}", _label(v), v["queue"], v["source"]) for v in views]
    print_table(("site", "batch system", "queue", "from"), rows)
    others = [name for name in kind_names() if name not in site_names(chosen)]
    typer.echo("\n* where campaigns run when no --site is given")
    if others:
        typer.echo(f"Batch systems that are a site without a table: {', '.join(others)}")
    for view in faulty:
        typer.echo(f"\nerror: {view['error']}\nhint: {view['hint']}", err=True)
    raise typer.Exit(1 if faulty else 0)


def _label(view: dict[str, Any]) -> str:
    from fiducial.batch.kinds import find_kind

    return "cannot be used, see below" if view["error"] else find_kind(view["backend"]).label


def _view(chosen: Settings, name: str, default: str) -> dict[str, Any]:
    """A site as ``--json`` prints it; one whose table is wrong has an error in the place of its keys."""
    from fiducial.cli.sites import chosen_site
    from fiducial.core.errors import ConfigurationError

    table = chosen.sites.get(name)
    view = {"name": name, "default": name == default, "source": table.source if table else "default"}
    nothing: dict[str, Any] = {"backend": None, "queue": None, "keys": {}, "error": None, "hint": None}
    try:
        site = chosen_site(chosen, name)
    except ConfigurationError as error:
        return {**view, **nothing, "error": error.message, "hint": error.hint}
    keys = site.model_dump(mode="json", exclude_unset=True, exclude={"name", "backend"})
    return {**view, **nothing, "backend": site.backend, "queue": site.queue, "keys": keys}


@app.command("test")
def try_site(
    name: Annotated[str, typer.Argument(help="Site of fiducial.toml, or a batch system.")],
    patience: Annotated[str, typer.Option(help="How long the jobs may take, e.g. 90s or 1h.")] = "10m",
    folder: Annotated[Path | None, typer.Option(help="Folder for the jobs' files; nodes must see it.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder even if all is well.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tried; submit nothing.")] = False,
    json_: Json = False,
) -> None:
    """Run three tiny jobs, and tell latency, nodes, python, scratch and what to mend. Exits with 6 if a job fails."""
    from fiducial import settings
    from fiducial.cli.rows import counted, tell_rows
    from fiducial.cli.sites import chosen_site

    found = chosen_site(settings.load(), name)
    place = (folder or Path.cwd() / ".fiducial" / f"site-test-{name}").absolute()
    if dry_run:
        typer.echo(
            f"three jobs would be submitted to {found.backend} (queue {found.queue or 'by default'}) from {place}"
        )
        typer.echo("dry run: nothing was submitted")
        return
    rows = _tried(found, place, _seconds(patience))
    failed, _ = counted(rows)
    kept = keep or bool(failed)
    if not kept:
        import shutil

        shutil.rmtree(place, ignore_errors=True)
    if json_:
        from fiducial.cli.output import print_json

        print_json(
            {
                "site": name,
                "ok": not failed,
                "folder": str(place) if kept else None,
                "checks": [vars(row) for row in rows],
            }
        )
    else:
        tell_rows(rows)
        if kept:
            typer.echo(f"files: {place}")
    raise typer.Exit(6 if failed else 0)


def _seconds(text: str) -> float:
    from fiducial.core.errors import UsageError
    from fiducial.core.resources import parse_duration

    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--patience: {error}") from None


def _tried(site: Site, place: Path, patience: float) -> list[Row]:
    from fiducial.batch.kinds import find_kind
    from fiducial.batch.trial import judge, no_use, try_out
    from fiducial.cli.status import told
    from fiducial.core.errors import BackendError, FolderError

    try:
        _make_empty(place)
    except OSError as error:
        raise FolderError(f"cannot use {place}: {error.strerror}", hint="choose another with --folder") from None
    # Nobody wants to wait for a minute to hear of a job that takes none.
    quick = site.model_copy(
        update={"fastest_poll": min(site.fastest_poll, 3.0), "slowest_poll": min(site.slowest_poll, 10.0)}
    )
    with told() as progress:
        try:
            backend = find_kind(site.backend).open(quick, place / "queue")
            return list(judge(site, try_out(backend, site, place, patience=patience, progress=progress)))
        except BackendError as error:
            return [no_use(site, error)]


def _make_empty(place: Path) -> None:
    """A folder of an earlier test is used again; another folder that holds anything is not."""
    import shutil

    from fiducial.core.errors import FolderError

    mark = place / "site-test"
    if place.exists() and any(place.iterdir()):
        if not mark.exists():
            raise FolderError(
                f"{place} holds something that is not of a site test", hint="choose another with --folder"
            )
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    mark.touch()
