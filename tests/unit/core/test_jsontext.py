"""JSON without the words that are none."""

from __future__ import annotations

import json

import pytest

from fiducial.core.jsontext import json_text


def test_numbers_that_are_not_finite_are_null() -> None:
    value = {"a": float("nan"), "b": [1.5, (float("inf"), "x")], "c": {"d": -float("inf"), "e": True}}
    assert json.loads(json_text(value)) == {"a": None, "b": [1.5, [None, "x"]], "c": {"d": None, "e": True}}


def test_the_rest_is_as_the_library_writes_it() -> None:
    value = {"b": [1, 2.5, None], "a": "ü"}
    assert json_text(value, indent=2, ensure_ascii=False) == json.dumps(value, indent=2, ensure_ascii=False)


def test_what_cannot_be_json_is_an_error() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises((ValueError, RecursionError)):
        json_text(loop)
