"""Accuracy and time of the Millepede fit against reference results of pede.

``python bench/fit.py [--sets FOLDER] [--repeat N] [--threads N] [--json]``

A set is a folder with steering files ``mp2str*.txt`` (or ``str_*.txt``) and pede's results ``millepede*.dbl``; packed
data (``*.gz``) are unpacked into a temporary folder first. Times are medians of whole fits after one that warms up.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.fit.result import FitResult

DEFAULT_SETS = Path(__file__).parents[1] / "tests" / "data" / "pede"


def cases(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Steering files with pede's numbers for them."""
    for steering in sorted([*folder.glob("*/mp2str*.txt"), *folder.glob("*/str_*.txt")]):
        variant = steering.stem.removeprefix("mp2str").replace("str_", "_")
        numbers = sorted(steering.parent.glob(f"millepede{variant}.dbl*"))
        if numbers:
            yield steering, numbers[-1]


def unpack(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
    for packed in target.glob("*/*.gz"):
        plain = packed.with_suffix("")
        plain.unlink(missing_ok=True)
        plain.write_bytes(gzip.decompress(packed.read_bytes()))


def compare(result: FitResult, numbers: Path) -> dict[str, float]:
    """Largest differences: of parameters in their errors, of errors and F relatively, of loops and ndf."""
    head, *lines = numbers.read_text().splitlines()
    chi2, ndf, loops = (float(word) for word in head.split()[1:])
    table = np.array([line.split() for line in lines], float)
    known = table[:, 2] > 0
    errors = np.where(known, table[:, 2], result.errors)
    pulls = np.abs(table[:, 1] - result.values)[errors > 0] / errors[errors > 0]
    ratios = result.errors[known] / table[known, 2]
    return {
        "pull": float(pulls.max()),
        "error": float(np.abs(ratios - 1).max()) if known.any() else 0.0,
        "chi2": abs(result.chi2 / chi2 - 1),
        "loops": result.loops - loops,
        "ndf": result.ndf - ndf,
    }


def measure(steering: Path, numbers: Path, repeat: int, threads: int) -> dict[str, Any]:
    result = fit(steering, threads=threads)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = fit(steering, threads=threads)
        seconds.append(time.perf_counter() - start)
    name = f"{steering.parent.name}/{steering.stem}"
    return {"set": name, "seconds": statistics.median(seconds), "phases": result.seconds} | compare(result, numbers)


def start_seconds(steering: Path, fitting: float, repeat: int) -> float:
    """Time of the command, without the fit itself: imports, and kernels out of their cache."""
    command = [sys.executable, "-m", "fiducial", "fit", str(steering), "-o", str(steering.parent / "result")]
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        subprocess.run(command, check=False, capture_output=True)
        times.append(time.perf_counter() - start - fitting)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", type=Path, default=DEFAULT_SETS)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpack(options.sets, Path(folder))
        chosen = list(cases(Path(folder)))
        rows = [measure(*case, options.repeat, options.threads) for case in chosen]
        start = start_seconds(chosen[0][0], rows[0]["seconds"], options.repeat)
    report = {"threads": options.threads, "start_seconds": start, "fits": rows}
    if options.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{'set':28} {'seconds':>8} {'|dp|/error':>10} {'error':>8} {'F':>8} loops ndf")
    for row in rows:
        numbers = f"{row['pull']:10.1e} {row['error']:8.1e} {row['chi2']:8.1e} {row['loops']:5.0f} {row['ndf']:3.0f}"
        print(f"{row['set']:28} {row['seconds']:8.3f} {numbers}")
    print(f"start of `fiducial fit`: {report['start_seconds']:.2f} s")


if __name__ == "__main__":
    main()
