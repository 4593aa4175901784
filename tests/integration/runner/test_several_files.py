"""An output that is several files, whose names only the payload knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def published(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["key"], entry["path"]) for entry in result["outputs"]]


def test_what_matches_is_published_below_the_folder(job: Any) -> None:
    one = job.output()
    folder = job.output(name=".", path=job.folder / "final" / "all", files=["*/m*.txt", "*.txt"])
    made = "mkdir -p a b/c; echo 1 > out; echo 2 > top.txt; echo 34 > a/m1.txt; echo 5 > a/n.txt; echo 6 > b/c/m2.txt"
    result = job.payload(made).run()
    assert result["state"] == "done", result["message"]
    several = [(f"out/{name}", str(folder / name)) for name in ("a/m1.txt", "top.txt")]
    assert published(result) == [("out", str(one)), *several]
    assert [entry["size"] for entry in result["outputs"]] == [2, 3, 2]
    assert (folder / "a" / "m1.txt").read_text() == "34\n"
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "m1.txt", "top.txt"]


def test_a_file_with_a_name_of_its_own_is_not_taken_twice(job: Any) -> None:
    job.output(name=".", path=job.folder / "all", files=["*"])
    job.output()
    result = job.payload("echo 1 > out; echo 2 > other").run()
    assert sorted(key for key, _ in published(result)) == ["out", "out/other"]


def test_links_lead_nowhere(job: Any) -> None:
    """Inputs are links into the scratch folder: they stay where they are, also behind a link to a folder."""
    data = job.folder / "data"
    data.mkdir()
    (data / "m.txt").write_text("precious")
    job.spec["inputs"] = [
        {"path": str(place), "name": name} for place, name in ((data, "a"), (data / "m.txt", "m.txt"))
    ]
    job.output(name=".", path=job.folder / "all", files=["**/m.txt", "*.txt"], optional=True)
    result = job.payload("true").run()
    assert (result["state"], result["outputs"]) == ("done", [])
    assert (data / "m.txt").read_text() == "precious"


def test_none_or_a_small_one_is_a_failure(job: Any) -> None:
    job.output(name=".", path=job.folder / "all", files=["*.txt", "*.png"], min_size=3)
    result = job.payload("echo 1 > a.text").run()
    assert (result["cause"], result["message"]) == ("output", "no file *.txt or *.png was written")
    job.spec["attempt"], job.spec["directory"] = 3, str(job.folder / "attempts" / "7.3")
    job.directory = Path(job.spec["directory"])
    result = job.payload("echo 123 > a.txt; echo > b.txt").run()
    assert result["message"] == "output b.txt has 1 bytes, less than 3"
    assert not (job.folder / "all").exists()


def test_a_pattern_stays_inside(job: Any) -> None:
    job.output(name=".", path=job.folder / "all", files=["../*"])
    assert job.payload("true").run()["cause"] == "spec"
