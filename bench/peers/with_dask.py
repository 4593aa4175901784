"""The campaign of ``bench/campaign.py`` in Dask: ``with_dask.py ITERATIONS FILES``."""

import subprocess
import sys
from pathlib import Path

from dask.distributed import Client, LocalCluster

ITERATIONS, FILES = map(int, sys.argv[1:])
HERE = Path.cwd()


def touch(path, *parents):
    subprocess.run(["touch", path], check=True)


def main():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        last = ()
        for iteration in range(1, ITERATIONS + 1):
            folder = HERE / f"w/i{iteration:02d}"
            files = [str(folder / f"reco_{file:05d}.done") for file in range(FILES)]
            reco = [client.submit(touch, path, *last, pure=False) for path in files]
            last = (client.submit(touch, str(folder / "millepede.done"), *reco, pure=False),)
        last[0].result()


if __name__ == "__main__":
    main()
