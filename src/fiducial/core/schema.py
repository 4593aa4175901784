"""The file format as a JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiducial.core.resources import FLAVOURS
from fiducial.core.workflow import Workflow

__all__ = ["workflow_schema"]

_TEXT = {"type": "string"}


def workflow_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a workflow file.

    It accepts the short forms (``after = "reco"``, ``outputs = ["a.root"]``) and knows which keys exclude each other.
    """
    made = Workflow.model_json_schema(by_alias=True, mode="validation")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(made), "title": "Fiducial workflow"}
    parts = schema["$defs"]
    step = parts["Step"]["properties"]
    step["after"] = _one_or_list("After", step["after"])
    for key, model in (("inputs", "Input"), ("outputs", "Output")):
        step[key] = _by_name(model, step[key])
    parts["Step"]["oneOf"] = _exactly_one("command", "script", "template", "call")
    parts["Input"]["oneOf"] = _exactly_one("path", "from")
    parts["Input"]["dependentRequired"] = {"output": ["from"], "initial": ["from"]}
    parts["Input"] |= {
        "if": {"required": ["previous"], "properties": {"previous": {"const": True}}},
        "then": {"required": ["from", "initial"]},
    }
    parts["Chunks"]["oneOf"] = _exactly_one("size", "count")
    parts["Fanout"]["anyOf"] = _exactly_one("files", "runs", "chunks", "list")
    parts["Resources"]["properties"]["flavour"]["enum"] = list(FLAVOURS)
    schema["properties"]["steps"]["additionalProperties"] = False
    return schema


def _exactly_one(*keys: str) -> list[dict[str, Any]]:
    return [{"required": [key]} for key in keys]


def _item(model: str) -> dict[str, Any]:
    return {"anyOf": [_TEXT, {"$ref": f"#/$defs/{model}"}]}


def _described(schema: dict[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": old["description"], **schema}


def _one_or_list(model: str, old: Mapping[str, Any]) -> dict[str, Any]:
    choices = [_TEXT, {"$ref": f"#/$defs/{model}"}, {"type": "array", "items": _item(model)}]
    return _described({"anyOf": choices}, old)


def _by_name(model: str, old: Mapping[str, Any]) -> dict[str, Any]:
    choices = [
        _TEXT,
        {"type": "array", "items": _item(model)},
        {"type": "object", "additionalProperties": _item(model)},
    ]
    return _described({"anyOf": choices}, old)


def _tidy(value: Any, *, names: bool = False) -> Any:
    """Without what TOML cannot say (null) and what pydantic adds of its own.

    Args:
        names: the keys are names that a user or this format chose, not words of JSON Schema.
    """
    if isinstance(value, list):
        return [_tidy(item) for item in value if item != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    tidied = {key: _tidy(item, names=key in {"properties", "$defs"}) for key, item in value.items()}
    if names:
        return tidied
    tidied.pop("title", None)
    if tidied.get("default", 0) is None:
        del tidied["default"]
    if "gt" in tidied:
        tidied["exclusiveMinimum"] = tidied.pop("gt")
    if "ge" in tidied:
        tidied["minimum"] = tidied.pop("ge")
    choices = tidied.get("anyOf", [])
    return _merged(tidied, choices[0]) if len(choices) == 1 else tidied


def _merged(tidied: dict[str, Any], only: Mapping[str, Any]) -> dict[str, Any]:
    """A choice with one possibility is none."""
    rest = {key: item for key, item in tidied.items() if key != "anyOf"}
    return {**only, **rest}
