"""``fiducial align check``: whether all that an alignment needs is there, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fiducial.cli import alignoptions as words
from fiducial.cli.options import SiteName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fiducial.alignment.faser.checkup.rows import Row

__all__ = ["check"]

Json = Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")]


def check(
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
    folder: words.Folder = None,
    set_: words.Set = None,
    site: SiteName = None,
    json_: Json = False,
) -> None:
    """Look whether paths, Calypso, raw files, room, quota and tickets are there. Exits with 1 if something is not."""
    from fiducial import settings
    from fiducial.alignment.faser.checkup.everything import check_everything
    from fiducial.cli.aligned import need_alignment
    from fiducial.cli.sites import chosen_site

    need_alignment()
    said = words.check_words(ctx.params)
    request = words.request_of(said).over(words.configured(config, simulate=False))
    chosen = settings.load()
    backend = chosen_site(chosen, site).backend
    rows = list(check_everything(request, backend=backend, ledger=chosen.ledger_url, pede=chosen.get("alignment.pede")))
    failed, warned = (sum(row.state == state for row in rows) for state in ("fail", "warn"))
    if json_:
        from fiducial.cli.output import print_json

        print_json({"failed": failed, "warned": warned, "checks": [vars(row) for row in rows]})
    else:
        _tell(rows, failed, warned)
    raise typer.Exit(1 if failed else 0)


def _tell(rows: Sequence[Row], failed: int, warned: int) -> None:
    width = max(len(row.what) for row in rows)
    for row in rows:
        typer.echo(f"{row.state:<4}  {row.what:<{width}}  {row.told}")
        if row.mend and row.state != "ok":
            typer.echo(f"{'':<4}  {'':<{width}}  -> {row.mend}")
    if failed:
        typer.echo(f"\n{failed} of {len(rows)} fail" + (f", {warned} to look at" if warned else ""))
    else:
        typer.echo(f"\nall {len(rows)} are fine" if not warned else f"\nnothing fails; {warned} to look at")
