"""``fiducial job``: naming jobs, looking at them, changing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from campaigns import Stage, fan, step
from fiducial.cli.job import _start_of_last

FAILED = "align/reco/02/00451"


def states(stage: Stage) -> dict[int, str]:
    with stage.database.read() as connection:
        return {row.id: row.state for row in connection.execute(text("SELECT id, state FROM jobs"))}


def names(said: Any) -> list[str]:
    return [job["name"] for job in said.json]


# ---------------------------------------------------------------- list


def test_list(align: Stage, say: Any) -> None:
    said = say("job", "list", "align")
    assert said.lines[0] == "number job state attempts host wall time memory cause"
    assert said.lines[1] == "1 align/reco/01/00450 done 1 node1 1.0 s"
    assert f"8 {FAILED} failed 2 node1 1.0 s the payload ended with exit code 3" in said.lines
    assert "6 align/report/all waiting" in said.lines


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ([], 11),
        (["--state", "failed"], 1),
        (["--state", "failed", "--state", "ready"], 3),
        (["--step", "reco"], 8),
        (["--step", "reco", "--iteration", "2"], 4),
        (["--iteration", "0"], 1),
        (["--limit", "3"], 3),
        (["--state", "lost"], 0),
    ],
)
def test_list_narrowed(options: list[str], count: int, align: Stage, say: Any) -> None:
    assert len(names(say("job", "list", "align", "--json", *options))) == count


def test_list_in_pages(align: Stage, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = names(say("job", "list", "align", "--json"))
    assert len(whole) == 11
    for size in (1, 3, 11):
        monkeypatch.setattr("fiducial.cli.job._PAGE", size)
        assert names(say("job", "list", "align", "--json")) == whole
        assert names(say("job", "list", "align", "--json", "--limit", "5")) == whole[:5]


def test_list_says_when_there_are_more(stage: Stage, say: Any) -> None:
    stage.create({"a": step(fanout=fan(101))})
    said = say("job", "list", "w")
    assert len(said.lines) == 101
    assert said.err == "there are more: --limit lists more than 100\n"
    assert say("job", "list", "w", "--limit", "101").err == ""


def test_a_state_that_there_is_not(align: Stage, say: Any) -> None:
    assert say("job", "list", "align", "--state", "broken").code == 2


def test_a_step_that_there_is_not(align: Stage, say: Any) -> None:
    said = say("job", "list", "align", "--step", "rec")
    assert (said.code, said.err) == (4, "error: campaign 'align' has no step 'rec'\nhint: did you mean 'reco'?\n")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("8", 1),
        ("align", 11),
        ("align/reco", 8),
        ("align/reco/", 8),
        ("align/reco/00451", 2),
        ("align/reco/02/00451", 1),
        ("align/reco/2/00451", 1),
        ("align/reco/2/451", 1),
        ("align/reco/451", 2),
        ("align/reco/02/*", 4),
        ("align/reco/*/0045[01]", 4),
        ("align/*/02/*", 5),
        ("align/re*/all", 1),
        ("align/report/all", 1),
        ("align/report/00/all", 1),
        ("1/fit/01/all", 1),
    ],
)
def test_how_jobs_are_named(word: str, count: int, align: Stage, say: Any) -> None:
    said = say("job", "hold", word, "--dry-run")
    possible = say("job", "kill", word, "--dry-run")
    assert (said.code, possible.code) == (0, 0)
    from fiducial.cli.choose import choose

    with align.database.read() as connection:
        (chosen,) = choose(connection, [word])
    assert len(chosen.jobs) == count


def test_a_job_named_twice_is_one(align: Stage, say: Any) -> None:
    assert "would retry 1 job of campaign align: 00451\n" in say("job", "retry", "8", FAILED, "align", "--dry-run").out


def test_underscores_in_patterns_are_themselves(stage: Stage, say: Any) -> None:
    stage.create({"a": step(fanout={"list": ["k_1", "kx1"]})})
    assert "1 job of campaign w: k_1" in say("job", "hold", "w/a/k_*", "--dry-run").out


def test_capitals_matter(stage: Stage, say: Any) -> None:
    stage.create({"a": step(fanout={"list": ["a", "A", "ab"]})})
    assert "2 jobs of campaign w: a, ab" in say("job", "hold", "w/a/a*", "--dry-run").out


@pytest.mark.parametrize(
    ("word", "error", "hint"),
    [
        ("align/reco/02/00541", "there is no job 'align/reco/02/00541'", "did you mean 'align/reco/02/00451'?"),
        ("align/reco/02/x*", "there is no job 'align/reco/02/x*'", "keys there: 00450, 00451, 00452, …"),
        ("align/recon/02/00451", "campaign 'align' has no step 'recon'", "did you mean 'reco'?"),
        ("align/reco/07/00451", "step 'reco' of campaign 'align' has no iteration '07'", "it has 01, 02"),
        ("align/report/01/all", "step 'report' of campaign 'align' has no iteration '01'", "align/report/KEY"),
        ("algin/reco", "there is no campaign 'algin'", "did you mean 'align'?"),
        ("99", "there is no job 99", "fiducial job list"),
    ],
)
def test_what_is_not_there(word: str, error: str, hint: str, align: Stage, say: Any) -> None:
    said = say("job", "show", word)
    assert said.code == 4
    assert error in said.err
    assert hint in said.err


@pytest.mark.parametrize("word", ["a/b/c/d/e", "align//x", "align/reco"])
def test_what_names_no_single_job(word: str, align: Stage, say: Any) -> None:
    assert say("job", "show", word).code == 2


# ---------------------------------------------------------------- show and log


def test_show(align: Stage, say: Any) -> None:
    said = say("job", "show", FAILED)
    assert said.lines[0] == f"job 8: {FAILED}: failed"
    assert "cause the payload ended with exit code 3" in said.lines
    assert "values file = 451" in said.lines
    assert "2 failed exit 3 node1 1.0 s 500 ms the payload ended with exit code 3" in said.lines


def test_show_tells_who_changed_what(align: Stage, say: Any) -> None:
    from fiducial.ledger.agents import insert_agent

    row = {"id": "agent", "site": "local", "host": "node7", "pid": 42, "started": 1.0, "seen": 1.0}
    with align.database.write() as connection:
        insert_agent(connection, row)
    say("job", "retry", FAILED)
    history = say("job", "show", FAILED, "--json").json["history"]
    assert [change["state"] for change in history] == [
        *("submitted", "running", "ready", "submitted", "running", "failed"),
        "ready",
    ]
    assert history[0]["who"] == "agent at local (process 42 on node7)"
    assert history[-1]["why"] == "asked for"


def test_show_what_was_published(align: Stage, say: Any) -> None:
    assert say("job", "show", "1", "--json").json["artifacts"] == [
        {"name": "0", "path": "/data/r", "size": 7, "adler32": "0badcafe"}
    ]
    assert "0 7 0badcafe /data/r" in say("job", "show", "1").lines


def test_show_one_that_was_not_tried(align: Stage, say: Any) -> None:
    assert "not tried yet" in say("job", "show", "align/report/all").out


def test_show_the_spec(align: Stage, say: Any) -> None:
    spec = say("job", "show", FAILED, "--spec").json
    assert (spec["name"], spec["attempt"], spec["argv"]) == (FAILED, 2, ["true"])
    assert spec["outputs"][0]["path"] == str(align.folder / "align" / "r_2_451")


def test_log(align: Stage, say: Any) -> None:
    first, last = (Path(say("job", "log", FAILED, "--path", "--attempt", n).out.strip()) for n in (1, 2))
    assert first == align.folder / "align/.fiducial/reco/02/00451.1/log.txt"
    for file in (first, last):
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"line {n} of {file.parent.name}\n" for n in range(1000)))
    assert say("job", "log", FAILED).out == last.read_text()
    assert say("job", "log", FAILED, "--attempt", "1").out == first.read_text()
    assert say("job", "log", FAILED, "--lines", "2").out == "line 998 of 00451.2\nline 999 of 00451.2\n"
    assert str(last) in say("job", "show", FAILED, "--json").json["files"]


@pytest.mark.parametrize("text", [b"", b"a", b"a\n", b"a\nb", b"a\nb\n", b"\n\n\n", b"x" * 200_000 + b"\ny\n"])
@pytest.mark.parametrize("lines", [1, 2, 5])
def test_the_last_lines_of_a_file(text: bytes, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(text)
    with file.open("rb") as opened:
        start = _start_of_last(opened, lines)
    assert text[start:] == b"".join(text.splitlines(keepends=True)[-lines:])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("align/report/all",), "has not been tried yet"),
        ((FAILED, "--attempt", "3"), "has no attempt 3"),
        ((FAILED,), "there is no log"),
    ],
)
def test_a_log_that_is_not_there(words: tuple[str, ...], error: str, align: Stage, say: Any) -> None:
    said = say("job", "log", *words)
    assert said.code == 4
    assert error in said.err
    assert "hint: " in said.err


# ---------------------------------------------------------------- changing


def test_retry(align: Stage, say: Any) -> None:
    said = say("job", "retry", FAILED)
    assert said.out == "1 job of campaign align will run again; to run them: fiducial campaign resume align\n"
    assert states(align)[8] == "ready"


def test_hold_and_release(align: Stage, say: Any) -> None:
    assert say("job", "hold", "align/reco/02/*").out == "2 jobs of campaign align held\n"
    assert [states(align)[number] for number in (7, 8, 9, 10)] == ["done", "failed", "held", "held"]
    assert say("job", "release", "align/reco/02/00452").out.startswith("1 job of campaign align released; to run them:")
    assert [states(align)[number] for number in (9, 10)] == ["ready", "held"]


def test_kill(align: Stage, say: Any) -> None:
    assert say("job", "kill", "align/reco", "--state", "ready").out == "2 jobs of campaign align ended\n"
    assert [states(align)[number] for number in (9, 10)] == ["killed", "killed"]


def test_kill_what_a_dead_engine_has_left_and_nothing_else(align: Stage, say: Any) -> None:
    align.lease(align.scheduler._campaigns[1], 2)
    said = say("job", "kill", "9")
    assert "no engine runs; what an earlier one had left of 1 attempt is stopped" in said.out
    assert [states(align)[number] for number in (9, 10)] == ["killed", "submitted"]


def test_nothing_fits(align: Stage, say: Any) -> None:
    said = say("job", "retry", "1")
    assert said.code == 0
    assert said.out.startswith("nothing to retry: only jobs that are failed, killed, skipped, held can be")
    assert states(align)[1] == "done"


@pytest.mark.parametrize(("verb", "state"), [("retry", "ready"), ("kill", "done"), ("hold", "failed")])
def test_states_that_do_not_fit_are_refused(verb: str, state: str, align: Stage, say: Any) -> None:
    assert say("job", verb, "align", "--state", state).code == 2


def test_jobs_of_several_campaigns(align: Stage, say: Any) -> None:
    align.create({"a": step()}, name="other")
    said = say("job", "hold", "align/reco/02/00452", "other/a")
    assert said.out == "1 job of campaign align held\n1 job of campaign other held\n"
