"""Drawings of workflows."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiducial.core.errors import WorkflowError
from fiducial.core.graph import svg_graph, text_graph
from fiducial.core.graph.layout import layout
from fiducial.core.workflow import Workflow
from fiducial.core.workflowfile import build

SVG = "{http://www.w3.org/2000/svg}"


def workflow(steps: dict[str, dict[str, Any]], **fields: Any) -> Workflow:
    return build(name="w", steps={name: {"command": ["x"], **step} for name, step in steps.items()}, **fields)


LOOP = workflow(
    {
        "geometry": {},
        "reco": {
            "after": "geometry",
            "iterate": True,
            "fanout": {"files": "0-200"},
            "inputs": [{"from": "fit", "previous": True, "initial": "x"}],
        },
        "select": {"after": {"step": "reco", "matching": True}, "iterate": True, "fanout": {"files": "0-200"}},
        "fit": {"after": ["select", "reco"], "iterate": True, "outputs": ["c_{{ iteration }}"]},
        "plot": {"after": ["fit", "geometry"]},
    },
    iteration={"max": 10, "until": "fit.shift < 0.1"},
)
COUNTS = {"geometry": 1, "reco": 1200, "select": 1200, "fit": 1, "plot": 1}

EXPECTED = """\
      ┌──────────┐
      │ geometry │
      │  1 job   │
      └─────┬────┘
 ┌──────────┼─ ↻ until fit.shift < 0.1, at most 10 iterations ─┐
 │          │                                                  │
 │          ▼                                                  │
 │ ┌────────────────┐                                          │
 │ │      reco      │                                          │
 │ │   1,200 jobs   │                                          │
 │ │ ↻ previous fit │                                          │
 │ └────────┬───────┘                                          │
 │          │                                                  │
 │          ▽                                                  │
 │   ┌────────────┐                                            │
 │   │   select   │                                            │
 │   │ 1,200 jobs │                                            │
 │   └──────┬─────┘                                            │
 │          │                                                  │
 │          ▼                                                  │
 │     ┌─────────┐                                             │
 │     │   fit   │                                             │
 │     │  1 job  │                                             │
 │     └────┬────┘                                             │
 └──────────┼──────────────────────────────────────────────────┘
            │
            ▼
       ┌─────────┐
       │  plot   │
       │  1 job  │
       └─────────┘

▼ when all jobs are done   ▽ each job when its matching one is done
"""


def test_text() -> None:
    assert text_graph(LOOP, COUNTS) == EXPECTED


def test_ascii() -> None:
    drawn = text_graph(LOOP, COUNTS, ascii_only=True)
    assert drawn.isascii()
    assert len(drawn.splitlines()) == len(EXPECTED.splitlines())
    assert "+-- @ until fit.shift < 0.1" in drawn.replace("+----------+- @", "+-- @")


def test_branches() -> None:
    drawn = text_graph(workflow({"a": {}, "b": {"after": "a"}, "c": {"after": "a"}, "d": {"after": ["b", "c"]}}), {})
    assert drawn == (
        "          ┌─────────┐\n"
        "          │    a    │\n"
        "          │  1 job  │\n"
        "          └────┬────┘\n"
        "        ┌──────┴──────┐\n"
        "        ▼             ▼\n"
        "   ┌─────────┐   ┌─────────┐\n"
        "   │    b    │   │    c    │\n"
        "   │  1 job  │   │  1 job  │\n"
        "   └────┬────┘   └────┬────┘\n"
        "        └──────┐      │\n"
        "               ├──────┘\n"
        "               ▼\n"
        "          ┌─────────┐\n"
        "          │    d    │\n"
        "          │  1 job  │\n"
        "          └─────────┘\n"
        "\n"
        "▼ when all jobs are done\n"
    )


@pytest.mark.parametrize("matching", ["a", "b"])
def test_both_kinds_arrive_from_their_sides(matching: str) -> None:
    after = [{"step": name, "matching": name == matching} for name in "ab"]
    drawn = text_graph(workflow({"a": {}, "b": {}, "c": {"after": after}}), {})
    arrows = next(line.split() for line in drawn.splitlines() if "▽" in line)
    assert arrows == (["▽", "▼"] if matching == "a" else ["▼", "▽"])
    assert "┼" not in drawn


def test_numbers_that_are_not_known() -> None:
    drawn = text_graph(workflow({"a": {"fanout": {"files": "0-3"}}, "b": {}}), {})
    assert "many jobs" in drawn
    assert "1 job " in drawn


def test_an_edge_that_follows_from_others_is_left_out() -> None:
    steps = {"a": {}, "b": {"after": "a"}, "c": {"after": ["a", "b"]}}
    drawn = text_graph(workflow(steps), {})
    steps["c"]["after"] = ["b"]
    assert drawn == text_graph(workflow(steps), {})


def test_a_circle_cannot_be_drawn() -> None:
    circle = workflow({"a": {"after": "b"}, "b": {"after": "a"}})
    for draw in (text_graph, svg_graph):
        with pytest.raises(WorkflowError, match="in a circle: a, b"):
            draw(circle, {})


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_svg() -> None:
    drawing = svg_graph(LOOP, COUNTS)
    words = texts(drawing)
    assert [word for word in words if word in LOOP.steps] == list(LOOP.steps)
    assert words.count("1,200 jobs") == 2
    assert (words.count("all"), words.count("matching")) == (3, 1)
    assert "repeated until fit.shift < 0.1, at most 10 iterations" in words
    assert "next iteration" in words
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def boxes(drawing: str) -> list[tuple[float, float, float, float]]:
    found = [
        r.attrib for r in ElementTree.fromstring(drawing).iter(f"{SVG}rect") if r.attrib["class"].startswith("box")
    ]
    sides = [[float(a[key]) for key in ("x", "y", "width", "height")] for a in found]
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


NAMES = st.sampled_from(["a", "step", "a_rather_long_name_of_a_step"])


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    names = [f"{draw(NAMES)}{number}" for number in range(draw(st.integers(1, 9)))]
    steps: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:place]), unique=True, max_size=3)) if place else []
        after = [{"step": parent, "matching": draw(st.booleans())} for parent in parents]
        steps[name] = {"after": after, "iterate": draw(st.booleans())}
    return workflow(steps, iteration={"max": 3})


def test_lines_that_pass_beside_long_names_leave_them_room() -> None:
    steps: dict[str, dict[str, Any]] = {name: {"after": []} for name in ("a0", "a3")}
    for name in ("a1", "a_rather_long_name_of_a_step5", "a_rather_long_name_of_a_step7"):
        steps[name] = {"iterate": True}
    for name, parents in {"a2": ["a0", "a1"], "a4": ["a0", "a3", "a1"], "a6": ["a0", "a1"]}.items():
        steps[name] = {"after": [{"step": parent} for parent in parents]}
    lines = text_graph(workflow(steps, iteration={"max": 3}), {}).splitlines()
    assert max(map(len, lines)) <= 100
    assert any("│ a_rather_long_name_of_a_step7 │" in line for line in lines)


@settings(max_examples=40, deadline=None)
@given(workflows())
def test_any_workflow_fits(made: Workflow) -> None:
    lines = text_graph(made, {}).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(sum(f" {name} " in line for line in lines) == 1 for name in made.steps)
    placed = boxes(svg_graph(made, {}))
    assert len(placed) == len(made.steps)
    for index, (left, top, right, bottom) in enumerate(placed):
        assert left > 0
        for other in placed[index + 1 :]:
            assert other[0] >= right or other[2] <= left or other[1] >= bottom or other[3] <= top


@settings(max_examples=40, deadline=None)
@given(workflows())
def test_children_are_below_their_parents(made: Workflow) -> None:
    found = layout(made, len, 90)
    for name, step in made.steps.items():
        assert all(found.row_of[after.step] < found.row_of[name] for after in step.after)
    for link in found.links:
        upper, lower = (node.row if node.edge else found.row_of[node.step] for node in (link.upper, link.lower))
        assert lower == upper + 1
