"""Templates: strict, sandboxed, typed, and in an order of precedence."""

from __future__ import annotations

from typing import Any

import pytest

from fiducial.core.errors import WorkflowError
from fiducial.core.plan import campaign_scope
from fiducial.core.variables import Scope, evaluate, fill, render, unknown_names, value_of, variables_in
from fiducial.core.workflowfile import build


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("{{ n }}", "450"),
        ("{{ n | pad(5) }}.root", "00450.root"),
        ("{% for i in range(2) %}{{ i }}\n{% endfor %}\n", "0\n1\n\n"),
        ("{{ words | join(' ') }}", "a b"),
        ("<{{ '&' }}>", "<&>"),
        ("{# nothing #}", ""),
        ("100 % {a}", "100 % {a}"),
    ],
)
def test_render(text: str, result: str) -> None:
    assert render(text, {"n": 450, "words": ["a", "b"]}, "here") == result


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ n }}", 450),
        (" {{ n + 1 }} ", 451),
        ("{{ words }}", ["a", "b"]),
        ("{{ n }}{{ n }}", "450450"),
        ("{{ '}}' }}", "}}"),
        (7, 7),
        (["{{ n }}"], ["{{ n }}"]),
        ("{{ n > 3 }}", True),
    ],
)
def test_one_expression_keeps_its_type(text: Any, value: Any) -> None:
    assert value_of(text, {"n": 450, "words": ["a", "b"]}, "here") == value


def test_fill_goes_through_lists_and_tables() -> None:
    assert fill({"a": ["{{ n }}", {"b": "{{ n }}x"}], "c": 1}, {"n": 2}, "here") == {"a": [2, {"b": "2x"}], "c": 1}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{{ fil }}", "here: unknown variable 'fil' in '", "did you mean 'file'?"),
        ("x{{ fil }}", "here: unknown variable 'fil'", "did you mean 'file'?"),
        ("{{ xyzzy }}", "unknown variable 'xyzzy'", ""),
        ("{{ table.fil }}", "unknown variable 'fil'", ""),
        ("{{ file + 'a' }}", "cannot evaluate", ""),
        ("{{ 1 / 0 }}", "cannot evaluate", ""),
        ("{{ file | nope }}", "nope", ""),
        ("{{ file", "here: ", ""),
    ],
)
@pytest.mark.parametrize("function", [render, value_of])
def test_mistakes_are_told(function: Any, text: str, message: str, hint: str) -> None:
    with pytest.raises(WorkflowError, match=message) as caught:
        function(text, {"file": 1, "table": {}}, "here")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ range.__globals__ }}",
        "{{ f.__globals__ }}",
        "{{ f.__code__ }}",
        "{{ cycler.__init__ }}",
        "{{ ''['__class__'] }}",
        "{{ ('' | attr('__class__')).__mro__ }}",
        "{{ '{0.__class__}'.format(f) }}",
        "{{ range(10 ** 9) | list }}",
    ],
)
@pytest.mark.parametrize("form", ["{}", "x{}"])
def test_templates_cannot_reach_out(text: str, form: str) -> None:
    def function() -> None: ...

    with pytest.raises(WorkflowError):
        value_of(form.format(text) if form != "{}" else text, {"f": function}, "here")


def test_names_in_templates() -> None:
    text = "{% set x = a %}{% for i in range(n) %}{{ i + x + b.c }}{% endfor %}"
    assert variables_in(text) == {"a", "n", "b"}
    assert unknown_names(text, ["a"]) == ["b", "n"]
    with pytest.raises(WorkflowError, match="template syntax"):
        variables_in("{% for %}")
    with pytest.raises(WorkflowError, match="unknown filter 'padd'") as caught:
        variables_in("{{ a | padd }}")
    assert caught.value.hint == "did you mean 'pad'?"


def test_evaluate() -> None:
    assert evaluate("a < 3 and b", {"a": 2, "b": True}, "here") is True
    with pytest.raises(WorkflowError, match="unknown variable 'c'"):
        evaluate("c", {"a": 1}, "here")


def workflow(**fields: Any) -> Any:
    step = {"command": ["x"], "fanout": {"files": "0-3"}, **fields.pop("step", {})}
    return build(name="w", steps={"s": step, "other": {"command": ["x"], "fanout": {"runs": "0-3"}}}, **fields)


def test_the_narrowest_wins() -> None:
    made = workflow(variables={"v": "workflow", "w": "workflow"}, step={"variables": {"v": "job"}})
    site = {"v": "site", "w": "site", "s": "site", "p": "site", "c": "site", "file": "site"}
    parent, campaign = {"p": "parent", "c": "parent"}, {"c": "campaign", "v": "campaign"}
    scope = campaign_scope(made, [site, parent, campaign], {"campaign": "x", "folder": "/x"})
    assert (scope.known["s"], scope.known["w"], scope.known["p"]) == ("site", "workflow", "parent")
    assert (scope.known["c"], scope.known["v"]) == ("campaign", "campaign")
    late = scope.late(made.steps["s"].variables, "steps.s")
    context = scope.context({"file": "instance"}, late)
    assert (context["v"], context["file"]) == ("job", "instance")
    assert scope.context({"file": "instance", "v": "instance"}, late)["v"] == "instance"


def test_variables_of_the_workflow_wait_for_the_job() -> None:
    made = workflow(
        variables={"a": "{{ b }}!", "b": "{{ file }}-{{ mode }}", "run_name": "{{ run }}", "n": "{{ m + 1 }}", "m": 1},
        step={"variables": {"twice": "{{ mode }}{{ mode }}", "mode": "fast", "deep": ["{{ a }}"]}},
    )
    scope = campaign_scope(made, [{}], {"campaign": "x", "folder": "/x"})
    assert scope.known["n"] == 2
    assert "b" not in scope.known
    assert {"a", "b", "file", "m"} <= scope.names
    context = scope.context({"file": 7}, scope.late(made.steps["s"].variables, "steps.s"))
    assert (context["a"], context["twice"], context["deep"]) == ("7-fast!", "fastfast", ["7-fast!"])
    assert "run_name" not in context  # belongs to the other step


def test_a_variable_may_refer_to_the_campaign_before_it_has_a_name() -> None:
    made = workflow(variables={"base": "{{ folder }}/x", "n": 1})
    assert campaign_scope(made, [{}], {"workflow": "w"}).known == {"workflow": "w", "n": 1}
    assert campaign_scope(made, [{}], {"campaign": "c", "folder": "/c"}).known["base"] == "/c/x"


def test_circles_and_unknown_names() -> None:
    with pytest.raises(WorkflowError, match="in a circle: a -> b -> a"):
        Scope([{"a": "{{ b }}", "b": ["{{ a }}"]}], {}, [])
    with pytest.raises(WorkflowError, match="in a circle: a -> a"):
        Scope([{"a": {"x": "{{ a }}"}}], {}, [])
    with pytest.raises(WorkflowError, match=r"variables\.a: unknown variable 'shfit'") as caught:
        Scope([{"a": "{{ shfit }}"}], {"shift": 1}, [])
    assert caught.value.hint == "did you mean 'shift'?"


def test_an_unknown_name_in_a_variable_of_the_step() -> None:
    scope = Scope([{}], {}, [])
    with pytest.raises(WorkflowError, match=r"steps\.s\.variables\.v: unknown"):
        scope.context({}, scope.late({"v": "{{ nope }}"}, "steps.s"))
