"""A site with HTCondor."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fiducial.batch.site import Site, Wishes
from fiducial.core.resources import Duration

__all__ = ["HTCondorSite", "Mode"]

Mode = Literal["shared", "spool", "transfer", "eos"]

#: Ways in which HTCondor itself brings files to the nodes, whatever the nodes see.
_MOVING = ("transfer", "eos")
_SETTING = re.compile(r"[+\w.]+\s*=")


class HTCondorSite(Site):
    """HTCondor."""

    mode: Mode = Field(
        "shared",
        description="how files travel: shared (all see the same folders), transfer (HTCondor brings them to the nodes "
        "and back), spool (so also to a scheduler that does not see our folders), eos (CERN's EosSubmit schedulers)",
    )
    schedd: str | None = Field(None, description="name of the scheduler; default: this machine's, or SCHEDD_HOST")
    send_credential: bool = Field(False, description="send the Kerberos ticket with the jobs (MY.SendCredential)")
    output_destination: str | None = Field(
        None,
        description='URL of a folder to which nodes send outputs, e.g. "root://eosuser.cern.ch//eos/user/j/jdoe/x"',
    )
    bindings: bool | None = Field(
        None, description="whether to use the Python module htcondor2, not the commands; default: where it works"
    )
    audit: Duration = Field(
        3600.0, gt=0, description="jobs of which no log has told for this long beyond their wall time are asked for"
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_says_what_is_shared(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("mode") not in _MOVING:
            return data
        if data.get("shared"):
            raise ValueError(f'mode = "{data["mode"]}" brings files to nodes that share none: leave shared out')
        return {**data, "shared": False}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "shared" and not self.shared:
            raise ValueError('where nodes do not see the campaign\'s folder, mode is "transfer" or "spool"')
        if self.output_destination is not None and (self.shared or "://" not in self.output_destination):
            raise ValueError("output_destination is a URL, for files that HTCondor moves (shared = false)")
        wishes: list[Wishes] = [self, *self.steps.values()]
        for line in [line for each in wishes for line in each.extra]:
            if not _SETTING.match(line) or "\n" in line:
                raise ValueError(f'extra: "{line}" is no line of a submit description; write "name = value"')
        return self

    @property
    def spools(self) -> bool:
        """Whether files are copied to the scheduler, and outputs have to be fetched from there."""
        return self.mode == "spool"
