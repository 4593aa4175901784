"""A pool by hand: ``scripts/pool start SYSTEM FOLDER``, ``scripts/pool stop FOLDER``, ``scripts/pool as-user CMD``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from pools.condor import CondorPool
from pools.gridengine import GridEnginePool
from pools.identity import IdentityError, become_plain_user, run_as_plain_user
from pools.keeper import KeeperError
from pools.obtain import obtain
from pools.pool import Pool, PoolError
from pools.simulated_lsf import LsfPool
from pools.simulated_pbs import OpenPbsPool, TorquePool
from pools.slurm import SlurmPool
from pools.slurmdbd import SlurmPoolWithAccounting
from processes import is_running, wait_for

POOLS: dict[str, type[Pool]] = {
    "htcondor": CondorPool,
    "slurm": SlurmPool,
    "slurm-accounting": SlurmPoolWithAccounting,
    "gridengine": GridEnginePool,
    "simulated-lsf": LsfPool,
    "simulated-openpbs": OpenPbsPool,
    "simulated-torque": TorquePool,
}


def start(arguments: argparse.Namespace) -> int:
    """Start a pool that stays, and print what a shell needs to use it."""
    folder: Path = arguments.folder
    if folder.exists() and any(folder.iterdir()):
        print(f"error: {folder} is not empty", file=sys.stderr)
        return 2
    kind = POOLS[arguments.system]
    if not kind.default_prefix().ready and not obtain(
        kind.system, say=lambda text: print(text, file=sys.stderr, flush=True)
    ):
        return 1
    was_root = os.geteuid() == 0
    try:
        become_plain_user(Path.home())
        pool = kind(folder, slots=arguments.slots, extra=arguments.extra).start()
    except (IdentityError, KeeperError, PoolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    assert pool.keeper
    (folder / "keeper.pid").write_text(f"{pool.keeper.detach()}\n")
    (folder / "environment").write_text(pool.exports() + "\n")
    print(pool.exports())
    print(f"# in a shell:  source {folder}/environment     and in the end:  scripts/pool stop {folder}")
    if was_root:
        print("# root's jobs are refused, so first become a plain user:  scripts/pool as-user bash")
    return 0


def stop(arguments: argparse.Namespace) -> int:
    """Kill all daemons and jobs of a pool that was started by hand."""
    file = arguments.folder / "keeper.pid"
    if not file.exists():
        print(f"error: there is no pool in {arguments.folder}", file=sys.stderr)
        return 2
    pid = int(file.read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not is_running(pid), "the end of the pool")
    file.unlink()
    return 0


def as_user(arguments: argparse.Namespace) -> int:
    """Run a command as a plain user."""
    command = arguments.command[arguments.command[:1] == ["--"] :]
    if not command:
        print("error: there is no command after as-user", file=sys.stderr)
        return 2
    try:
        return run_as_plain_user(command)
    except (IdentityError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/pool", description="A private batch system in a folder, for trials.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("start", help="start a pool, and print what a shell needs to use it")
    command.add_argument("system", choices=POOLS)
    command.add_argument("folder", type=Path, help="a new folder, with a short path: it holds sockets")
    command.add_argument("--slots", type=int, default=24, help="how many jobs may run at a time (24)")
    command.add_argument("--extra", default="", help="lines for the system's configuration")
    command.set_defaults(act=start)
    command = commands.add_parser("stop", help="kill all daemons and jobs of a pool; the folder stays")
    command.add_argument("folder", type=Path)
    command.set_defaults(act=stop)
    command = commands.add_parser("as-user", help="run a command as a plain user, if you are root")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command.set_defaults(act=as_user)
    return parser


def main() -> int:
    """Do what the command line says."""
    arguments = options().parse_args()
    code: int = arguments.act(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
