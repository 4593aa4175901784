"""The page about the file format: its examples hold, and it names every key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fiducial.core.check import check
from fiducial.core.plan import CAMPAIGN_NAMES, JOB_NAMES
from fiducial.core.schema import workflow_schema
from fiducial.core.workflowfile import load

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "workflow-file.md").read_text("utf-8")
EXAMPLES = re.findall(r"```\{code-block\} toml\n:caption: a whole workflow\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=[tomllib.loads(text)["name"] for text in EXAMPLES])
def test_examples(text: str, tmp_path: Path) -> None:
    path = tmp_path / "workflow.toml"
    path.write_text(text, "utf-8")
    assert [finding.text("") for finding in check(load(path))] == []
    assert Draft202012Validator(workflow_schema()).is_valid(tomllib.loads(text))


def test_examples_are_found() -> None:
    assert len(EXAMPLES) == PAGE.count("```{code-block} toml") > 5


def test_every_key_is_on_the_page() -> None:
    schema = workflow_schema()
    keys = {key for model in (schema, *schema["$defs"].values()) for key in model["properties"]}
    words = set(re.findall(r"\w+", PAGE))
    assert keys - words == set()
    assert (JOB_NAMES | CAMPAIGN_NAMES) - words == set()
