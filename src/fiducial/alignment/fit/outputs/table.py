"""The result as a Parquet file: a row for each parameter, and the facts about the whole fit in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiducial.core.errors import DataError, NotFoundError
from fiducial.core.jsontext import json_text

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult

__all__ = ["read_table", "require_pyarrow", "write_table"]

_KEY = b"fiducial.fit"


def require_pyarrow() -> None:
    """Find out at the beginning, not after a long fit.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow.parquet  # noqa: F401


def write_table(result: FitResult, path: Path) -> None:
    """Write it; what a parameter does not have (an error, a correlation) is null."""
    import pyarrow
    from pyarrow import parquet

    kinds = {"label": pyarrow.int64(), "count": pyarrow.int64(), "accepted": pyarrow.int64(), "state": pyarrow.string()}
    columns = {
        name: pyarrow.array(values, kinds.get(name, pyarrow.float64())) for name, values in result.to_columns().items()
    }
    facts = json_text(result.facts_to_json()).encode()
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata({_KEY: facts}), path)


def read_table(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Read a millepede.parquet.

    Returns:
        the columns by name, and the facts: verdict, message, chi2, ndf and so on.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no Parquet file, or not one of a fit.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        facts = json.loads(table.schema.metadata[_KEY])
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file", hint="fit with --parquet") from None
    except (pyarrow.ArrowInvalid, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a millepede.parquet: {error}") from None
    return table.to_pydict(), facts
