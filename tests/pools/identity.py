"""A plain user for tests that root runs: batch systems refuse root's jobs.

Root becomes an unprivileged user in a user namespace of its own. The files of root, such as an interpreter in its home
and the folders that pytest makes, stay readable and writable, and no account needs to be made.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CAPABILITY_VERSION_3 = 0x20080522
# On every Linux. Not nobody: its number is also what files of users outside the namespace show.
USER = "daemon"


class IdentityError(Exception):
    """Root cannot become a plain user here."""


def libc_call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise IdentityError(f"{name}: {os.strerror(number)}")


def drop_capabilities() -> None:
    """Give up what the first process of a namespace may do beyond other users, such as writing to read-only files."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    libc_call("capset", header, none)


def become_plain_user(home: Path) -> None:
    """Go on as a plain user with an own home, if this is root; the process must not have threads yet.

    Raises:
        IdentityError: There are threads, or user namespaces are forbidden.
    """
    if os.geteuid() != 0:
        return
    user, group = os.geteuid(), os.getegid()
    entry = pwd.getpwnam(USER)
    libc_call("unshare", CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{entry.pw_uid} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{entry.pw_gid} {group} 1")
    drop_capabilities()
    os.environ.update(HOME=str(home), USER=USER, LOGNAME=USER)


def main(command: list[str]) -> int:
    """Run a command as a plain user."""
    if not command:
        print("usage: python -m pools.identity COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fiducial-home-") as home:
        become_plain_user(Path(home))
        return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
