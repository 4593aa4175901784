"""The report page says what the summaries say, is complete in itself, and refuses what is no summary."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.report.data import read_series
from fiducial.alignment.report.page import Report, write_report
from fiducial.alignment.report.story import Note, judge, notes, number, rows, signed
from fiducial.cli import main
from fiducial.core.errors import DataError, FiducialError, NotFoundError, UsageError
from summaries import summary, write, write_series

VOID = {"meta", "link", "br", "hr", "img", "input"}
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """A page taken apart: elements by id with their text, attributes, whether all is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[tuple[str, str | None]] = []
        self.text: dict[str, str] = {}
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[list[str]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        identity = dict(attrs).get("id")
        self.ids += [identity] if identity else []
        if tag not in VOID:
            self.open.append((tag, identity))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        last, _ = self.open.pop()
        assert last == tag, f"<{last}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        for _, identity in self.open:
            if identity:
                self.text[identity] = self.text.get(identity, "") + data
        if any(tag in ("td", "th") for tag, _ in self.open):
            self.cells[-1][-1] += data


Make = Callable[..., Page]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make_page(paths: list[Path] | None = None, **settings: Any) -> Page:
        report = Report(tmp_path / "report.html", **settings)
        write_report(paths or write_series(tmp_path, 4), report)
        return Page(report.output)

    return make_page


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of four iterations that converge; drawing takes half a second, so it is made once."""
    folder = tmp_path_factory.mktemp("report")
    report = Report(folder / "report.html", times={"reconstruct": 61.5})
    write_report(write_series(folder, 4), report)
    return Page(report.output)


def changed(tmp_path: Path, iterations: int, change: Callable[[dict[str, Any]], Any]) -> list[Path]:
    """A series whose last summary is changed."""
    paths = write_series(tmp_path, iterations)
    content = json.loads(paths[-1].read_text())
    change(content)
    paths[-1].write_text(json.dumps(content))
    return paths


def levels(found: list[Note]) -> dict[str, str]:
    return {note.text: note.level for note in found}


def test_a_page_has_all_its_parts(usual: Page) -> None:
    assert not usual.open
    assert len(usual.ids) == len(set(usual.ids)), "an id stands twice"
    sections = {"verdict", "tiles", "notes", "plots", "truth", "shifts", "drops", "parameters", "about"}
    plots = {"widths", "histograms", "convergence", "chi2", "pulls", "lengths", "turns", "shifts-side-x"}
    assert sections | plots | {"shifts-module-rz", "shifts-layer-y", "shifts-layer-rx"} <= set(usual.ids)
    assert "shifts-layer-x" not in usual.ids, "nothing is free there"
    assert "reconstruct 61.5 s" in usual.text["about"]


def test_a_page_needs_nothing_else(usual: Page) -> None:
    asks = [
        (tag, name, value)
        for tag, name, value in usual.attributes
        if name in ("src", "href", "srcset", "data", "action")
        and not value.startswith(("#", "data:,", "data:image/png;base64,"))
    ]
    assert not asks
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg\")[^\s\"'<]*", usual.source)
    assert not re.findall(r"@import|url\((?!#)", usual.source)
    assert len(usual.source) < 1_000_000


def test_plots_are_well_formed_and_have_text(usual: Page) -> None:
    drawings = re.findall(r"<svg.*?</svg>", usual.source, re.DOTALL)
    assert len(drawings) == 16
    for text in drawings:
        root = ET.fromstring(text)
        words = [element.text for element in root.iter(f"{SVG}text")]
        assert len(words) > 4, "axes without numbers"
        assert root.get("aria-labelledby") in usual.ids
        assert "#0" not in text, "a stand-in for a colour is left"


def test_the_numbers_are_those_of_the_summaries(usual: Page) -> None:
    first, last = summary(1), summary(4)
    tiles = usual.text["tiles"]
    for part in (
        lambda one: one["convergence"]["max_shift_over_error"],
        lambda one: one["residuals"]["width_um"],
        lambda one: one["track_chi2_ndf"],
    ):
        assert f"{number(part(first))} → {number(part(last))}" in tiles
    assert f"{last['pulls']['width']:.2f} ±" in tiles
    assert f"mean {signed(last['pulls']['mean'], 2)} ±" in tiles
    assert "971" in tiles
    assert ["momentum out of range", "20", "20", "20", "20"] in usual.cells
    assert ["on dropped tracks", "300", "300", "300", "300"] in usual.cells
    for order in range(1, 5):
        assert f"{order:08x} → {order + 1:08x}" in usual.text["about"]


def test_the_table_has_every_parameter(usual: Page) -> None:
    table = {cells[0]: cells for cells in usual.cells if len(cells) == 11 and cells[0].isdigit() and int(cells[0]) > 9}
    summaries = [summary(order)["parameters"] for order in (1, 2, 3, 4)]
    assert set(table) == {str(row["label"]) for row in summaries[-1]}
    for one in zip(*summaries, strict=True):
        last = one[-1]
        cells = table[str(last["label"])]
        digits = 4 if last["unit"] == "rad" else 2
        assert cells[2] == last["state"]
        assert cells[4] == signed(1e3 * sum(row["shift"] for row in one), digits)
        assert cells[5] == ("" if last["state"] == "fixed" else signed(1e3 * last["error"], digits))
        assert cells[10] == ("" if last["pull"] is None else signed(last["pull"], 2))


def test_true_values_leave_the_pull_of_the_last_iteration(tmp_path: Path) -> None:
    for row in rows(read_series(write_series(tmp_path, 3))):
        if row.error is not None and row.true is not None:
            assert (row.value - row.true) / row.error == pytest.approx(row.parameter.pull)


def test_what_comes_from_outside_is_escaped(make: Make, tmp_path: Path) -> None:
    def plant(content: dict[str, Any]) -> None:
        content["fit"] |= {"verdict": 2, "message": "<script>alert('fit')</script>"}
        content["tracks"]["dropped"] = {"<img src=x onerror=alert(1)>": 5}

    page = make(changed(tmp_path / "<b>", 2, plant), title="<script>alert('title')</script> & $x$")
    assert page.source.count("<script>") == 1
    assert "<img" not in page.source
    assert "<b>/" not in page.source
    assert "<script>alert('fit')</script>" in page.text["notes"]


@pytest.mark.parametrize(
    "part", [{"key": "<b>"}, {"axis": "$\\frac$"}, {"axis": "<script>"}], ids=["key", "axis", "script"]
)
def test_what_would_get_into_a_drawing_is_refused(part: dict[str, Any], tmp_path: Path) -> None:
    paths = changed(tmp_path, 2, lambda content: content["parameters"][0].update(part))
    with pytest.raises(DataError, match=r"parameters\.0"):
        read_series(paths)


def test_verdict_good_and_bad(tmp_path: Path) -> None:
    series = read_series(write_series(tmp_path, 4))
    good = judge(series, 0.1)
    assert (good.level, good.converged, good.text) == ("good", True, "Converged after 4 iterations")
    largest = series.last.convergence.max_shift_over_error
    bad = judge(series, largest)
    assert (bad.level, bad.converged) == ("bad", False)
    assert f"{number(largest)} of its error" in bad.detail
    assert str(series.last.convergence.label) in bad.detail


def test_nothing_determined_is_not_converged(tmp_path: Path) -> None:
    none = {"max_shift_over_error": 0.0, "label": None, "determined": 0}
    verdict = judge(read_series(changed(tmp_path, 2, lambda content: content["convergence"].update(none))), 0.1)
    assert (verdict.level, verdict.converged) == ("bad", False)


@pytest.mark.parametrize(
    ("change", "words", "level"),
    [
        (lambda one: one["fit"].update(verdict=1, message="Bad day"), "The last fit: Bad day (verdict 1).", "warn"),
        (lambda one: one["fit"].update(verdict=3, message="Bad day"), "The last fit: Bad day (verdict 3).", "bad"),
        (lambda one: one["fit"]["rejects"].update(huge=3), "rejected 3 tracks, by reason: χ² huge 3", "info"),
        (lambda one: one["fit"]["rejects"].update(huge=300), "rejected 300 tracks", "warn"),
        (lambda one: one["tracks"]["dropped"].update(hits=300), "320 of 1,000 tracks (32.0 %)", "warn"),
        (lambda one: one["pulls"].update(width=1.6), "The errors are too small", "warn"),
        (lambda one: one["pulls"].update(width=0.5), "The errors are too large", "warn"),
        (lambda one: one["pulls"].update(mean=-0.9), "a mean of \N{MINUS SIGN}0.90", "warn"),
        (lambda one: one["parameters"][1].update(pull=-7.0), "1 pull beyond ±4:", "warn"),
        (lambda one: one["residuals"].update(width_um=99.0), "Residuals have become wider", "bad"),
        (lambda one: one["constants"]["before"].update(adler32="dead"), "Iteration 3 did not begin with", "bad"),
        (lambda one: one.update(pulls=None), "The truth is not known", "info"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(
    change: Callable[[dict[str, Any]], Any], words: str, level: str, tmp_path: Path
) -> None:
    series = read_series(changed(tmp_path, 3, change))
    said = [note for note in notes(series) if words in note.text]
    assert [note.level for note in said] == [level]
    if judge(series, 0.2).converged:
        assert judge(series, 0.2).level == ("good" if level == "info" else "warn")


def test_usual_remarks_are_no_warnings(tmp_path: Path) -> None:
    found = notes(read_series(write_series(tmp_path, 4)))
    assert {note.level for note in found} == {"info"}
    assert any("Iteration 1: Ended with warnings" in note.text for note in found)
    weak = next(note for note in found if "weak" in note.text)
    assert weak.text.startswith("9 parameters are weak")
    assert weak.names[0] == "203: layer 10 rx"


def test_of_many_names_the_worst_are_said(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        free = [row for row in content["parameters"] if row["state"] == "determined"]
        for order, row in enumerate(free[:30]):
            row["pull"] = -5.0 - order

    found = notes(read_series(changed(tmp_path, 2, spoil)))
    names = next(note.names for note in found if "30 pulls beyond" in note.text)
    assert names[0].endswith("(\N{MINUS SIGN}34.0)")
    assert names[20:] == ["and 10 more in the table"]


def test_without_truth_nothing_is_said_of_it(make: Make, tmp_path: Path) -> None:
    page = make(write_series(tmp_path, 3, truth=False))
    assert "truth" not in page.ids
    assert "Pull" not in page.text["tiles"]
    assert next(cells[:3] for cells in page.cells if cells[:1] == ["label"]) == ["label", "parameter", "state"]
    assert not any("pull" in cells for cells in page.cells)


@pytest.mark.parametrize("iterations", [1, 2, 15])
def test_any_number_of_iterations(iterations: int, make: Make, tmp_path: Path) -> None:
    page = make(write_series(tmp_path, iterations, stations=4))
    assert f"after {iterations} iteration" in page.text["verdict"]
    assert ("→" in page.text["tiles"]) == (iterations > 1)


def test_a_summary_without_anything(make: Make, tmp_path: Path) -> None:
    def empty(content: dict[str, Any]) -> None:
        content["parameters"] = []
        content["residuals"] |= {"hits": 0, "width_um": 0.0, "mean_um": 0.0, "layers": []}
        content["residuals"]["histogram"] |= {"counts": [0] * 80, "outside": 0}
        content["convergence"] |= {"max_shift_over_error": 0.0, "label": None, "determined": 0, "weak": []}
        content["pulls"] |= {"mean": 0.0, "width": 0.0, "parameters": 0}

    page = make(changed(tmp_path, 1, empty))
    assert "Nothing was aligned" in page.text["verdict"]


def test_constants_tell_the_order(tmp_path: Path) -> None:
    paths = write_series(tmp_path, 11)
    series = read_series(sorted(paths, key=str))
    assert [reading.path for reading in series.readings] == paths
    assert series.breaks == []


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    good = summary(1)
    text = json.dumps(good)
    cases: dict[str, tuple[str | bytes, str]] = {
        "empty": ("", "no JSON"),
        "cut": (text[: len(text) // 2], "only a part"),
        "binary": (b"\xff\xfe\x00", "no JSON"),
        "list": ("[1]", "no summary of an alignment"),
        "foreign": ('{"chi2": 1}', "no summary of an alignment"),
        "later": (json.dumps({**good, "version": 2}), "version 2; this program reads version 1"),
        "lacking": (json.dumps({**good, "fit": {}}), r"fit\.verdict: Field required \(and 3 more\)"),
        "nan": (text.replace('"track_chi2_ndf": 4.6', '"track_chi2_ndf": NaN'), "track_chi2_ndf"),
        "bins": (json.dumps({**good, "residuals": {**good["residuals"], "histogram": {
            "edges_um": [0.0, 1.0], "counts": [], "outside": 0}}}), "do not enclose"),
    }  # fmt: skip
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=message) as error:
            write_report([path], Report(tmp_path / "report.html"))
        assert str(path) in error.value.message
    assert not (tmp_path / "report.html").exists()


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a", summary(1)), write(tmp_path / "b", summary(2, stations=4))
    with pytest.raises(DataError, match="of 4 stations"):
        read_series([one, two])
    with pytest.raises(UsageError, match="given twice"):
        read_series([one, tmp_path / "b" / ".." / "a" / "summary.json"])
    with pytest.raises(NotFoundError, match="does not exist"):
        read_series([tmp_path / "none.json"])
    with pytest.raises(DataError, match="cannot be read"):
        read_series([tmp_path])
    with pytest.raises(UsageError, match="no summary"):
        read_series([])


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    path = write(tmp_path, summary(1))
    wrong = [
        Report(path),
        Report(tmp_path / "a.html", picture=path),
        Report(tmp_path / "a.svg", picture=tmp_path / "a.svg"),
        Report(tmp_path / "a.html", picture=tmp_path / "a.jpg"),
        Report(tmp_path / "a.html", threshold=0.0),
    ]
    for report in wrong:
        with pytest.raises(UsageError):
            write_report([path], report)
    assert [one.name for one in tmp_path.iterdir()] == ["summary.json"]


def test_a_page_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, summary(1))
    output = tmp_path / "report.html"
    output.write_text("old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises((OSError, FiducialError)):
        write_report([path], Report(output))
    assert output.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "summary.json"]


def test_picture_as_svg(tmp_path: Path) -> None:
    write_report(write_series(tmp_path, 3), Report(tmp_path / "r.html", picture=tmp_path / "new" / "demo.svg"))
    text = (tmp_path / "new" / "demo.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.get("viewBox")
    assert "prefers-color-scheme:dark" in text
    assert "var(" not in text
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    assert len(text) < 200_000


def test_picture_as_png(tmp_path: Path) -> None:
    write_report(write_series(tmp_path, 2), Report(tmp_path / "r.html", picture=tmp_path / "demo.png"))
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_are_written_as_people_write_them() -> None:
    values = (0.0, 0.0678, 1.0, 42.45, 999.0, 12345.6, -3.14159, 1e-5, 1e9)
    texts = ["0.00", "0.0678", "1.00", "42.5", "999", "12,346", "\N{MINUS SIGN}3.14", "<0.001", "1.00e+09"]
    assert [number(value) for value in values] == texts
    assert signed(-0.001, 2) == "0.00"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in write_series(tmp_path, 4)]
    output = str(tmp_path / "report.html")
    with pytest.raises(SystemExit) as stop:
        main.main(["alignment", "report", *paths, "--output", output, "--title", "Run 11705", "--json"])
    assert stop.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["output"] == output
    assert said["converged"] is True
    assert said["pull_width"] == summary(4)["pulls"]["width"]
    assert "<h1>Run 11705</h1>" in Path(output).read_text(encoding="utf-8")
