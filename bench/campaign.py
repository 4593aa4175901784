"""A whole campaign of jobs that do nothing, run by Fiducial, by its peers, and by ``xargs`` without any state.

The campaign has the shape of a tracker alignment: in each of several iterations, as many ``reco`` jobs as there are
files, then one ``millepede`` job that needs them all; the next iteration needs that. A job is ``touch OUT``, a real
process; two run at a time. What is timed is the whole command, from its start to its exit::

    python bench/campaign.py                                      ours and the floor
    python bench/campaign.py --peers floor fiducial snakemake luigi b2luigi parsl dask

How to read it: the *floor* does the same processes by ``xargs -P2 -n1 touch`` and remembers nothing, so nothing that
starts a process for each job can be much faster on the machine; *% of floor* is its time divided by theirs, each taken
in the same round. *Durable*: killed at any moment, the same command goes on where it stopped. Ours and the floor
alternate; each peer is installed by pip into a virtual environment of its own in ``bench/.peers`` and takes
``--peer-repeat`` turns. Let five minutes pass after anything has removed many files there (see ``main``). Every output
is looked for, and our ledger must hold every job as done, at its first attempt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Timed, describe, environment, fiducial, median, must, run, save, table

HERE = Path(__file__).resolve().parent
WORKERS = 2

WORKFLOW = """\
format = 1
name = "faser"
folder = "."
iteration = {{ max = {iterations} }}

[steps.reco]
iterate = true
fanout = {{ files = "0-{files}" }}
command = ["touch", "{{{{ output }}}}"]
outputs = [{{ path = "w/i{{{{ iteration | pad(2) }}}}/reco_{{{{ file | pad(5) }}}}.done", min_size = 0 }}]

[steps.millepede]
iterate = true
after = "reco"
command = ["touch", "{{{{ output }}}}"]
outputs = [{{ path = "w/i{{{{ iteration | pad(2) }}}}/millepede.done", min_size = 0 }}]
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """A campaign's size."""

    iterations: int
    files: int

    @property
    def jobs(self) -> int:
        """All jobs of all iterations."""
        return self.iterations * (self.files + 1)

    def folders(self) -> list[str]:
        """One for each iteration."""
        return [f"w/i{iteration:02d}" for iteration in range(1, self.iterations + 1)]

    def reco(self, folder: str) -> list[str]:
        """Outputs of an iteration's parallel jobs."""
        return [f"{folder}/reco_{file:05d}.done" for file in range(self.files)]

    def outputs(self) -> set[str]:
        """All files that the campaign makes."""
        return {path for folder in self.folders() for path in (*self.reco(folder), f"{folder}/millepede.done")}


class Unavailable(Exception):  # noqa: N818 - nothing is wrong with the benchmark
    """Why a peer cannot take part."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who runs campaigns.

    Args:
        run: does it in a folder, and is timed by itself.
        durable: whether the same command goes on after a kill -9.
        own_names: the outputs lie where it wants them, so that only their number can be checked.
    """

    name: str
    run: Callable[[Shape, Path], Timed]
    durable: bool
    own_names: bool = False
    needs: str = ""


# ---------------------------------------------------------------------------------------------------- who takes part


def floor(shape: Shape, folder: Path) -> Timed:
    """No state at all."""
    lines = []
    for place in shape.folders():
        names = folder / f"{place.replace('/', '_')}.txt"
        names.write_text("\n".join(shape.reco(place)) + "\n")
        lines += [f"xargs -P{WORKERS} -n1 touch < {names.name}", f"touch {place}/millepede.done"]
    return run(["sh", "-e", "-c", "\n".join(lines)], folder)


def ours(shape: Shape, folder: Path) -> Timed:
    """Fiducial, and a look into its ledger."""
    workflow = folder / "faser.toml"
    workflow.write_text(WORKFLOW.format(iterations=shape.iterations, files=shape.files))
    timed = run(fiducial("run", workflow, "--workers", str(WORKERS), "--quiet"), folder, env=environment(folder))
    if timed.code == 0:
        _check_ledger(folder / "ledger.db", shape)
    return timed


def _check_ledger(path: Path, shape: Shape) -> None:
    with sqlite3.connect(path) as ledger:
        jobs = ledger.execute("SELECT state, attempt, count(*) FROM jobs GROUP BY 1, 2").fetchall()
        files = ledger.execute("SELECT count(*) FROM artifacts").fetchone()[0]
        state = ledger.execute("SELECT state, iteration FROM campaigns").fetchall()
    ledger.close()
    if jobs != [("done", 1, shape.jobs)] or files != shape.jobs or state != [("done", shape.iterations)]:
        raise SystemExit(f"the ledger tells otherwise: jobs {jobs}, {files} outputs, campaign {state}")


def in_python(script: str, needs: str) -> Callable[[Shape, Path], Timed]:
    """A peer whose campaign is a Python program."""

    def work(shape: Shape, folder: Path) -> Timed:
        programs = installed(needs) / "bin"
        env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}  # Parsl looks for its own parts there
        command: list[str | Path] = [
            programs / "python",
            HERE / "peers" / script,
            str(shape.iterations),
            str(shape.files),
        ]
        return run(command, folder, env=env)

    return work


def snakemake(shape: Shape, folder: Path) -> Timed:
    """Snakemake, which has a file format and a command of its own."""
    program = installed("snakemake") / "bin" / "snakemake"
    options = ["--quiet", "all", "-s", str(HERE / "peers" / "Snakefile"), "-c", str(WORKERS)]
    sizes = ["--config", f"iterations={shape.iterations}", f"files={shape.files}"]
    return run([program, *options, *sizes], folder)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("floor", floor, durable=False),
        Peer("fiducial", ours, durable=True),
        Peer("snakemake", snakemake, durable=True, needs="snakemake"),
        Peer("luigi", in_python("with_luigi.py", "luigi"), durable=True, needs="luigi"),
        Peer("b2luigi", in_python("with_b2luigi.py", "b2luigi"), durable=True, own_names=True, needs="b2luigi"),
        Peer("parsl", in_python("with_parsl.py", "parsl"), durable=False, needs="parsl"),
        Peer("dask", in_python("with_dask.py", "distributed"), durable=False, needs="distributed"),
    )
}


def installed(package: str) -> Path:
    """The virtual environment of a package, made when it is not there.

    Raises:
        Unavailable: pip cannot install it.
    """
    folder = HERE / ".peers" / package
    if (folder / "installed").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {package} into {folder.relative_to(HERE.parent)} ...", flush=True)
    for words in ([sys.executable, "-m", "venv", str(folder)], [f"{folder}/bin/pip", "install", "-q", package]):
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode:
            said = made.stderr.strip().splitlines() or ["no reason given"]
            raise Unavailable(f"{package} cannot be installed: {said[-1]}")
    (folder / "installed").touch()
    return folder


def version_of(peer: Peer) -> str:
    """Which version takes part."""
    if not peer.needs:
        return ""
    code = f"from importlib.metadata import version; print(version({peer.needs!r}))"
    command = [f"{installed(peer.needs)}/bin/python", "-c", code]
    return str(subprocess.run(command, capture_output=True, text=True, check=True).stdout).strip()


# ---------------------------------------------------------------------------------------------------------- measuring


def turn(peer: Peer, shape: Shape, base: Path) -> Timed:
    """One campaign in a fresh folder, with every output checked."""
    folder = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=base))
    for place in shape.folders() if peer.name != "fiducial" else ():
        (folder / place).mkdir(parents=True)
    timed = peer.run(shape, folder)
    if timed.code and peer.needs:
        raise Unavailable(f"exit code {timed.code}\n{timed.output[-1000:]}")
    must(timed, peer.name)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.done")}
    if len(found) != shape.jobs or (found != shape.outputs() and not peer.own_names):
        raise SystemExit(f"{peer.name}: {len(found)} outputs instead of {shape.jobs}")
    return timed


def measure(peers: list[Peer], shape: Shape, repeat: int, peer_repeat: int, base: Path) -> dict[str, list[Timed]]:
    """Turns of everybody; ours and the floor's alternate, and a peer's stand between them."""
    taken: dict[str, list[Timed]] = {peer.name: [] for peer in peers}
    for number in range(repeat):
        for peer in peers:
            if number >= (peer_repeat if peer.needs else repeat):
                continue
            try:
                timed = turn(peer, shape, base)
            except Unavailable as reason:
                print(f"skipped {peer.name}: {reason}")
                continue
            taken[peer.name].append(timed)
            print(f"  {shape.jobs} jobs, {peer.name}: {timed.wall:.2f} s, {timed.cpu:.2f} s CPU", flush=True)
    return taken


def figures(peer: Peer, shape: Shape, turns: list[Timed], floors: list[Timed]) -> dict[str, Any]:
    """What the table shows of a peer."""
    walls = [timed.wall for timed in turns]
    wall = median(walls)
    shares = [100 * base.wall / timed.wall for base, timed in zip(floors, turns, strict=False)]
    return {
        "peer": peer.name,
        "version": version_of(peer),
        "jobs": shape.jobs,
        "files": shape.files,
        "iterations": shape.iterations,
        "walls_s": walls,
        "wall_s": wall,
        "jobs_per_s": shape.jobs / wall,
        "percent_of_floor": median(shares) if shares else None,
        "cpu_ms_per_job": 1e3 * median(timed.cpu for timed in turns) / shape.jobs,
        "peak_mib": max(timed.peak_mib for timed in turns),
        "durable": peer.durable,
    }


def ready(names: list[str]) -> list[Peer]:
    """Those who can take part; why the others cannot is printed."""
    peers = []
    for name in names:
        try:
            version_of(PEERS[name])
        except Unavailable as reason:
            print(f"skipped {name}: {reason}")
        else:
            peers.append(PEERS[name])
    return peers


def show(rows: list[dict[str, Any]]) -> str:
    """The table."""
    head = ("peer", "version", "jobs", "wall s", "min", "max", "jobs/s", "% of floor", "CPU ms/job", "durable")
    return table(
        head,
        (
            (
                row["peer"],
                row["version"],
                row["jobs"],
                row["wall_s"],
                min(row["walls_s"]),
                max(row["walls_s"]),
                round(row["jobs_per_s"]),
                None if row["percent_of_floor"] is None else round(row["percent_of_floor"]),
                row["cpu_ms_per_job"],
                "yes" if row["durable"] else "no",
            )
            for row in rows
        ),
    )


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peer-repeat", type=int, default=1)
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=["floor", "fiducial"])
    parser.add_argument(
        "--folder", type=Path, help="where the campaigns run; the folder for temporary files by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(describe())
    peers = ready(options.peers)
    rows: list[dict[str, Any]] = []
    # Everything is removed in the end only: for five minutes after it has removed many files, ext4 creates others
    # slowly, for it passes over every inode that was freed lately. Nor should the next run begin before that.
    with tempfile.TemporaryDirectory(prefix="bench-campaign-", dir=options.folder) as name:
        for files in options.files:
            shape = Shape(options.iterations, files)
            turns = measure(peers, shape, options.repeat, options.peer_repeat, Path(name))
            there = [peer for peer in peers if turns[peer.name]]
            rows += [figures(peer, shape, turns[peer.name], turns.get("floor", [])) for peer in there]
    print(show(rows))
    save(options.json, {"campaign": rows})


if __name__ == "__main__":
    main()
