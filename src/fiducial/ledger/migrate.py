"""Bringing an older ledger up to date. Apart from `database`, because alembic is slow to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from fiducial.core.errors import LedgerError

if TYPE_CHECKING:
    from fiducial.ledger.database import Database

__all__ = ["configuration", "upgrade"]


def configuration() -> Config:
    """Alembic's settings: where the migrations lie."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(database: Database, revision: str | None) -> None:
    """Bring a ledger of an older revision up to date; a copy of an SQLite file is kept beside it.

    Raises:
        LedgerError: a newer Fiducial made this ledger.
    """
    config = configuration()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in known:
        raise LedgerError(
            f"the ledger {database.where} was made by a newer Fiducial (revision {revision})",
            hint="pip install --upgrade fiducial",
        )
    if database.sqlite:
        from fiducial.ledger.upkeep import copy_file

        path = Path(database.where)
        copy_file(path, path.with_name(f"{path.name}.before-upgrade-from-{revision}"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
