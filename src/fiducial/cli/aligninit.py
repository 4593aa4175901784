"""``fiducial align init``: the dialogue that writes ``config.json``, each answer tried at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fiducial.alignment.faser.dialogue import Question

__all__ = ["init"]


def init(
    config: Annotated[Path, typer.Option("--config", help="File to write.")] = Path("config.json"),
    generation: Annotated[
        str | None, typer.Option(help="older (paths, htcondor, …) or newer (raw, data, …); default: that of the file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Answer, e.g. paths.work_dir=/afs/….")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take --set, what is there, and defaults.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Take paths that are not there on this machine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written; write nothing.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write config.json, as setup_config.sh did: asks, tries each answer, and keeps the file that was there."""
    from fiducial.alignment.faser import dialogue
    from fiducial.cli.options import parse_set

    before = _before(config)
    kind = _generation(generation, before)
    if before and kind != dialogue.generation_of(before):
        before = {}
    asked = dialogue.questions(kind, before)
    given = {key: _text(value) for key, value in parse_set(set_ or ()).items()}
    _must_be_keys(given, asked)
    if yes:
        answers = _without_asking(asked, before, given, anyway)
    else:
        _must_be_a_terminal(asked)
        answers = _by_asking(asked, before, given, anyway)
    data = _written(before, answers, kind)
    if dry_run:
        from fiducial.cli.output import print_json

        print_json(data)
        if not json_:
            typer.echo("dry run: nothing was written", err=True)
        return
    if config.exists() and not yes and not typer.confirm(f"{config} is there; replace it? The old one is kept", True):
        typer.echo("nothing was written", err=True)
        raise typer.Exit(1)
    _tell(config, _write(config, data), data, json_)


def _before(config: Path) -> dict[str, Any]:
    """The configuration that is there; empty where there is none."""
    if not config.exists():
        return {}
    import json

    from fiducial.alignment.faser.configfile import is_faser
    from fiducial.core.errors import StateError

    if not is_faser(config):
        raise StateError(f"{config} is none of FASER's alignment", hint="--config names another file to write")
    return dict(json.loads(config.read_text("utf-8")))


def _generation(said: str | None, before: Mapping[str, Any]) -> str:
    from fiducial.alignment.faser.dialogue import NEWER, OLDER, generation_of
    from fiducial.core.errors import UsageError

    if said not in (None, OLDER, NEWER):
        raise UsageError(f"there is no generation '{said}'", hint=f"{OLDER} or {NEWER}")
    return said or generation_of(before)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _must_be_keys(given: Mapping[str, str], asked: list[Question]) -> None:
    from fiducial.core.errors import UsageError
    from fiducial.core.variables import nearest

    known = [question.key for question in asked]
    for key in given:
        if key not in known:
            raise UsageError(f"--set {key}: there is no such key", hint=nearest(key, known) or ", ".join(known))


def _must_be_a_terminal(asked: list[Question]) -> None:
    from fiducial.core.errors import UsageError

    if sys.stdin.isatty():
        return
    needed = " ".join(f"--set {question.key}=…" for question in asked if question.default is None)
    raise UsageError("there is no terminal to ask at", hint=f"fiducial align init --yes {needed}")


# ------------------------------------------------------------------------------------------------------- answers


def _default(question: Question, before: Mapping[str, Any]) -> str | None:
    from fiducial.alignment.faser.dialogue import known_value

    there = known_value(before, question.key)
    value = question.default if there is None or (there == "" and not question.blank) else there
    return None if value is None else _text(value)


def _without_asking(
    asked: list[Question], before: Mapping[str, Any], given: Mapping[str, str], anyway: bool
) -> dict[str, Any]:
    """Answers from options, the file that is there, and defaults; all that is wrong with them is told at once."""
    from fiducial.core.errors import UsageError

    answers, wrong, missing = {}, [], []
    for question in asked:
        try:
            answers[question.key] = question.value(given.get(question.key, _default(question, before) or ""))
        except UsageError as error:
            wrong.append(f"{question.key}: {error.message}")
            continue
        fault = "" if anyway else question.look(answers[question.key])
        missing += [f"{question.key}: {fault}"] if fault else []
    if wrong or missing:
        hint = "--set KEY=VALUE answers it" + ("; --anyway takes paths that are not there here" if missing else "")
        raise UsageError("; ".join([*wrong, *missing]), hint=hint)
    return answers


def _by_asking(
    asked: list[Question], before: Mapping[str, Any], given: Mapping[str, str], anyway: bool
) -> dict[str, Any]:
    quiet = [question for question in asked if not question.asked or question.key in given]
    answers = _without_asking(quiet, before, given, anyway)
    typer.echo("Enter takes what stands in brackets; Ctrl-C leaves without writing anything.\n")
    for question in asked:
        if question not in quiet and not _needless(question, answers):
            answers[question.key] = _ask(question, _default(question, before), anyway)
    return {question.key: answers.get(question.key, question.default) for question in asked}


def _needless(question: Question, answers: Mapping[str, Any]) -> bool:
    """Whether earlier answers leave nothing to ask."""
    return question.key == "storage.use_eos_for_output" and not answers.get("paths.eos_output_dir")


def _ask(question: Question, default: str | None, anyway: bool) -> Any:
    from fiducial.core.errors import UsageError

    while True:
        try:
            value = question.value(_prompt(question.text, default))
        except UsageError as error:
            typer.echo(f"  {error.message}" + (f"; {error.hint}" if error.hint else ""))
            continue
        fault = "" if anyway else question.look(value)
        if not fault or typer.confirm(f"  {fault}; take it all the same?", default=False):
            return value


def _prompt(text: str, default: str | None) -> str:
    return str(typer.prompt(text, default=default, show_default=bool(default)))


# ------------------------------------------------------------------------------------------------------ the file


def _written(before: Mapping[str, Any], answers: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The configuration that was there with the answers in it; keys that nobody asks for stay."""
    import copy

    from fiducial.alignment.faser.dialogue import NEWER, insert

    data = copy.deepcopy(dict(before))
    for key, value in answers.items():
        if value != "" or kind != NEWER:
            insert(data, key, value)
    return data


def _write(config: Path, data: Mapping[str, Any]) -> Path | None:
    """Write the file in one go; what it was before stays beside it, and its name is given back."""
    from fiducial.core.errors import FolderError
    from fiducial.core.jsontext import json_text
    from fiducial.storage.replace import replace_bytes, replace_text

    kept = None
    try:
        if config.exists():
            kept = _free(config)
            replace_bytes(kept, config.read_bytes())
        replace_text(config, json_text(data, indent=2) + "\n")
    except OSError as error:
        raise FolderError(f"cannot write {config}: {error.strerror}", hint="--config names another file") from None
    return kept


def _free(config: Path) -> Path:
    from itertools import count

    names = (config.with_name(f"{config.name}.old{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def _tell(config: Path, kept: Path | None, data: Mapping[str, Any], json_: bool) -> None:
    if json_:
        from fiducial.cli.output import print_json

        print_json({"file": str(config), "kept": None if kept is None else str(kept), "config": data})
        return
    typer.echo(f"{config} is written" + (f"; what it was is {kept}" if kept else ""))
    said = "" if "raw" in data else " -y 2023 -r 011705 -f 450-500"
    named = "" if config == Path("config.json") else f" --config {config}"
    typer.echo(f"look whether all is there:  fiducial align check{said}{named}")
    typer.echo(f"begin:                      fiducial align{said}{named}")
