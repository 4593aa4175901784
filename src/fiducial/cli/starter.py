"""The workflow that ``fiducial workflow init`` writes."""

from __future__ import annotations

__all__ = ["FILES"]

_WORKFLOW = """\
# A workflow: what has to happen, step by step. It runs as it stands:
#
#     fiducial workflow check workflow.toml
#     fiducial run workflow.toml
#
# All keys are described by 'fiducial workflow schema'.
format = 1
name = "starter"
description = "Measure pi: throw darts in many jobs, count them in one, again and again until it is precise"

# What a campaign is called, and where its files go (relative to where you run it).
campaign = "{{ workflow }}_{{ darts }}"
folder = "{{ campaign }}"

# Values that the templates below use. Set others with --set, for example: --set darts=50000
[variables]
darts = 20000
jobs = 4

# The steps with 'iterate = true' are repeated until the expression is true, but not more often than max.
[iteration]
max = 5
until = "count.error < 0.0035"

# A step with a fan-out makes many jobs: here the files 0 to 3. Each job knows its own number as {{ file }}.
[steps.throw]
description = "Throw darts at a square and count those in the circle"
fanout = { files = "0-{{ jobs }}" }
iterate = true
command = ["{{ python }}", "{{ workflow_folder }}/darts.py", "throw", "{{ darts }}",
           "{{ 1000 * iteration + file }}", "{{ output }}"]
outputs = ["iteration{{ iteration }}/throw_{{ file | pad(3) }}.json"]
resources = { memory = "500 MB", walltime = "5min" }

# This step waits for all jobs of 'throw' and gets all their files. {{ inputs[0] }} alone becomes several words.
[steps.count]
description = "Add up all darts"
after = ["throw"]
iterate = true
command = ["{{ python }}", "{{ workflow_folder }}/darts.py", "count", "{{ output }}", "{{ inputs['before'] }}",
           "{{ inputs['new'] }}"]
outputs = ["iteration{{ iteration }}/pi.json"]
# Numbers that the job writes into metrics.json; 'until' above looks at them.
metrics = ["pi", "error"]

[steps.count.inputs]
new = { from = "throw" }
# The result of the iteration before; in the first one, a file that lies beside the workflow.
before = { from = "count", previous = true, initial = "{{ workflow_folder }}/nothing.json" }

# A step that is not iterated runs once, after the last iteration.
[steps.report]
description = "Write what came out"
after = ["count"]
inputs = [{ from = "count" }]
outputs = ["pi.txt"]
script = '''
cat {{ input }} > {{ output }}
echo >> {{ output }}
'''
"""

_DARTS = '''\
"""Measure pi with darts: the payload of the starter workflow."""

import json
import random
import sys


def throw(darts, seed, output):
    """Throw darts at a square; count those inside the circle."""
    dice = random.Random(int(seed))
    inside = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(int(darts)))
    with open(output, "w") as file:
        json.dump({"thrown": int(darts), "inside": inside}, file)


def count(output, *files):
    """Add up the darts of many files and report pi and its error."""
    thrown = inside = 0
    for name in files:
        with open(name) as file:
            part = json.load(file)
        thrown += part["thrown"]
        inside += part["inside"]
    share = inside / thrown
    pi = {"pi": 4 * share, "error": 4 * (share * (1 - share) / thrown) ** 0.5}
    with open(output, "w") as file:
        json.dump({"thrown": thrown, "inside": inside, **pi}, file)
    with open("metrics.json", "w") as file:
        json.dump(pi, file)


if __name__ == "__main__":
    {"throw": throw, "count": count}[sys.argv[1]](*sys.argv[2:])
'''

#: Text by file name, the workflow first.
FILES = {"workflow.toml": _WORKFLOW, "darts.py": _DARTS, "nothing.json": '{"thrown": 0, "inside": 0}\n'}
