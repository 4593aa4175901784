"""Placeholders stand only where a template does nothing with a value but put it there."""

from __future__ import annotations

import pytest

from fiducial.batch.planned.symbols import Symbol, dependent, only_places, plain
from fiducial.core.variables import Late, render, value_of

CONTEXT = {"file": Symbol("file"), "run": 7}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ file }}", "@{file}"),
        ("raw/{{ file | pad(5) }}.raw", "raw/@{file:05}.raw"),
        ("{{ 'a_' ~ file }}", "a_@{file}"),
        ("{{ run | pad(6) }}-{{ file }}", "000007-@{file}"),
        ("{% if run > 3 %}late{% endif %} {{ file }}", "late @{file}"),
    ],
)
def test_values_in_their_places_are_placeholders(text: str, filled: str) -> None:
    assert only_places(text, {"file"}, {"file"})
    assert render(text, CONTEXT, "here") == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{ file + 1 }}",
        "{{ 'a' if file == 3 else 'b' }}",
        "{% if file > 3 %}a{% endif %}",
        "{{ file | string | length }}",
        "{{ ('x' ~ file) | pad(9) }}",
        "{{ name | pad(9) }}",
        "{% for n in [file] %}{{ n }}{% endfor %}",
        "{{ {'a': file} }}",
    ],
)
def test_whatever_computes_is_seen(text: str) -> None:
    assert not only_places(text, {"file", "name"}, {"file"})


def test_inputs_are_told_apart() -> None:
    text = "{{ inputs.one | upper }} {{ inputs.many | join(' ') }} {{ inputs['other'] }}"
    assert only_places(text, {"inputs.many", "inputs.other"}, set())
    assert not only_places(text, {"inputs.one"}, set())
    assert not only_places("{{ inputs.many | join(',') }}", {"inputs.many"}, set())
    assert not only_places("{{ inputs | length }}", {"inputs.many"}, set())


def test_what_depends_on_a_value_depends_on_it_through_variables() -> None:
    late = [
        Late("path", "{{ file }}.raw", frozenset({"file"}), "", own=False),
        Late("log", "{{ path }}.log", frozenset({"path"}), "", own=False),
        Late("year", "{{ run }}", frozenset({"run"}), "", own=False),
    ]
    assert dependent({"file"}, late) == {"file", "path", "log"}


def test_a_value_by_itself_keeps_its_kind() -> None:
    assert plain({"n": value_of("{{ file }}", CONTEXT, "here"), "t": render("{{ file }}", CONTEXT, "here")}) == {
        "n": {"@": "file"},
        "t": "@{file}",
    }
