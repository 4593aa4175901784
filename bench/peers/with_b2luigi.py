"""The campaign of ``bench/campaign.py`` in b2luigi, in its own folders: ``with_b2luigi.py ITERATIONS FILES``."""
# ruff: noqa: D101, D102 - tasks as their users write them

import subprocess
import sys
from pathlib import Path

import b2luigi

ITERATIONS, FILES = map(int, sys.argv[1:])
sys.argv[1:] = []  # b2luigi reads them as its own
HERE = Path.cwd()


def touch(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["touch", path], check=True)


class Reco(b2luigi.Task):
    iteration = b2luigi.IntParameter()
    file = b2luigi.IntParameter()

    def requires(self):
        if self.iteration > 1:
            yield Millepede(iteration=self.iteration - 1)

    def output(self):
        yield self.add_to_output("reco.done")

    def run(self):
        touch(self.get_output_file_name("reco.done"))


class Millepede(b2luigi.Task):
    iteration = b2luigi.IntParameter()

    def requires(self):
        for file in range(FILES):
            yield Reco(iteration=self.iteration, file=file)

    def output(self):
        yield self.add_to_output("millepede.done")

    def run(self):
        touch(self.get_output_file_name("millepede.done"))


if __name__ == "__main__":
    b2luigi.set_setting("result_dir", str(HERE / "w"))  # a relative one would start at this file
    b2luigi.set_setting("log_dir", str(HERE / "logs"))
    b2luigi.process(Millepede(iteration=ITERATIONS), workers=2)
