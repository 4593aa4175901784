"""Real campaigns with real processes, from the command to the files."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from processes import wait_for
from sites import Site

RECORD = 'echo "$FIDUCIAL_JOB.$FIDUCIAL_ATTEMPT" >>$RECORDS'
SLOW = f"""
[steps.a]
fanout = {{ files = "0-6" }}
script = '''
{RECORD}
sleep 0.4
echo x >{{{{ output }}}}
'''
outputs = ["a_{{{{ file }}}}"]
"""
EVERY_KIND = """
[iteration]
max = 5
until = "fit.shift < 0.2"

[variables]
word = "hello"

[steps.raw]
fanout = { files = "0-3" }
command = ["sh", "-c", "echo {{ word }} {{ file }} > {{ output }}"]
outputs = ["raw_{{ file | pad(3) }}"]

[steps.copy]
after = { step = "raw", matching = true }
fanout = { files = "0-3" }
inputs.raw = { from = "raw", link = "in" }
template = "copy.sh"
arguments = ["{{ output }}"]
outputs = ["copy_{{ file | pad(3) }}"]

[steps.reco]
iterate = true
after = "copy"
fanout = { files = "0-3" }
inputs.constants = { from = "fit", previous = true, initial = "{{ workflow_folder }}/start", link = "constants" }
script = "cat constants > {{ output }}"
outputs = ["{{ iteration }}/reco_{{ file }}"]

[steps.fit]
iterate = true
after = "reco"
inputs.reco = { from = "reco" }
call = "fit.py:fit"
arguments = { files = "{{ inputs.reco }}", result = "{{ output }}" }
outputs = ["{{ iteration }}/constants"]
metrics = ["shift"]

[steps.plot]
after = "fit"
inputs.all = { from = "fit", every = true }
inputs.last = { from = "fit" }
script = "cat {{ inputs.all | join(' ') }} {{ inputs.last }} > {{ output }}"
outputs = ["plot"]
"""
FIT = """
def fit(files, result):
    values = [float(open(file).read()) for file in files]
    assert len(values) == 3
    new = values[0] / 2
    with open(result, "w") as out:
        out.write(str(new) + "\\n")
    return {"shift": values[0] - new}
"""


def test_every_kind_of_payload_and_input(site: Site) -> None:
    site.write(EVERY_KIND)
    (site.folder / "copy.sh").write_text("cat in > $1; echo {{ word }} again >> $1\n")
    (site.folder / "fit.py").write_text(FIT)
    (site.folder / "start").write_text("2.0\n")
    assert site.run() == 0, site.said()
    folder = site.folder / "w"
    assert (folder / "copy_002").read_text() == "hello 2\nhello again\n"
    assert [(folder / f"{i}/reco_0").read_text() for i in (1, 2, 3, 4)] == ["2.0\n", "1.0\n", "0.5\n", "0.25\n"]
    assert (folder / "plot").read_text() == "1.0\n0.5\n0.25\n0.125\n0.125\n"
    assert [row["value"] for row in site.metrics("fit")] == [1.0, 0.5, 0.25, 0.125]
    assert site.campaign()["reason"] == "converged after 4 iterations"
    assert site.run() == 0
    assert site.campaign()["state"] == "done"
    assert len(site.rows("SELECT * FROM attempts")) == 3 + 3 + 4 * 4 + 1


def test_a_job_that_fails_is_tried_again_and_its_message_is_kept(site: Site) -> None:
    site.write(
        """
        [steps.a]
        script = '''
        [ -e {{ workflow_folder }}/once ] || { touch {{ workflow_folder }}/once; exit 7; }
        echo x > {{ output }}
        '''
        outputs = ["a"]
        [steps.b]
        after = "a"
        command = ["true"]
        """
    )
    assert site.run() == 0, site.said()
    first, second = site.attempts("a")
    assert (first["state"], first["cause"], first["exit_code"]) == ("failed", "exit", 7)
    assert first["message"] == "the payload ended with exit code 7"
    assert second["state"] == "done"
    assert site.states() == {"a/all": "done", "b/all": "done"}


def test_a_job_that_says_all_is_well_and_writes_nothing_has_failed(site: Site) -> None:
    site.write('[steps.a]\ncommand = ["true"]\noutputs = ["a"]\n[steps.b]\nafter = "a"\ncommand = ["true"]\n')
    assert site.run() == 1
    assert [(row["cause"], row["exit_code"]) for row in site.attempts("a")] == [("output", 0)] * 3
    assert site.states() == {"a/all": "failed", "b/all": "waiting"}
    said = site.said()
    assert "campaign w failed: step a: 1 failed of 1 jobs" in said
    assert "output a was not written" in said
    assert "log.txt" in said


def test_a_job_that_needs_more_memory_gets_it(site: Site) -> None:
    site.write(
        """
        [steps.a]
        command = ["{{ python }}", "-c", "import time; x = bytearray(90_000_000); time.sleep(1.5)"]
        resources = { memory = "60 MB" }
        """
    )
    assert site.run() == 0, site.said()
    first, second = site.attempts("a")
    assert (first["cause"], second["cause"]) == ("memory", "ok")
    assert "of memory, more than 62.9 MB" in first["message"]
    assert second["max_rss"] > 90_000_000


def test_a_job_that_takes_too_long_gets_more_time(site: Site) -> None:
    site.write('[steps.a]\ncommand = ["sleep", "1.2"]\nresources = { walltime = "1s" }\n')
    assert site.run() == 0, site.said()
    assert [row["cause"] for row in site.attempts("a")] == ["wall_time", "ok"]


def interrupted(site: Site, number: int) -> None:
    """Interrupt a campaign at work; then the same command finishes it."""
    site.write(SLOW)
    engine = site.start()
    wait_for(lambda: len(site.told()) >= 3, "the third payload")
    engine.send_signal(number)
    assert engine.wait(timeout=30) == 130, site.said()
    site.wait_until_all_are_gone()
    site.check()
    states = list(site.states().values())
    assert set(states) == {"done", "ready"}
    done_before = {f"{row['job']}.{row['number']}" for row in site.rows("SELECT * FROM attempts WHERE state = 'done'")}
    assert "the same command goes on with campaign w" in site.said()
    assert site.run() == 0, site.said()
    assert set(site.states().values()) == {"done"}
    assert all(row["retries"] is None for row in site.rows("SELECT retries FROM jobs"))
    done_after = {f"{row['job']}.{row['number']}" for row in site.rows("SELECT * FROM attempts WHERE state = 'done'")}
    assert done_before <= done_after
    assert len(site.told()) == len(set(site.told())), "an attempt ran twice"


def test_ctrl_c_stops_the_payloads_and_the_same_command_goes_on(site: Site) -> None:
    interrupted(site, signal.SIGINT)


def test_sigterm_stops_the_payloads_and_the_same_command_goes_on(site: Site) -> None:
    interrupted(site, signal.SIGTERM)


def test_a_second_engine_on_the_same_campaign_is_refused(site: Site) -> None:
    site.write("""
        [steps.a]
        fanout = { files = "0-3" }
        script = '''
        echo "$FIDUCIAL_JOB" >>$RECORDS
        until [ -e {{ workflow_folder }}/go ]; do sleep 0.05; done
        '''
        """)
    engine = site.start()
    wait_for(site.told, "the first payload")
    assert site.run() == 5
    assert f"another fiducial (process {engine.pid}" in site.said()
    (site.folder / "go").touch()
    assert engine.wait(timeout=60) == 0
    assert set(site.states().values()) == {"done"}
    assert sorted(site.told()) == ["1", "2", "3"]


def test_two_campaigns_on_one_ledger_do_not_disturb_each_other(site: Site) -> None:
    quick = '[steps.a]\nfanout = {{ files = "0-150" }}\ncommand = ["touch", "{{{{ output }}}}"]\n'
    quick = quick.format() + 'outputs = { "0" = { path = "a_{{ file }}", min_size = 0 } }\n'
    site.write(quick, "one")
    site.write(quick, "two")
    engines = [site.start(name="one"), site.start(name="two")]
    assert [engine.wait(timeout=90) for engine in engines] == [0, 0], site.said("one") + site.said("two")
    assert [site.campaign(name)["state"] for name in ("one", "two")] == ["done", "done"]
    assert [
        row["n"] for row in site.rows("SELECT COUNT(*) AS n FROM jobs WHERE state = 'done' GROUP BY \"group\"")
    ] == [
        150,
        150,
    ]
    for name in ("one", "two"):
        assert len(list((site.folder / name).glob("a_*"))) == 150


def test_a_full_disk_fails_jobs_and_the_campaign_goes_on_when_there_is_room(site: Site, small_disk: Path) -> None:
    site.write(
        """
        [steps.a]
        fanout = { files = "0-3" }
        command = ["dd", "if=/dev/zero", "of={{ output }}", "bs=1000", "count=300"]
        outputs = ["a_{{ file }}"]
        retry = { max = 1 }
        """
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    assert site.run("--folder", str(small_disk / "c")) == 1, site.said()
    assert {row["state"] for row in site.attempts("a")} >= {"failed"}
    assert "the payload ended with exit code 1" in site.said()
    site.check()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert site.run("--folder", str(small_disk / "c")) == 0, site.said()
    assert [path.stat().st_size for path in sorted((small_disk / "c").glob("a_*"))] == [300_000] * 3
