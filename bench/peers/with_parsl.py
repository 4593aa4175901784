"""The campaign of ``bench/campaign.py`` in Parsl: ``with_parsl.py ITERATIONS FILES``."""

import sys
from pathlib import Path

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

ITERATIONS, FILES = map(int, sys.argv[1:])
HERE = Path.cwd()


@parsl.bash_app
def touch(path, inputs=()):
    return f"touch {path}"


def main():
    executor = HighThroughputExecutor(
        max_workers_per_node=2, address="127.0.0.1", provider=LocalProvider(init_blocks=1, max_blocks=1)
    )
    with parsl.load(Config(executors=[executor], run_dir=str(HERE / "runinfo"), strategy="none")):
        last = []
        for iteration in range(1, ITERATIONS + 1):
            folder = HERE / f"w/i{iteration:02d}"
            reco = [touch(str(folder / f"reco_{file:05d}.done"), inputs=last) for file in range(FILES)]
            last = [touch(str(folder / "millepede.done"), inputs=reco)]
        last[0].result()


if __name__ == "__main__":
    main()
