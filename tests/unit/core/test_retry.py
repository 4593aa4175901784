"""What follows a failure, by its cause."""

from __future__ import annotations

from typing import Any

import pytest

from fiducial.core.retry import decide
from fiducial.core.states import JobState
from fiducial.core.workflow import Step

GIB = 2**30


def step(**retry: Any) -> Step:
    resources = {"memory": "2 GB", "walltime": "1h"}
    return Step.model_validate({"command": ["true"], "resources": resources, "retry": retry})


def test_out_of_memory_gets_more_up_to_the_cap() -> None:
    policy = step(max=9, memory_max="7 GB")
    asked = []
    memory, retries = None, {}
    while (choice := decide(policy, "memory", None, retries, memory)).state is JobState.READY:
        asked.append(choice.memory)
        memory, retries = choice.memory, dict(choice.retries)
    assert asked == [4 * GIB, 7 * GIB]


def test_a_cap_below_the_first_request_never_asks_for_less() -> None:
    assert decide(step(memory_max="1 GB"), "memory", None, {}).state is JobState.FAILED
    assert decide(step(walltime_max="1min"), "wall_time", None, {}).state is JobState.FAILED


def test_out_of_time_gets_longer() -> None:
    assert decide(step(), "wall_time", None, {}).walltime == 7200.0


@pytest.mark.parametrize("cause", ["input", "spec", "start", "cpu_time"])
def test_what_no_retry_mends_is_not_tried_again(cause: str) -> None:
    assert decide(step(max=5), cause, None, {}).state is JobState.FAILED
    assert decide(step(by_cause={cause: 1}), cause, None, {}).state is JobState.READY


def test_final_exit_codes_are_final() -> None:
    policy = step(final_exit_codes=[3])
    assert decide(policy, "exit", 3, {}).state is JobState.FAILED
    assert decide(policy, "exit", 1, {}).state is JobState.READY


def test_causes_are_counted_apart_and_the_delay_doubles() -> None:
    policy = step(max=2, delay="10s")
    first = decide(policy, "exit", 1, {"memory": 2})
    second = decide(policy, "exit", 1, first.retries)
    assert (first.delay, second.delay) == (10.0, 20.0)
    assert decide(policy, "exit", 1, second.retries).state is JobState.FAILED
    assert decide(policy, "signal", None, second.retries).state is JobState.READY
