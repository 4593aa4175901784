"""The campaign of ``bench/campaign.py`` in luigi: ``with_luigi.py ITERATIONS FILES``."""
# ruff: noqa: D101, D102 - tasks as their users write them

import subprocess
import sys

import luigi

ITERATIONS, FILES = map(int, sys.argv[1:])


class Reco(luigi.Task):
    iteration = luigi.IntParameter()
    file = luigi.IntParameter()

    def requires(self):
        return [Millepede(self.iteration - 1)] if self.iteration > 1 else []

    def output(self):
        return luigi.LocalTarget(f"w/i{self.iteration:02d}/reco_{self.file:05d}.done")

    def run(self):
        subprocess.run(["touch", self.output().path], check=True)


class Millepede(luigi.Task):
    iteration = luigi.IntParameter()

    def requires(self):
        return [Reco(self.iteration, file) for file in range(FILES)]

    def output(self):
        return luigi.LocalTarget(f"w/i{self.iteration:02d}/millepede.done")

    def run(self):
        subprocess.run(["touch", self.output().path], check=True)


if __name__ == "__main__":
    done = luigi.build([Millepede(ITERATIONS)], local_scheduler=True, workers=2, log_level="ERROR")
    sys.exit(not done)
