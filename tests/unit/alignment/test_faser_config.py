"""Both generations of FASER's config.json, as people have them, and what is made of every key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.faser.configfile import is_faser, read_config
from fiducial.alignment.faser.request import Pede, Storage
from fiducial.core.errors import ConfigurationError, NotFoundError

EXAMPLES = Path(__file__).parents[3] / "examples" / "faser"
OLDER: dict[str, Any] = json.loads((EXAMPLES / "config-older.json").read_text())
NEWER: dict[str, Any] = json.loads((EXAMPLES / "config.json").read_text())
HOME = "/afs/cern.ch/user/f/faser"

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: Any) -> Path:
        file = tmp_path / "config.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


def changed(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(config))
    *tables, key = place.split(".")
    inner = copy
    for table in tables:
        inner = inner[table]
    inner[key] = value
    return copy


def test_the_older_generation(write: Write, tmp_path: Path) -> None:
    request = read_config(write(OLDER))
    assert (request.year, request.run, request.files, request.stations) == (None, None, None, None)
    assert request.iterations == 10
    assert request.folder == f"{HOME}/alignment-work/{{format}}"
    assert request.data == "/eos/user/f/faser/faser-alignment-output/{format}"
    assert request.storage == Storage(keep_ntuples=True, keep_constants=True, keep_scratch=False)
    assert request.pede == Pede(Path(f"{HOME}/pede"))
    assert request.calypso == Path(f"{HOME}/calypso/install")
    assert request.environment_script == tmp_path / "reco_condor_env.sh"  # seen from the file's folder
    assert request.edits == {
        "steps.reco.resources": {"cpus": 1, "flavour": "longlunch"},
        "steps.reco.retry": {"max": 3},
    }
    assert request.first_iteration is None
    (note,) = request.notes
    for place in ("htcondor.requirements", "alignment.polling_interval_seconds"):
        assert place in note


def test_the_older_generation_with_limits_of_its_own(write: Write) -> None:
    reco = {
        "job_flavour": "workday",
        "request_cpus": 2,
        "request_memory": 2048,
        "request_disk": "2 GB",
        "max_retries": 0,
    }
    config = changed(OLDER, "htcondor", {"requirements": "", "reco": reco, "millepede": {"request_memory": "256 MB"}})
    assert read_config(write(config)).edits == {
        "steps.reco.resources": {"cpus": 2, "memory": "2048 MB", "disk": "2 GB", "flavour": "workday"},
        "steps.reco.retry": {"max": 0},
    }


def test_the_older_generation_without_eos(write: Write) -> None:
    request = read_config(write(changed(OLDER, "storage.use_eos_for_output", False)))
    assert (request.folder, request.data) == (f"{HOME}/alignment-work/{{format}}", None)
    request = read_config(write(changed(OLDER, "paths.work_dir", "")))
    assert (request.folder, request.data) == ("/eos/user/f/faser/faser-alignment-output/{format}", None)
    del (config := changed(OLDER, "paths.work_dir", ""))["paths"]["work_dir"]
    del config["paths"]["eos_output_dir"]
    assert read_config(write(config)).folder is None


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("keep_intermediate_root_files", False, Storage(keep_ntuples=False)),
        ("keep_alignment_constants", False, Storage(keep_constants=False)),
        ("cleanup_reco_temp_files", False, Storage(keep_scratch=True)),
        ("cleanup_database_files", True, Storage()),
    ],
)
def test_what_stays_of_files(write: Write, key: str, value: bool, kept: Storage) -> None:
    assert read_config(write(changed(OLDER, f"storage.{key}", value))).storage == kept


def test_the_newer_generation(write: Write) -> None:
    request = read_config(write(NEWER))
    assert (request.year, request.run, request.files) == (2022, 8294, range(101, 151))
    assert (request.iterations, request.stations, request.first_iteration) == (15, 4, 0)
    assert request.expand(request.name or "") == "Y2022_R008294_F101-151_ST4_back_local"
    assert request.folder == "/afs/cern.ch/user/f/faser/dag/{format}"
    assert request.data == "/eos/user/f/faser/alignment/{format}"
    assert request.pede is not None
    assert (request.pede.install, request.pede.root) == (Path(f"{HOME}/pede"), Path(NEWER["env"]["root"]))
    assert request.initial_constants == Path(f"{HOME}/faser-alignment-script/templates/inputforalign.txt")
    assert request.source == Path(f"{HOME}/faser-alignment-script")
    assert request.calypso == (
        Path(f"{HOME}/calypso/asetup.faser"),
        Path(f"{HOME}/calypso/install/setup.sh"),
    )
    assert request.environment_script is None
    assert request.reco_words == ("--output_level", "WARNING")
    assert request.variables == {
        "iter": "iter{{ number | pad(2) }}",
        "reco_folder": "{{ iter }}/1reco",
        "ntuple_folder": "{{ iter }}/2kfalignment",
        "fit_folder": "{{ iter }}/3millepede",
    }
    assert (request.recipe, request.sets) == (None, NEWER["workflow"])
    (note,) = request.notes
    assert note.endswith("not needed any more: dag.iter, data.config, tpl.recosub")


@pytest.mark.parametrize("run", [8294, "8294", "008294"])
def test_a_run_may_be_a_number_or_text(write: Write, run: int | str) -> None:
    assert read_config(write(changed(NEWER, "raw.run", run))).run == 8294


@pytest.mark.parametrize("files", ["101", 101])
def test_one_file(write: Write, files: int | str) -> None:
    assert read_config(write(changed(NEWER, "raw.files", files))).files == range(101, 102)


def test_unknown_keys_are_told(write: Write) -> None:
    notes = read_config(write(changed(NEWER, "raw.yaer", 2022))).notes
    assert notes[-1].endswith("not known, and left out: raw.yaer")


@pytest.mark.parametrize(
    ("config", "place", "value", "words"),
    [
        (NEWER, "workflow", 5, "workflow: must be a table"),
        (NEWER, "workflow.set0.pede", [21, 41], "workflow: set0: must be a table with 'pede'"),
        (NEWER, "raw.files", "101-101", "raw.files: the range '101-101' is empty"),
        (NEWER, "raw.files", "101,103", "raw.files: '101,103' is not a range"),
        (NEWER, "raw.files", ["101"], "raw.files: must be one value"),
        (NEWER, "raw.year", "22", "raw.year: '22' is no year"),
        (NEWER, "raw.run", True, "raw.run: 'True' is no run"),
        (NEWER, "raw.run", -8294, "raw.run: '-8294' is no run"),
        (NEWER, "raw.stations", 5, "raw.stations: '5' stations"),
        (NEWER, "raw.iters", 0, "raw.iters: '0' is no number of iterations"),
        (NEWER, "raw.format", "Y{jahr}", "raw.format: 'Y{jahr}': {jahr} is not known"),
        (NEWER, "raw.format", "a/{run}", "raw.format: 'a/{run}' is no name of a folder"),
        (NEWER, "raw.verbosity", "loud", "raw.verbosity: 'loud' is no level"),
        (NEWER, "data.iter.dir", "../{iter}", "data.iter.dir: '../{iter}' leads out"),
        (NEWER, "data.iter.dir", "iter", "data.iter.dir: 'iter' is the same folder for all iterations"),
        (NEWER, "data.iter.kfalign", "kf{itr}", "data.iter.kfalign: 'kf{itr}': {itr} is not known"),
        (NEWER, "data.iter.reco", "/1reco", "data.iter.reco: '/1reco' leads out"),
        (NEWER, "src.dir", 5, "src.dir: must be text in quotes; here: 5"),
        (NEWER, "src.dir", "/a/{{ run }}", "src.dir: '/a/{{ run }}' holds a template"),
        (NEWER, "raw", 5, "raw: must be a table"),
        (OLDER, "paths.calypso_install", [], "paths.calypso_install: must be one value"),
        (OLDER, "htcondor.job_flavour", "weekend", "htcondor.job_flavour: 'weekend' is no flavour"),
        (OLDER, "htcondor.request_cpus", "two", "htcondor.request_cpus: must be a whole number"),
        (OLDER, "storage.use_eos_for_output", "yes", "storage.use_eos_for_output: must be true or false"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    write: Write, config: dict[str, Any], place: str, value: Any, words: str
) -> None:
    file = write(changed(config, place, value))
    with pytest.raises(ConfigurationError) as caught:
        read_config(file)
    assert f"{file}: {words}" in caught.value.message


def test_yaml_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("raw:\n  year: 2023\n")
    with pytest.raises(ConfigurationError) as caught:
        read_config(tmp_path / "config.yaml")
    assert "YAML is not read" in caught.value.hint


@pytest.mark.parametrize("read", [read_config, is_faser])
def test_a_slip_in_the_file_is_told_with_its_line_and_never_taken_for_no_configuration(
    write: Write, read: Callable[[Path], Any]
) -> None:
    file = write(json.dumps(NEWER, indent=4) + ",\n")
    with pytest.raises(ConfigurationError, match=rf"{file}:{len(file.read_text().splitlines())}: not JSON: Extra data"):
        read(file)


def test_what_is_no_configuration(write: Write, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_config(tmp_path / "nothing.json")
    for content, words in (
        ("{", "config.json:1: not JSON"),
        ([], "must be a table"),
        ({"a": 1}, "is no config.json of"),
    ):
        file = write(content)
        with pytest.raises(ConfigurationError, match=words):
            read_config(file)
    for content in ([], {"a": 1}):
        assert not is_faser(write(content))
    assert is_faser(write(OLDER))
    assert is_faser(write(NEWER))
