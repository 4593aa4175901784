"""Fan-outs: from a step to its jobs."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiducial.core.errors import WorkflowError
from fiducial.core.plan import SINGLE, Instance, count, fanout_names, instances, later_names, safe_key
from fiducial.core.workflow import Fanout, Step
from fiducial.core.workflowfile import build


def jobs(context: dict[str, Any] | None = None, **fanout: Any) -> list[Instance]:
    step = Step(command=["x"], fanout=Fanout.model_validate(fanout))
    made = list(instances(step, context or {}, "here"))
    assert count(step, context or {}, "here") == len(made)
    # What templates are told to be there is there, and nothing else.
    assert step.fanout is not None
    assert set().union(*(job.values for job in made)) <= fanout_names(step.fanout)
    return made


def test_no_fanout_is_one_job() -> None:
    assert list(instances(Step(command=["x"]), {}, "here")) == [Instance(SINGLE, {})]


@pytest.mark.parametrize(
    ("fanout", "expected"),
    [
        ({"files": "450-452"}, [("00450", {"file": 450}), ("00451", {"file": 451})]),
        ({"files": 450}, [("00450", {"file": 450})]),
        ({"files": ["7", 9]}, [("00007", {"file": 7}), ("00009", {"file": 9})]),
        ({"files": "{{ n }}-{{ n + 1 }}", "as": "f"}, [("00003", {"f": 3})]),
        ({"files": "{{ names }}"}, [("a", {"file": "x/a.root", "stem": "a"})]),
        ({"files": ["x/{{ n }}.root"]}, [("3", {"file": "x/3.root", "stem": "3"})]),
        ({"runs": "11705:11706"}, [("011705", {"run": 11705})]),
        ({"runs": [1, "2"], "as": "r"}, [("000001", {"r": 1}), ("000002", {"r": 2})]),
        ({"list": ["a", 0.5, True]}, [("a", {"item": "a"}), ("0.5", {"item": 0.5}), ("True", {"item": True})]),
        ({"list": "{{ names | map('length') | list }}"}, [("8", {"item": 8})]),
        ({"list": [{"x": 1, "y": "b"}]}, [("1-b", {"item": {"x": 1, "y": "b"}, "x": 1, "y": "b"})]),
    ],
)
def test_kinds(fanout: dict[str, Any], expected: list[tuple[str, dict[str, Any]]]) -> None:
    context = {"n": 3, "names": ["x/a.root"]}
    assert [(job.key, job.values) for job in jobs(context, **fanout)] == expected


@given(st.integers(1, 500), st.integers(1, 600), st.sampled_from(["size", "count"]))
def test_chunks_cover_everything_once(total: int, number: int, kind: str) -> None:
    made = jobs(chunks={"total": total, kind: number})
    covered = [entry for job in made for entry in range(job.values["start"], job.values["stop"])]
    assert covered == list(range(total))
    assert [job.values["chunk"] for job in made] == list(range(len(made)))
    sizes = [job.values["stop"] - job.values["start"] for job in made]
    assert max(sizes) <= number if kind == "size" else max(sizes) - min(sizes) <= 1


def test_chunks_from_variables() -> None:
    made = jobs({"events": 10}, chunks={"total": "{{ events }}", "size": "{{ events // 3 }}"})
    assert [(job.key, job.values["start"], job.values["stop"]) for job in made][-1] == ("00003", 9, 10)


@pytest.mark.parametrize("value", [0, -1, "many", "{{ none }}"])
def test_chunks_need_numbers(value: Any) -> None:
    with pytest.raises(WorkflowError, match=r"here\.chunks\.total: .* is not a whole number above 0"):
        jobs({"none": None}, chunks={"total": value, "size": 2})


def test_a_glob_is_sorted_and_relative_to_the_workflow(tmp_path: Path) -> None:
    for name in ("b.root", "a.root", "a.txt", "deep/c.root"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    context = {"workflow_folder": str(tmp_path), "ending": "root"}
    made = jobs(context, files={"glob": "*.{{ ending }}"})
    assert [job.key for job in made] == ["a", "b"]
    assert made[0].values == {"file": f"{tmp_path}/a.root", "stem": "a"}
    assert [job.key for job in jobs(files={"glob": f"{tmp_path}/**/*.root"})] == ["a", "b", "c"]


def test_several_keys_make_every_combination() -> None:
    made = jobs(runs="1-3", files="0-2", list=["u", "d"])
    assert len(made) == 8
    assert (made[0].key, made[0].values) == ("000001-00000-u", {"run": 1, "file": 0, "item": "u"})
    assert len({job.key for job in made}) == 8


@pytest.mark.parametrize(
    ("fanout", "hint"),
    [({"files": {"glob": "/nowhere/*"}}, "no file matches '/nowhere/*'"), ({"list": []}, "its list or range is empty")],
)
def test_empty(fanout: dict[str, Any], hint: str) -> None:
    with pytest.raises(WorkflowError, match="makes no job") as caught:
        jobs(**fanout)
    assert caught.value.hint == hint


@pytest.mark.parametrize("fanout", [{"list": ["a", "a"]}, {"files": ["x/a.root", "y/a.root"]}, {"files": [1, "01"]}])
def test_duplicates(fanout: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError, match="two jobs would have the same name"):
        jobs(**fanout)


@pytest.mark.parametrize(
    ("fanout", "message"),
    [
        ({"files": "5-5"}, r"here\.files: the range '5-5' is empty"),
        ({"runs": "a-b"}, r"here\.runs: 'a-b' is not a range"),
        ({"runs": ["a"]}, r"here\.runs: not a list of numbers"),
        ({"list": "{{ 5 }}"}, r"here\.list: '5' is not a list"),
        ({"files": "{{ n }}-5"}, r"here\.files: unknown variable 'n'"),
    ],
)
def test_mistakes(fanout: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        jobs(**fanout)


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("fanout", [{"files": "0-1000000"}, {"chunks": {"total": 10**9, "size": 1000}}])
def test_a_million_jobs_are_not_stored(fanout: dict[str, Any]) -> None:
    step = Step(command=["x"], fanout=Fanout.model_validate(fanout))

    def some() -> Iterator[Instance]:
        return islice(instances(step, {}, "here"), 20_000)

    # One number a job is kept, to find duplicates.
    assert peak(lambda: deque(some(), maxlen=0)) < 0.5 * peak(lambda: list(some()))
    assert peak(lambda: next(some())) < 10_000


@given(st.text(max_size=200))
def test_a_key_can_stand_in_a_path(text: str) -> None:
    key = safe_key(text)
    assert key
    assert len(key) <= 140
    assert key.strip(".")
    assert not set(key) & set("/\0 \n")
    assert safe_key(key) == key or len(key) > 120


@given(st.lists(st.text(max_size=6), unique=True))
def test_different_texts_keep_different_keys(texts: list[str]) -> None:
    assert len({safe_key(text) for text in texts}) == len(texts)


def test_names_that_wait_for_jobs() -> None:
    workflow = build(
        name="w",
        steps={
            "a": {"command": ["x"], "fanout": {"runs": "0-2", "as": "r"}, "variables": {"v": 1}},
            "b": {"command": ["x"], "fanout": {"list": [{"x": 1}, {"y": 2}], "chunks": {"total": 1, "size": 1}}},
        },
    )
    assert {"r", "v", "x", "y", "item", "chunk", "start", "stop", "iteration", "job"} <= later_names(workflow)
    assert fanout_names(None) == frozenset()
