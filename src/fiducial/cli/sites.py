"""Which site is meant, and its backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiducial.batch.backend import Backend
from fiducial.batch.kinds import find_kind, kind_names, read_site
from fiducial.batch.site import Site
from fiducial.core.errors import NotFoundError
from fiducial.core.places import LOCAL, is_detached, queue_folder
from fiducial.core.variables import nearest

if TYPE_CHECKING:
    from fiducial.settings import Settings

__all__ = ["backend_of", "chosen_site", "site_names"]


def site_names(chosen: Settings) -> list[str]:
    """Sites of the settings, and this machine."""
    return sorted({LOCAL, *chosen.sites})


def chosen_site(chosen: Settings, name: str | None) -> Site:
    """The site of that name; a batch system is by its own name a site where nothing is set.

    Args:
        name: None for the one that the settings name, or else this machine.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: its table cannot be taken as it is.
    """
    wanted = name or chosen.get("run.site") or LOCAL
    table = chosen.sites.get(wanted)
    if table is not None:
        return read_site(wanted, table.keys, table.source)
    if wanted in kind_names():
        return read_site(wanted, {}, "defaults")
    known = sorted({*site_names(chosen), *kind_names()})
    hint = nearest(wanted, known) or f"known: {', '.join(known)}; a site is a table [sites.{wanted}] in fiducial.toml"
    raise NotFoundError(f"there is no site '{wanted}'", hint=hint)


def backend_of(site: Site, campaign: Any) -> Backend:
    """The backend of a site, for a campaign, which keeps there what it submits."""
    if is_detached(campaign.folder):
        from fiducial.batch.slurm.detached.follow import DetachedBackend
        from fiducial.batch.slurm.site import SlurmSite

        if isinstance(site, SlurmSite):
            return DetachedBackend(campaign.folder, site)
    folder = queue_folder(campaign.folder, site.name)
    if site.work is not None:
        folder = Path(site.work).expanduser().absolute() / f"{campaign.name}-{campaign.ledger[:8]}" / site.name
    return find_kind(site.backend).open(site, folder)
