"""What a job asks of the machine: units are bytes and seconds, whatever the user wrote."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["FLAVOURS", "Duration", "Resources", "Size", "parse_duration", "parse_size"]

# HTCondor's job flavours at CERN, longest wall time in seconds (https://batchdocs.web.cern.ch).
FLAVOURS = {
    "espresso": 20 * 60,
    "microcentury": 3600,
    "longlunch": 2 * 3600,
    "workday": 8 * 3600,
    "tomorrow": 24 * 3600,
    "testmatch": 3 * 24 * 3600,
    "nextweek": 7 * 24 * 3600,
}

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(min|[smhd])", re.IGNORECASE)


def parse_size(value: Any) -> Any:
    """Turn ``"4 GB"``, ``"500MiB"`` or a number of bytes into bytes.

    A unit counts in powers of 1024 with or without the i, as batch systems do it.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f'\'{value}\' is not a size; write for example "4 GB" or "500 MB"')
    return int(float(match[1]) * 1024 ** _POWER[match[2].lower()])


def parse_duration(value: Any) -> Any:
    """Turn ``"2h"``, ``"1d 12h"``, ``"01:30:00"`` or a number of seconds into seconds."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+:\d\d(:\d\d)?", value):
        fields = [int(field) for field in value.split(":")]
        # Two fields are hours and minutes, as every batch system but Slurm reads them.
        return float(sum(count * unit for count, unit in zip(fields, (3600, 60, 1), strict=False)))
    parts = _DURATION_PART.findall(value)
    if not parts or _DURATION_PART.sub("", value).strip():
        raise ValueError(f'\'{value}\' is not a time span; write for example "90s", "2h" or "01:30:00"')
    return sum(float(count) * _UNIT_SECONDS[unit.lower()] for count, unit in parts)


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str), Field(ge=0)]


class Resources(BaseModel):
    """What one job may use. What is left out is not limited (memory, disk, walltime) or one (cpus)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: int = Field(1, ge=1, description="CPU cores")
    memory: Size | None = Field(None, description='most memory of the whole process tree, e.g. "4 GB"')
    disk: Size | None = Field(None, description='most scratch space, e.g. "8 GB"')
    walltime: Duration | None = Field(None, description='longest time from start to end, e.g. "2h"')
    cputime: Duration | None = Field(None, description='most CPU time of the whole process tree, e.g. "2h"')
    flavour: str | None = Field(None, description="HTCondor job flavour, e.g. longlunch; stands for a wall time")

    def wall_seconds(self) -> float | None:
        """The longest wall time in seconds: as given, else the flavour's."""
        if self.walltime is not None or self.flavour is None:
            return self.walltime
        return float(FLAVOURS[self.flavour])
