"""A plain user for tests that root runs: batch systems refuse root's jobs.

Root becomes an unprivileged user in a user namespace of its own. The files of root, such as an interpreter in its home
and the folders that pytest makes, stay readable and writable, and no account needs to be made.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWUTS = 0x04000000
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


def has_name() -> bool:
    """Whether this machine's host name can be looked up, as Grid Engine does."""
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        return False
    return True


def enter_namespace(user: int, group: int, *, nameless: bool) -> None:
    """Be that user from now on, for all who ask; and where the host name cannot be looked up, be on ``localhost``."""
    outer_user, outer_group = os.geteuid(), os.getegid()
    libc_call("unshare", CLONE_NEWUSER | (CLONE_NEWUTS if nameless else 0))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {outer_user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {outer_group} 1")
    if nameless:
        socket.sethostname("localhost")
    drop_capabilities()


def try_in_child(step: Callable[[], None]) -> None:
    """See in a process of its own whether a step can be taken: one that fails half-way cannot be taken back.

    Raises:
        IdentityError: It cannot.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            step()
        except (OSError, IdentityError) as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, encoding="utf-8") as answer:
        if why := answer.read():
            raise IdentityError(f"no namespace for a plain user can be made: {why}")


def become_plain_user(home: Path) -> None:
    """Go on as a plain user with an own home, if this is root, on a machine that has a name.

    Raises:
        IdentityError: This process has threads already, or user namespaces are forbidden.
    """
    is_root, nameless = os.geteuid() == 0, not has_name()
    if not is_root and not nameless:
        return
    entry = pwd.getpwnam(USER) if is_root else pwd.getpwuid(os.geteuid())
    group = entry.pw_gid if is_root else os.getegid()
    try_in_child(lambda: enter_namespace(entry.pw_uid, group, nameless=nameless))
    enter_namespace(entry.pw_uid, group, nameless=nameless)
    if is_root:
        os.environ.update(HOME=str(home), USER=USER, LOGNAME=USER)


def run_as_plain_user(command: list[str]) -> int:
    """Run a command as a plain user, and return its exit code."""
    with tempfile.TemporaryDirectory(prefix="fiducial-home-") as home:
        become_plain_user(Path(home))
        return subprocess.call(command)
