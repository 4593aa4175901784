"""``fiducial config``: show and begin settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fiducial.cli.lazy import subject_app

if TYPE_CHECKING:
    from fiducial.settings import Settings

app = subject_app(no_args_is_help=True)


@app.callback()
def config() -> None:
    """Show and begin settings."""


@app.command()
def show(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting, its value and where that comes from."""
    from fiducial import settings
    from fiducial.cli.output import print_json, print_table

    found = settings.load()
    views = [_view(key, found) for key in settings.KEYS]
    if json_:
        print_json({"project": str(found.project), "ledger": _without_password(found.ledger_url), "settings": views})
        return
    print_table(
        ("setting", "value", "from", "environment"),
        [(v["key"], "not set" if v["value"] is None else v["value"], v["source"], v["variable"]) for v in views],
    )
    typer.echo(f"\nproject  {found.project}")
    typer.echo(f"ledger   {_without_password(found.ledger_url)}")


def _view(key: str, found: Settings) -> dict[str, Any]:
    from fiducial.settings import KEYS

    setting = found.values[key]
    value = _without_password(setting.value) if isinstance(setting.value, str) else setting.value
    variable, _, meaning = KEYS[key]
    return {"key": key, "value": value, "source": setting.source, "variable": variable, "meaning": meaning}


def _without_password(url: str) -> str:
    """What is shown may end up in a mail or a ticket."""
    import re

    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


@app.command()
def init(
    user: Annotated[bool, typer.Option("--user", help="For all your projects, not for this folder.")] = False,
) -> None:
    """Begin a settings file, every setting in it explained and commented out."""
    from fiducial import settings
    from fiducial.core.errors import ConfigurationError, StateError

    file = settings.user_file() if user else Path.cwd() / "fiducial.toml"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as new:
            new.write(_template(settings.KEYS))
    except FileExistsError:
        raise StateError(f"{file} is there already", hint="edit it; fiducial config show tells what holds") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None
    typer.echo(f"{file} is written; every setting in it is commented out")


_EXAMPLES = {
    "ledger.url": '".fiducial/ledger.db"',
    "local.workers": "8",
    "local.memory": '"16 GB"',
    "run.site": '"mysite"',
    "alignment.pede": '"/path/to/pede"',
}


def _template(keys: dict[str, tuple[str, Any, str]]) -> str:
    lines = ["# Settings of Fiducial. The environment wins over this file.", ""]
    section = ""
    for key, (variable, _, meaning) in keys.items():
        place, _, name = key.partition(".")
        if place != section:
            section = place
            lines += [f"[{section}]"]
        lines += [f"# {meaning} (environment: {variable})", f"# {name} = {_EXAMPLES.get(key, '…')}", ""]
    return "\n".join(lines)


@app.command()
def path() -> None:
    """Print which settings files are read, the strongest first."""
    from fiducial import settings

    for file in (settings.find_project(Path.cwd()) / "fiducial.toml", settings.user_file()):
        typer.echo(f"{file}" + ("" if file.is_file() else "  (not there)"))
