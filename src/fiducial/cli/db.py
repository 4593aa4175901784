"""``fiducial db``: look after the ledger's database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.ledger.upkeep import Miscount

app = subject_app(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]


@app.callback()
def db() -> None:
    """Look after the ledger's database."""


@app.command()
def info(json_: Json = False) -> None:
    """Show where the ledger is, how large it is and what it holds."""
    from fiducial.cli.opened import opened
    from fiducial.cli.output import amount, moment, print_json, print_table
    from fiducial.ledger import upkeep

    with opened() as database:
        found = upkeep.info(database)
    if json_:
        print_json(found)
        return
    lines = {
        "ledger": found["ledger"],
        "size": amount(found["size"]),
        "revision": found["revision"],
        "created": moment(found["created"]),
        "identity": found["id"],
        "on": found["file_system"],
    }
    for key, value in lines.items():
        if value:
            typer.echo(f"{key:<9} {value}")
    typer.echo()
    print_table(("table", "rows"), list(found["rows"].items()))


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Set wrong counters to what was counted.")] = False,
    json_: Json = False,
) -> None:
    """Check that the file is sound and that every counter is what its jobs and attempts give."""
    from fiducial.cli.opened import busy, opened
    from fiducial.cli.output import print_json
    from fiducial.ledger import upkeep

    with busy("checking"):
        damage = upkeep.damage(_file()) if _is_sqlite() else []
        wrong: list[Miscount] = []
        if not damage:
            with opened() as database, database.write() if repair else database.read() as connection:
                wrong = upkeep.miscounts(connection)
                if repair:
                    upkeep.repair(connection, wrong)
    if json_:
        from dataclasses import asdict

        print_json({"damage": damage, "counters": [asdict(each) for each in wrong], "repaired": repair and bool(wrong)})
    else:
        _tell_check(damage, wrong, repair)
    raise typer.Exit(5 if damage or (wrong and not repair) else 0)


def _tell_check(damage: list[str], wrong: list[Miscount], repair: bool) -> None:
    for line in damage:
        typer.echo(f"error: the file is damaged: {line}", err=True)
    if damage:
        typer.echo("hint: fiducial db restore brings back a backup", err=True)
        return
    for each in wrong:
        where = f"{each.step}" + (f" of iteration {each.iteration}" if each.iteration else "")
        typer.echo(f"campaign {each.campaign}, {where}: {each.counter} was {each.stored:g}, counted {each.counted:g}")
    if not wrong:
        typer.echo("the file is sound, and all counters are right")
    elif repair:
        typer.echo(f"the file is sound; {len(wrong)} counters are set right")
    else:
        typer.echo("error: the file is sound, but counters are wrong", err=True)
        typer.echo("hint: fiducial db check --repair sets them right", err=True)


def _url() -> Any:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from fiducial import settings
    from fiducial.core.errors import ConfigurationError

    url = settings.load().ledger_url
    try:
        return make_url(url)
    except ArgumentError:
        raise ConfigurationError(f"'{url}' is not a database URL") from None


def _is_sqlite() -> bool:
    return bool(_url().get_backend_name() == "sqlite")


def _file() -> Path:
    """The ledger's file, which need not be one that can be opened."""
    from fiducial.core.errors import StateError

    if not _is_sqlite():
        raise StateError("the ledger is not an SQLite file", hint="PostgreSQL has its own tools: pg_dump, pg_restore")
    return Path(str(_url().database))


@app.command()
def backup(file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; must not be there.")]) -> None:
    """Copy the ledger as it is at this moment, while campaigns run."""
    from fiducial.cli.opened import busy, opened
    from fiducial.cli.output import amount
    from fiducial.ledger import upkeep

    with opened() as database, busy("copying") as progress:
        size = upkeep.backup(database, file, progress)
    typer.echo(f"{file}: {amount(size)}; fiducial db restore {file} brings it back")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that fiducial db backup made.")],
    dry_run: Dry = False,
) -> None:
    """Put a backup into the ledger's place; what is there is kept beside it."""
    from fiducial.cli.opened import busy, dry
    from fiducial.ledger import upkeep

    ledger = _file()
    if dry_run:
        upkeep.must_be_ledger(file)
        dry(f"{file} is sound; it would become {ledger}")
        return
    with busy("restoring") as progress:
        aside = upkeep.restore(file, ledger, progress)
    typer.echo(f"{ledger} is what {file} holds" + (f"; what it was is now {aside}" if aside else ""))


@app.command()
def upgrade(dry_run: Dry = False) -> None:
    """Bring the ledger up to date with this version; other commands do it, too, when they open it."""
    from fiducial.cli.opened import dry, opened
    from fiducial.ledger import schema, upkeep

    before = upkeep.revision(_file()) if _is_sqlite() else None
    if dry_run:
        dry(f"the ledger is of revision {before}; this version works with {schema.REVISION}")
        return
    with opened() as database:
        where = database.where
    if before in (None, schema.REVISION):
        typer.echo(f"{where} is up to date: revision {schema.REVISION}")
    else:
        typer.echo(f"{where} is now of revision {schema.REVISION}; a copy of revision {before} lies beside it")


@app.command()
def vacuum() -> None:
    """Give back the disk space of what was deleted; needs as much free space as the ledger takes."""
    from fiducial.cli.opened import busy, opened
    from fiducial.cli.output import amount
    from fiducial.ledger import upkeep

    with opened() as database, busy("packing"):
        size = upkeep.vacuum(database)
    typer.echo(f"{amount(size['before'])} before, {amount(size['after'])} now")
