"""Where Fiducial finds its settings: ``fiducial.toml`` of the project, then the user's, then the environment.

Environment variables win over the project's file, that over the user's file.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fiducial.core.errors import ConfigurationError

__all__ = ["KEYS", "Setting", "Settings", "SiteTable", "find_project", "load", "user_file"]

#: Every setting: key in the file, environment variable, default, what it is.
KEYS: dict[str, tuple[str, Any, str]] = {
    "ledger.url": ("FIDUCIAL_LEDGER", None, "the ledger's database: a path, or an SQLAlchemy URL"),
    "local.workers": ("FIDUCIAL_WORKERS", None, "jobs that run at a time on this machine; default: its cores"),
    "local.memory": ("FIDUCIAL_MEMORY", None, 'memory that jobs on this machine may use together, e.g. "16 GB"'),
    "run.site": ("FIDUCIAL_SITE", None, "site where campaigns run when no option says it; default: this machine"),
    "alignment.pede": ("FIDUCIAL_ALIGNMENT_PEDE", None, "name or path of a pede that fits in place of our own fit"),
}


@dataclass(frozen=True)
class Setting:
    """One setting and where its value came from."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class SiteTable:
    """What stands in ``[sites.NAME]``, unchecked, and the file that it stands in."""

    keys: dict[str, Any]
    source: str


@dataclass(frozen=True)
class Settings:
    """All settings, for a working folder."""

    project: Path
    values: dict[str, Setting]
    sites: dict[str, SiteTable] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """The value of a setting."""
        return self.values[key].value

    @property
    def ledger_url(self) -> str:
        """The ledger's URL; by default a file in the project's ``.fiducial`` folder."""
        said = self.get("ledger.url")
        if said is None:
            return f"sqlite:///{self.project / '.fiducial' / 'ledger.db'}"
        return str(said) if "://" in str(said) else f"sqlite:///{(self.project / str(said)).absolute()}"


def find_project(start: Path) -> Path:
    """The nearest folder from ``start`` upwards with a ``fiducial.toml`` or a ledger; else ``start``.

    A folder that everybody may write to, such as ``/tmp``, is no project of those below it: what lies there may be
    anybody's.
    """
    for folder in (start, *start.parents):
        found = (folder / "fiducial.toml").is_file() or (folder / ".fiducial" / "ledger.db").is_file()
        if found and (folder == start or not folder.stat().st_mode & stat.S_IWOTH):
            return folder
    return start


def user_file() -> Path:
    """The user's own settings file."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "fiducial" / "fiducial.toml"


def load(start: Path | None = None, *, project: Path | None = None) -> Settings:
    """Read all settings that hold in a folder.

    Args:
        start: where the search for the project begins; the working folder by default.
        project: the project's folder, where it is not to be searched for.

    Raises:
        ConfigurationError: a file is not TOML, has a key that is not known, or a value does not fit; names both.
    """
    project = (project or find_project((start or Path.cwd()).absolute())).absolute()
    values = {key: Setting(key, default, "default") for key, (_, default, _) in KEYS.items()}
    sites: dict[str, SiteTable] = {}
    for file in (user_file(), project / "fiducial.toml"):
        if file.is_file():
            data = _tables(file)
            sites.update(_sites(file, data.pop("sites", {})))
            values.update(_read(file, data))
    for key, (variable, _, _) in KEYS.items():
        if variable in os.environ:
            values[key] = Setting(key, os.environ[variable], f"environment {variable}")
    for setting in values.values():
        _must_fit(setting)
    return Settings(project, values, sites)


def _must_fit(setting: Setting) -> None:
    """A value is checked where it is read, so that the error can say where it stands."""
    if setting.value is None or setting.key not in _CHECKS:
        return
    try:
        _CHECKS[setting.key](setting.value)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{setting.source}: {setting.key}: '{setting.value}' does not fit", hint=f"it is {KEYS[setting.key][2]}"
        ) from None


def _count(value: Any) -> None:
    if isinstance(value, bool) or int(value) < 1:
        raise ValueError


def _size(value: Any) -> None:
    from fiducial.core.resources import parse_size  # pydantic is slow to import, and few set this

    parse_size(value)


_CHECKS: dict[str, Callable[[Any], None]] = {"local.workers": _count, "local.memory": _size}


def _tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from None


def _sites(file: Path, content: Any) -> dict[str, SiteTable]:
    """Sites are checked when one is used: what may stand there is for its batch system to say."""
    if not isinstance(content, dict) or not all(isinstance(table, dict) for table in content.values()):
        raise ConfigurationError(f"{file}: sites are tables: [sites.NAME]")
    return {name: SiteTable(table, str(file)) for name, table in content.items()}


def _read(file: Path, data: dict[str, Any]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for section, content in data.items():
        if not isinstance(content, dict):
            raise _unknown(file, section)
        for name, value in content.items():
            key = f"{section}.{name}"
            if key not in KEYS:
                raise _unknown(file, key)
            found[key] = Setting(key, value, str(file))
    return found


def _unknown(file: Path, key: str) -> ConfigurationError:
    import difflib

    close = difflib.get_close_matches(key, KEYS, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "known: " + ", ".join(KEYS)
    return ConfigurationError(f"{file}: unknown setting '{key}'", hint=hint)
