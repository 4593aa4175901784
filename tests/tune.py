"""A small campaign with iterations, for batch systems that are given all of it at once, and where it is run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pools.pool import Pool
from sites import Site

FIDUCIAL = str(Path(sys.executable).parent / "fiducial")

TUNE = """
[variables]
files = "0-4"
[iteration]
max = 3
until = "fit.shift < 0.3"
[steps.reco]
iterate = true
fanout = { files = "{{ files }}" }
inputs.before = { from = "fit", output = "constants", previous = true, initial = "/dev/null" }
environment = { BEFORE = "{{ inputs.before }}", GATE = "{{ workflow_folder }}/gate-{{ iteration }}-{{ file }}" }
script = '''
while [ -e "$GATE-wait" ]; do sleep 0.1; done
if [ -e "$GATE" ]; then echo "the gate is shut"; exit 9; fi
if [ {{ file }} = 2 ] && [ {{ attempt }} = 1 ]; then echo "a bad start"; exit 5; fi
cat "$BEFORE" > {{ output }}; echo {{ file }} >> {{ output }}
'''
outputs = ["iter{{ iteration | pad(2) }}/reco_{{ file | pad(5) }}.txt"]
resources = { memory = "200 MB", flavour = "espresso" }
retry = { max = 2, final_exit_codes = [9] }
[steps.fit]
iterate = true
after = ["reco"]
inputs.files = { from = "reco", link = "in" }
script = '''
cat in/* | wc -l > {{ output }}
echo '{"shift": '$(awk 'BEGIN {print 1 / 2 ^ {{ iteration }}}')'}' > metrics.json
'''
outputs.constants = "iter{{ iteration | pad(2) }}/constants.txt"
metrics = ["shift"]
[steps.report]
after = ["fit"]
inputs.all = { from = "fit", every = true }
command = ["sh", "-c", 'cat "$@" > {{ output }}', "sh", "{{ inputs.all }}"]
outputs = ["report.txt"]
"""


@dataclass
class Place:
    """A folder with a workflow and a ledger, at a pool."""

    site: Site
    pool: Pool

    @property
    def folder(self) -> Path:
        return self.site.folder

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.pool.environment, "FIDUCIAL_LEDGER": str(self.site.ledger)}

    def fiducial(self, *words: str, code: int = 0) -> str:
        done = self._run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FIDUCIAL, *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=280,
            check=False,
        )  # fmt: skip

    def refused(self, code: int, *words: str) -> str:
        """What a command says that ends with an error."""
        done = self._run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr

    def gate(self, iteration: int, file: int, *, wait: bool = False) -> Path:
        """What makes a reconstruction fail for good, or wait."""
        path = self.folder / f"gate-{iteration}-{file}{'-wait' if wait else ''}"
        path.touch()
        return path

    def states(self) -> dict[str, Counter[str]]:
        sql = 'SELECT g.step, j.state FROM jobs j JOIN groups g ON g.id = j."group"'
        found: dict[str, Counter[str]] = {}
        try:
            rows = self.site.rows(sql)
        except sqlite3.OperationalError:  # the tables are still being made
            return found
        for row in rows:
            found.setdefault(row["step"], Counter())[row["state"]] += 1
        return found

    def job(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.fiducial("job", "show", name, "--json")))


def traces_agree(place: Place, campaign: Path) -> None:
    """Every attempt in the ledger is the one of that number in the folder, with the same result."""
    sql = """SELECT g.step, g.iteration, j.key, a.number, a.state, a.cause FROM attempts a
             JOIN jobs j ON j.id = a.job JOIN groups g ON g.id = j."group" """
    for row in place.site.rows(sql):
        traces = campaign / ".fiducial" / row["step"] / f"{row['iteration']:02d}" / f"{row['key']}.{row['number']}"
        result = traces / "result.json"
        if result.exists():
            cause = json.loads(result.read_text())["cause"]
            # Of who stopped a runner, the batch system knows more.
            assert cause == row["cause"] or (cause, row["cause"]) == ("stopped", "removed"), traces
        else:
            assert (traces / "revoked").exists(), traces
