"""The JSON Schema accepts what the reader accepts."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fiducial.core.errors import WorkflowError
from fiducial.core.schema import workflow_schema
from fiducial.core.workflow import Workflow
from fiducial.core.workflowfile import build

SCHEMA = workflow_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def workflow(step: str) -> dict[str, Any]:
    return tomllib.loads(f'name = "w"\n[steps.a]\n{step}')


GOOD = [
    'command = ["x"]',
    'script = "x"\narguments = ["y"]\ninterpreter = ["python"]',
    'call = "m:f"\narguments = { n = 1 }',
    'template = "x.sh"\nafter = "b"',
    'command = ["x"]\nafter = ["b", { step = "c", matching = true }]',
    'command = ["x"]\nafter = { step = "c" }',
    'command = ["x"]\ninputs = "i"\noutputs = "o"',
    'command = ["x"]\ninputs = ["i", { from = "b", output = "o", link = "l" }]\noutputs = ["o", { path = "p" }]',
    'command = ["x"]\ninputs.a = "i"\noutputs.b = { path = "p", min_size = "4 kB", check = ["c"], optional = true }',
    'command = ["x"]\ninputs.a = { from = "b", previous = true, initial = "i" }',
    'command = ["x"]\noutputs.b = { path = "p", min_size = 0 }',
    'command = ["x"]\ninputs.a = { path = "b", previous = false }',
    'command = ["x"]\nfanout = { files = "0-3", runs = [1, "2"], as = "f" }',
    'command = ["x"]\nfanout = { files = { glob = "*" }, list = [1, "a", { x = 1, y = true }] }',
    'command = ["x"]\nfanout = { chunks = { total = "{{ n }}", count = 3 } }',
    'command = ["x"]\nresources = { cpus = 2, memory = "4 GB", walltime = 2.5, flavour = "workday" }',
    'command = ["x"]\nretry = { max = 0, by_cause = { lost = 9 }, delay = "5min", final_exit_codes = [3] }',
    'command = ["x"]\nvariables = { a = 1, b = ["x"] }\nenvironment = { A = "b" }',
    'command = ["x"]\nkeep_scratch = "failure"\ntolerate = 0.1',
]

WRONG = [
    'comand = ["x"]',
    "",
    'command = ["x"]\nscript = "y"',
    'command = "x"',
    'command = ["x"]\nafter = [{ matching = true }]',
    'command = ["x"]\ninputs = [{ path = "p", from = "b" }]',
    'command = ["x"]\ninputs = [{ from = "b", previous = true }]',
    'command = ["x"]\noutputs = [{ min_size = 3 }]',
    'command = ["x"]\noutputs = [{ path = "p", min_size = -3 }]',
    'command = ["x"]\nfanout = { }',
    'command = ["x"]\nfanout = { chunks = { total = 3 } }',
    'command = ["x"]\nfanout = { chunks = { total = 3, size = 1, count = 1 } }',
    'command = ["x"]\nresources = { memory = 0 }',
    'command = ["x"]\nresources = { flavour = "lunch" }',
    'command = ["x"]\nretry = { max = -1 }',
    'command = ["x"]\nkeep_scratch = "sometimes"',
    'command = ["x"]\ntolerate = 1',
    'command = ["x"]\niterate = "yes please"',
]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("step", GOOD)
def test_what_the_reader_accepts(step: str) -> None:
    data = workflow(step)
    build(**data)
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []


@pytest.mark.parametrize("step", WRONG)
def test_what_the_reader_refuses(step: str) -> None:
    data = workflow(step)
    with pytest.raises(WorkflowError):
        build(**data)
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    "change", [{"name": "a b"}, {"format": 2}, {"steps": {}}, {"steps": {"a-b": {"command": ["x"]}}}, {"more": 1}]
)
def test_the_whole_file(change: dict[str, Any]) -> None:
    data = workflow('command = ["x"]')
    assert VALIDATOR.is_valid(data)
    assert not VALIDATOR.is_valid(data | change)
    with pytest.raises(WorkflowError):
        build(**(data | change))


def test_every_key_is_described() -> None:
    tables = {"": SCHEMA, **SCHEMA["$defs"]}
    silent = [
        f"{table}.{key}" for table, model in tables.items() for key, value in model["properties"].items()
        if not value.get("description")
    ]  # fmt: skip
    assert silent == []


def test_the_schema_knows_every_key_of_the_model() -> None:
    names = {info.alias or name for name, info in Workflow.model_fields.items()}
    assert set(SCHEMA["properties"]) == names
