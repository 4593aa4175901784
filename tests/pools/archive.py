"""Packages of a Debian or Ubuntu archive, fetched by apt-get with folders of its own: no root, nothing installed.

The archive's address and keys are those of the machine's own sources.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email import message_from_string
from pathlib import Path

DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
# How the machine reaches the network is taken over; hooks of its configuration would act on the machine, and are not.
TAKEN_OVER = re.compile(r"Acquire::(http|https|Retries|ForceIPv[46]|Check-\S+)\b.*")


class ArchiveError(Exception):
    """What is asked for cannot be had here."""


@dataclass(frozen=True)
class Source:
    """One suite of an archive."""

    address: str
    suite: str
    components: str
    keys: str = ""  # a file, or the text of a key, or nothing: apt's trusted keys

    def line(self, folder: Path) -> str:
        """Write it as a line of a sources.list."""
        keys = self.keys
        if "BEGIN PGP" in keys:
            file = folder / "archive.asc"
            # In a stanza, a line with a dot stands for an empty one.
            file.write_text("\n".join("" if line.strip() == "." else line.strip() for line in keys.splitlines()) + "\n")
            keys = str(file)
        options = f"[signed-by={keys}] " if keys else ""
        return f"deb {options}{self.address} {self.suite} {self.components}\n"


def stanzas(text: str) -> Iterator[Source]:
    """Read a file in the newer format, ``*.sources``."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        fields = message_from_string(stanza.strip() + "\n")
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").lower() == "no":
            continue
        for address in fields.get("URIs", "").split():
            for suite in fields.get("Suites", "").split():
                yield Source(address, suite, fields.get("Components", ""), fields.get("Signed-By", "").strip())


def lines(text: str) -> Iterator[Source]:
    """Read a file in the older format, ``*.list``."""
    for line in text.splitlines():
        found = re.match(
            r"deb\s+(?:\[(?P<options>[^]]*)]\s*)?(?P<address>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]+)", line
        )
        if found:
            keys = re.search(r"signed-by=(\S+)", found["options"] or "")
            yield Source(found["address"], found["suite"], found["rest"].strip(), keys[1] if keys else "")


def sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All that the machine's apt knows."""
    files = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*"))]
    readers = {".list": lines, ".sources": stanzas}
    return [
        source
        for file in files
        if file.suffix in readers and file.exists()
        for source in readers[file.suffix](file.read_text(encoding="utf-8"))
        if source.address.startswith(("http", "mirror", "file"))
    ]


def own_source(known: list[Source] | None = None, release: Path = Path("/etc/os-release")) -> Source:
    """The machine's own suite."""
    known = sources() if known is None else known
    codename = re.search(r"^VERSION_CODENAME=\"?(\w+)", release.read_text(), re.MULTILINE) if release.exists() else None
    main = [source for source in known if "main" in source.components.split()]
    own = [source for source in main if codename and source.suite == codename[1]] or main
    if not own:
        raise ArchiveError("apt on this machine knows no archive of Debian or Ubuntu")
    return own[0]


def is_debian(release: Path = Path("/etc/os-release")) -> bool:
    """Whether this is Debian itself, whose archive has all suites, and none of its relatives."""
    return release.exists() and re.search(r"^ID=\"?debian\b", release.read_text(), re.MULTILINE) is not None


def other_suite(own: Source, suite: str) -> Source:
    """Another suite of the same archive; Debian's own keys verify them all."""
    keys = own.keys or (DEBIAN_KEYS if Path(DEBIAN_KEYS).exists() else "")
    return replace(own, suite=suite, components="main", keys=keys)


class Archive:
    """One suite, with lists and downloads in a folder."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder.resolve()
        self.source = source

    @property
    def downloads(self) -> Path:
        return self.folder / "cache" / "archives"

    def apt(self, *arguments: str) -> str:
        """Call a command of apt, with the machine's state left alone."""
        environment = os.environ | {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise ArchiveError(f"{' '.join(arguments)} failed on {self.source.suite}: {done.stderr.strip()}")
        return done.stdout

    def update(self) -> None:
        """Fetch the lists of packages."""
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()  # as if nothing were installed: what is fetched is complete
        (self.folder / "sources.list").write_text(self.source.line(self.folder))
        (self.folder / "apt.conf").write_text(self.configuration())
        self.apt("apt-get", "-q", "update")

    def configuration(self) -> str:
        """What keeps apt in the folder."""
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
        taken_over = "\n".join(line for line in dump.splitlines() if TAKEN_OVER.fullmatch(line))
        return f"""
Dir::State "{self.folder}/state";
Dir::State::status "{self.folder}/status";
Dir::Cache "{self.folder}/cache";
Dir::Log "{self.folder}/log";
Dir::Etc::sourcelist "{self.folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "-";
Dir::Etc::main "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
{taken_over}
"""

    def offers(self, package: str) -> bool:
        """Whether the suite has a package."""
        return bool(self.apt("apt-cache", "-q", "pkgnames", package).split().count(package))

    def fetch(self, *packages: str) -> list[Path]:
        """Download packages with all that they need, and name the files."""
        for earlier in self.downloads.glob("*.deb"):
            earlier.unlink()
        self.apt("apt-get", "-q", "-y", "install", "--download-only", *packages)
        return sorted(self.downloads.glob("*.deb"))
