"""One statement for many rows, at the speed of the database's driver.

SQLAlchemy looks at every row of an ``executemany`` for types that need conversion; ours are numbers and texts, which
need none. The SQL is still SQLAlchemy's, for whatever database; only the rows go straight to the driver: 1.5 µs instead
of 9 µs a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable

__all__ = ["execute_many"]

_Compiled = tuple[str, tuple[str, ...] | None, dict[str, Any], Any]
_compiled: dict[tuple[int, str, tuple[str, ...]], _Compiled] = {}


def execute_many(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement once for each row.

    Args:
        statement: must be a constant of its module: it is known by its identity.
        rows: all with the same keys, values as the driver takes them.
    """
    if not rows:
        return
    sql, order, constants, _ = _prepared(connection, statement, tuple(rows[0]))
    if constants:
        rows = [{**constants, **row} for row in rows]
    if order is None:
        connection.exec_driver_sql(sql, [dict(row) for row in rows])
    else:
        connection.exec_driver_sql(sql, [tuple([row[name] for name in order]) for row in rows])


def _prepared(connection: Connection, statement: Any, keys: tuple[str, ...]) -> _Compiled:
    wanted = (id(statement), connection.dialect.name, keys)
    if wanted not in _compiled:
        compiled = statement.compile(dialect=connection.dialect, column_keys=list(keys))
        order = tuple(compiled.positiontup) if compiled.positional else None
        constants = {name: value for name, value in compiled.params.items() if name not in keys}
        # The statement is kept with its SQL, so that its identity cannot be given to another.
        _compiled[wanted] = (str(compiled), order, constants, statement)
    return _compiled[wanted]
