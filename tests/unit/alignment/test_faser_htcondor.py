"""What config.json asks of HTCondor reaches the DAG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aligning import asked
from fiducial.alignment.faser.campaign import plan
from fiducial.alignment.faser.configfile import read_config
from fiducial.alignment.faser.dag import is_alignment, layout
from fiducial.alignment.faser.htcondor import requirements, still_needless, with_fit_limits
from fiducial.alignment.faser.layout import scope_of
from fiducial.batch.dagman.submit import Options
from fiducial.batch.dagman.write import write
from fiducial.batch.planned.plan import Plan
from fiducial.core.errors import ConfigurationError

ALMA = '(Machine =!= LastRemoteHost) && (OpSysAndVer =?= "AlmaLinux9")'


def configured(folder: Path, htcondor: dict[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({"paths": {"calypso_install": "/calypso"}, "htcondor": htcondor}))
    return file


def submit_files(folder: Path, config: Path) -> dict[str, list[str]]:
    prepared = plan(asked(iterations=2).over(read_config(config)), simulate=False).prepared
    workflow = with_fit_limits(prepared.workflow, config)
    names = layout(workflow, scope_of(prepared))
    place = folder / "dag"
    dag = Plan(workflow, prepared.name, place, {**prepared.names, "folder": str(place)}, {}, 2, "id", names)
    write(dag, place, Options(requirements=requirements(config)))
    found = {"reco": place / "iter02/1reco/reco.sub", "millepede": place / "iter02/3millepede/millepede.sub"}
    return {name: path.read_text().splitlines() for name, path in found.items()}


def test_one_block_for_all(tmp_path: Path) -> None:
    """The generation with its values right below ``htcondor``: they are the reconstruction's."""
    block = {"job_flavour": "longlunch", "request_cpus": 1, "max_retries": 3, "requirements": ALMA}
    found = submit_files(tmp_path, configured(tmp_path, block))
    assert '+JobFlavour = "$CHOICE(retry,longlunch,workday,workday,tomorrow)"' in found["reco"]
    for lines in found.values():
        assert f"requirements = {ALMA}" in lines
    assert "+MaxRuntime = $CHOICE(retry,3600,7200,14400)" in found["millepede"]


def test_a_block_for_each(tmp_path: Path) -> None:
    fit = {
        "job_flavour": "espresso",
        "request_cpus": 2,
        "request_memory": 256,
        "request_disk": "32 MB",
        "max_retries": 1,
    }
    reco = {"job_flavour": "workday", "request_memory": "3 GB", "max_retries": 0}
    found = submit_files(tmp_path, configured(tmp_path, {"reco": reco, "millepede": fit | {"max_retries": 1}}))
    assert "request_memory = 3072" in found["reco"]
    for line in (
        "request_cpus = 2",
        "request_memory = $CHOICE(retry,2048,4096)",  # 256 MB would not do
        "request_disk = 32768",
        '+JobFlavour = "$CHOICE(retry,espresso,microcentury)"',
    ):
        assert line in found["millepede"]
    assert not any(line.startswith("requirements") for line in found["millepede"])


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"requirements": 5}, "htcondor.requirements: must be an expression"),
        ({"millepede": {"job_flavour": "brunch"}}, "htcondor.millepede.job_flavour: 'brunch' is no flavour"),
        ({"millepede": {"request_memory": "much"}}, "htcondor.millepede.request_memory"),
        ({"millepede": {"max_retries": -1}}, "htcondor.millepede.max_retries: must be a whole number"),
    ],
)
def test_values_that_cannot_be_are_named(tmp_path: Path, block: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        submit_files(tmp_path, configured(tmp_path, block))


def test_what_is_used_is_not_said_to_be_needless() -> None:
    note = "config.json: not needed any more: htcondor.requirements, htcondor.millepede.request_cpus"
    assert still_needless(note) == ""
    assert still_needless(f"{note}, storage.a") == "config.json: not needed any more: storage.a"
    assert still_needless("something else") == "something else"


def test_other_workflows_keep_the_general_names() -> None:
    prepared = plan(asked(), simulate=True).prepared
    assert is_alignment(prepared.workflow)
    assert not is_alignment(prepared.workflow.model_copy(update={"variables": {}}))
