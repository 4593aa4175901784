"""Whether ``fiducial align`` may go on with what an earlier command began, and what to say when it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiducial.core.errors import ChangedError, NotFoundError, StateError

if TYPE_CHECKING:
    from fiducial.alignment.faser.campaign import Plan
    from fiducial.alignment.faser.once import Once
    from fiducial.engine.campaign import Campaign

__all__ = ["begun", "must_exist", "must_go_on", "refused"]

#: So many changes are told, for an update of Fiducial itself may bring many.
_MOST = 6


def begun(name: str) -> Campaign | None:
    """The campaign of that name; None where nobody began one, or it was put aside."""
    from fiducial.cli.opened import opened
    from fiducial.engine.campaign import Campaign
    from fiducial.ledger import queries

    try:
        with opened() as database, database.read() as connection:
            row = queries.find_campaign(connection, name)
            identity = database.id
    except NotFoundError:  # not even a ledger
        return None
    if row is None or row["name"] != name or row["state"] == "archived":
        return None
    return Campaign(row, identity)


def must_exist(earlier: Campaign | None, name: str) -> None:
    """Begin nothing new for somebody who wants to go on.

    Raises:
        NotFoundError: there is nothing to go on with.
    """
    if earlier is None:
        hint = "without --continue it begins; where one was begun, its folder's .fiducial/ledger.db knows it"
        raise NotFoundError(f"there is no campaign '{name}' to go on with", hint=hint)


def must_go_on(earlier: Campaign, plan: Plan, single: Once | None, *, update: bool) -> None:
    """Do not mix the iterations of two alignments in one folder.

    Raises:
        StateError: what was asked for is another alignment, or begins with constants that are others by now.
    """
    from fiducial.alignment.faser.changes import LASTING, changes

    changed = changes(earlier.workflow, plan.prepared.workflow)
    lasting = {key: change for key, change in changed.items() if key in LASTING}
    if lasting and update:
        message = f"campaign '{earlier.name}' is another alignment: {_told(lasting)}"
        raise StateError(message, hint=f"--folder OTHER begins one of that name; {_aside(earlier.name)}")
    if not lasting:
        _must_have_its_constants(earlier.name, plan, single)


def _must_have_its_constants(name: str, plan: Plan, single: Once | None) -> None:
    from fiducial.alignment.faser.changes import changed_constants
    from fiducial.alignment.faser.layout import CONSTANTS

    if single is None:
        given, copy = plan.request.initial_constants, plan.prepared.folder / CONSTANTS
    else:
        given, copy = single.constants, single.iteration.began_with
    changed = changed_constants(given, copy)
    if changed:
        hint = (
            f"fiducial campaign archive {name}, and then the same command, begins anew with the constants as they are"
        )
        hint += f"; fiducial campaign resume {name} goes on with those that were taken"
        raise StateError(f"campaign '{name}' began with other constants: {changed}", hint=hint)


def refused(error: ChangedError, earlier: Campaign | None, plan: Plan) -> ChangedError:
    """The same error, with what changed and the way out that there is for it."""
    from fiducial.alignment.faser.changes import LASTING, changes

    name, changed = plan.prepared.name, changes(earlier.workflow, plan.prepared.workflow) if earlier else {}
    message = f"{error.message}: {_told(changed)}" if changed else error.message
    if earlier is not None and earlier.folder != plan.prepared.folder:
        hint = f"where it was begun, the same command goes on with it; {_aside(name)}"
    elif changed.keys() & set(LASTING):
        hint = (
            "this is another alignment, which --folder OTHER begins; the options that it was begun with go on with it"
        )
        hint += f"; {_aside(name)}"
    else:
        hint = "the options that it was begun with go on with it; --continue takes up changed ones for what is left; "
        hint += _aside(name)
    return ChangedError(message, hint=hint)


def _told(changed: dict[str, str]) -> str:
    told = [f"{key} {change}" for key, change in changed.items()]
    return ", ".join(told[:_MOST]) + (f" and {len(told) - _MOST} more" if len(told) > _MOST else "")


def _aside(name: str) -> str:
    return f"fiducial campaign archive {name} puts it aside"
