"""``fiducial align check``: whether all that an alignment needs is there, before anything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fiducial.cli import alignoptions as words
from fiducial.cli.options import SiteName

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
    from fiducial.cli.rows import counted, tell_rows
    from fiducial.cli.sites import chosen_site

    need_alignment()
    said = words.check_words(ctx.params)
    request = words.request_of(said).over(words.configured(config, simulate=False))
    chosen = settings.load()
    backend = chosen_site(chosen, site).backend
    rows = list(check_everything(request, backend=backend, ledger=chosen.ledger_url, pede=chosen.get("alignment.pede")))
    failed, warned = counted(rows)
    if json_:
        from fiducial.cli.output import print_json

        print_json({"failed": failed, "warned": warned, "checks": [vars(row) for row in rows]})
    else:
        tell_rows(rows)
    raise typer.Exit(1 if failed else 0)
