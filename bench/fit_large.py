"""Time and memory of the Millepede fit on large data, and how both grow.

``python bench/fit_large.py [--folder DIR] [--only NAME ...] [--gigabytes N] [--repeat N] [--json]``

Each fit runs in a process of its own, so that its peak memory is its own; the data are made first, and kept in the
folder for the next time. Times are medians, of the fit with its kernels loaded, and of the whole process with a small
fit before. Names:

    wire, wire20         wire chamber, 10,000 and 200,000 records
    brlf20               silicon tracker with broken lines, 200,000 records
    faser                FASER-like tracker, 400,000 tracks, 1 GB
    growth               FASER-like tracker, 0.1, 1 and N gigabytes
    dense                20,000 parameters, exact, two threads
    sparse               200,000 parameters by MINRES
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapes import faser_like, silicon_like

from fiducial.alignment import testdata

#: Seconds that pede V04-09 took for the same amount of like data with one thread, on another machine of two cores.
PEDE = {"wire": 2.33, "wire20": 48.8, "brlf20": 10.6, "faser": 32.1}
TRACKS_PER_GIGABYTE = 400_000

_FIT = """
import json, resource, sys, time
from pathlib import Path
from fiducial.alignment.fit.millepede import fit
began = time.perf_counter()
fit(Path(sys.argv[3]))  # loads the kernels from their cache
loading = time.perf_counter() - began
started = time.perf_counter()
result = fit(Path(sys.argv[1]), threads=int(sys.argv[2]))
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak, "phases": result.seconds, "loops": result.loops,
                  "verdict": result.verdict, "records": result.records, "loading": loading}))
"""


def test_data(model: str, records: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return testdata.generate(folder, model, records=records).steering

    return make


def faser(tracks: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        faser_like.write(folder / "mp2tst.bin", tracks)
        faser_like.write_steering(folder / "mp2str.txt", folder / "mp2tst.bin")
        return folder / "mp2str.txt"

    return make


def silicon(parameters: int, tracks: int, method: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        silicon_like.write(folder / "mp2tst.bin", parameters, tracks)
        silicon_like.write_steering(folder / "mp2str.txt", folder / "mp2tst.bin", parameters, method)
        return folder / "mp2str.txt"

    return make


def cases(gigabytes: float) -> dict[str, tuple[Callable[[Path], Path], int]]:
    """How to make the data of each fit, and its threads."""
    sizes = sorted({0.1, 1.0, gigabytes})
    growth = {f"growth {size:g} GB": (faser(int(size * TRACKS_PER_GIGABYTE)), 1) for size in sizes}
    return {
        "wire": (test_data("wire", 10_000), 1),
        "wire20": (test_data("wire", 200_000), 1),
        "brlf20": (test_data("BRLF", 200_000), 1),
        "faser": (faser(TRACKS_PER_GIGABYTE), 1),
        "faser, 2 threads": (faser(TRACKS_PER_GIGABYTE), 2),
        **growth,
        "dense": (silicon(20_000, 100_000, "inversion 3 0.001"), 2),
        "sparse": (silicon(200_000, 1_000_000, "sparseMINRES 3 0.01"), 2),
    }


def run(steering: Path, threads: int, small: Path) -> dict[str, Any]:
    started = time.perf_counter()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _FIT, str(steering), str(threads), str(small)],
        env=environment,
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"with_start": time.perf_counter() - started}


def measure(name: str, make: Callable[[Path], Path], threads: int, folder: Path, repeat: int) -> dict[str, Any]:
    place = folder / name.split(",")[0].replace(" ", "_")
    steering = place / "mp2str.txt"
    if not steering.exists():
        place.mkdir(parents=True, exist_ok=True)
        steering = make(place)
    small = testdata.generate(folder / "small", records=1000).steering
    run(steering, threads, small)  # compiles kernels, fills the page cache
    runs = [run(steering, threads, small) for _ in range(repeat)]
    middle = {key: statistics.median(one[key] for one in runs) for key in ("seconds", "with_start", "peak_mib")}
    size = (place / "mp2tst.bin").stat().st_size / 1e6
    return {"name": name, "megabytes": size, "threads": threads, "pede": PEDE.get(name), **runs[-1], **middle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-fit"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = {
        name: case
        for name, case in cases(options.gigabytes).items()
        if not options.only or any(f"{name} ".startswith((f"{wanted} ", f"{wanted},")) for wanted in options.only)
    }
    rows = []
    if not options.json:
        columns = f"{'MB':>7} {'records':>9} {'loops':>5} {'fit s':>7} {'with start':>10} {'MiB':>6} {'s/GB':>6}"
        print(f"{'set':20} {columns}  pede s")
    for name, (make, threads) in chosen.items():
        row = measure(name, make, threads, options.folder, options.repeat)
        rows.append(row)
        if not options.json:
            print(
                f"{name:20} {row['megabytes']:7.0f} {row['records']:9d} {row['loops']:5d} {row['seconds']:7.2f} "
                f"{row['with_start']:10.2f} {row['peak_mib']:6.0f} {1000 * row['seconds'] / row['megabytes']:6.2f}  "
                f"{row['pede'] or ''}",
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
