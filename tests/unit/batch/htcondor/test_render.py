"""Submit descriptions: what stands in them for each way to use HTCondor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.htcondor.render import flavour, submit_description
from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.kinds import read_site
from fiducial.batch.queue.system import Bundle, Request
from fiducial.core.errors import ConfigurationError


def a_site(**keys: Any) -> HTCondorSite:
    site = read_site("farm", {"backend": "htcondor", **keys}, "fiducial.toml")
    assert isinstance(site, HTCondorSite)
    return site


def a_bundle(site: HTCondorSite, jobs: int = 2, folder: Path = Path("/data/camp/fd1"), **asked: Any) -> Bundle:
    asked = {"cpus": 1, "memory": None, "walltime": None, "disk": None} | asked
    request = Request("reco", **asked, wishes=site.wishes("reco"))
    keys = tuple((job, 1) for job in range(1, jobs + 1))
    directories = tuple(Path(f"/data/camp/attempts/{job}.1") for job, _ in keys)
    return Bundle("fd1", "camp.reco.01", folder, keys, directories, request, "ledger")


def lines(site: HTCondorSite, carried: Any = (), **more: Any) -> list[str]:
    return submit_description(a_bundle(site, **more), site, carried).splitlines()


def test_shared_folders_need_no_transfer() -> None:
    assert lines(a_site()) == [
        "# camp.reco.01: 2 jobs",
        "universe = vanilla",
        "batch_name = camp.reco.01",
        'MY.FiducialToken = "fd1"',
        "notification = never",
        "max_retries = 0",
        "request_cpus = 1",
        "executable = /data/camp/fd1/start",
        "arguments = $INT(Place)",
        "initialdir = /data/camp/fd1",
        "error = logs/$INT(Place).txt",
        "should_transfer_files = NO",
        "log = /data/camp/fd1/events.log",
        "Place = $(Process) + 1",
        "queue 2",
    ]


def test_resources_and_wishes() -> None:
    site = a_site(
        account="group_u_FASER.u_zp",
        requirements='OpSysAndVer =?= "AlmaLinux9"',
        send_credential=True,
        extra=["request_gpus = 1", '+ProjectName = "x"'],
    )
    said = lines(site, cpus=4, memory=2**31 + 1, walltime=7290.2, disk=5 * 2**20)
    assert {
        "request_cpus = 4",
        "request_memory = 2049MB",
        "request_disk = 5120KB",
        "MY.MaxRuntime = 7291",
        "accounting_group = group_u_FASER.u_zp",
        'requirements = OpSysAndVer =?= "AlmaLinux9"',
        "MY.SendCredential = True",
        "request_gpus = 1",
        '+ProjectName = "x"',
    } <= set(said)


def test_a_step_has_its_own_flavour() -> None:
    site = a_site(queue="longlunch", steps={"reco": {"queue": "espresso"}})
    assert 'MY.JobFlavour = "espresso"' in lines(site)


@pytest.mark.parametrize(
    ("wanted", "walltime", "chosen"),
    [
        ("longlunch", None, "longlunch"),
        ("longlunch", 600.0, "longlunch"),
        ("longlunch", 7290.0, "longlunch"),  # two hours, and the margin for an end in order
        ("longlunch", 14490.0, "workday"),  # tried again with twice the time
        ("nextweek", 1e7, None),
        ("ownflavour", 1e7, "ownflavour"),
        (None, 600.0, None),
    ],
)
def test_a_flavour_lasts_as_long_as_the_job_may(wanted: str | None, walltime: float | None, chosen: str | None) -> None:
    assert flavour(wanted, walltime) == chosen


def test_names_are_taken_as_they_are() -> None:
    site = a_site()
    bundle = a_bundle(site, folder=Path('/data/Müller\'s $(x) "50 %"/fd1'))
    said = submit_description(bundle, site).splitlines()
    assert 'executable = /data/Müller\'s $(DOLLAR)(x) "50 %"/fd1/start' in said
    assert 'log = /data/Müller\'s $(DOLLAR)(x) "50 %"/fd1/events.log' in said


def test_a_title_cannot_add_lines() -> None:
    site = a_site()
    bundle = a_bundle(site)
    said = submit_description(
        Bundle(bundle.token, "a\nqueue 1000\n$(b)", *[getattr(bundle, name) for name in ("folder", "keys")],
               bundle.directories, bundle.request, bundle.ledger),
        site,
    )  # fmt: skip
    assert said.count("\nqueue ") == 1
    assert "batch_name = a queue 1000 $(DOLLAR)(b)" in said


def test_transfer_brings_files_and_takes_one_folder_back() -> None:
    site = a_site(mode="transfer")
    said = lines(site, carried=[["runner.py", "carried/1/job.json"], ["runner.py", "carried/2/job.json"]])
    assert {
        "executable = /data/camp/fd1/carry",
        "initialdir = /data/camp/fd1/back/$INT(Place)",
        "should_transfer_files = YES",
        "transfer_input_files = $(Files)",
        "transfer_output_files = attempt",
        "log = /data/camp/fd1/events.log",
    } <= set(said)
    assert said[-4:] == [
        "queue Files from (",
        "../../runner.py,../../carried/1/job.json",
        "../../runner.py,../../carried/2/job.json",
        ")",
    ]


def test_a_spool_has_no_log_here() -> None:
    moved = lines(a_site(mode="spool", shared=False), carried=[["runner.py"], ["runner.py"]])
    shared = lines(a_site(mode="spool"))
    assert not [line for line in moved + shared if line.startswith("log")]
    assert "leave_in_queue = False" in shared
    assert 'transfer_output_files = ""' in shared


def test_outputs_go_to_a_url_where_the_site_says_so() -> None:
    site = a_site(mode="eos", output_destination="root://eosuser.cern.ch//eos/user/j/jdoe/out/")
    said = lines(site, carried=[["/eos/user/j/jdoe/raw.root"], ["/eos/user/j/jdoe/raw.root"]])
    assert "output_destination = root://eosuser.cern.ch//eos/user/j/jdoe/out/fd1/$INT(Place)/" in said
    assert "MY.XRDCP_CREATE_DIR = True" in said
    assert "/eos/user/j/jdoe/raw.root" in said  # by its own path, from which the plugin makes a URL


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mode": "transfer", "shared": True}, "leave shared out"),
        ({"shared": False}, 'mode is "transfer" or "spool"'),
        ({"output_destination": "root://host//x"}, "shared = false"),
        ({"mode": "transfer", "output_destination": "/eos/x"}, "is a URL"),
        ({"extra": ["queue 5"]}, "no line of a submit description"),
        ({"steps": {"fit": {"extra": ["a = 1\nqueue"]}}}, "no line of a submit description"),
        ({"mode": "sneaker"}, "transfer"),
    ],
)
def test_what_does_not_fit_is_told(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as told:
        a_site(**keys)
    assert told.value.message.startswith("fiducial.toml: sites.farm")
    assert "Value error" not in told.value.message
    assert ".:" not in told.value.message
