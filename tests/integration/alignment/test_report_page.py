"""The report page in a real browser: it is drawn, in light and dark and on a phone, and nothing is complained of."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fiducial.alignment.report.page import Report, write_report
from summaries import write_series

pytestmark = pytest.mark.needs("chromium")

QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--enable-logging=stderr", "--virtual-time-budget=3000"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(write_series(folder, 5), Report(folder / "report.html", picture=folder / "demo.svg"))
    return folder / "report.html"


def browse(path: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """Open a page; what it prints and what the console says."""
    command = ["chromium", *QUIET, f"--user-data-dir={profile}", *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def photograph(path: Path, folder: Path, *options: str) -> Any:
    """Pixels (rows, columns, 3) from 0 to 1."""
    from matplotlib.image import imread

    output = folder / "page.png"
    _, console = browse(path, folder / "profile", "--window-size=1200,3000", f"--screenshot={output}", *options)
    assert not console
    return imread(output)[:, :, :3]


def added(page: Path, folder: Path, script: str) -> Path:
    """The page with one more script at its end."""
    copy = folder / "copy.html"
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>")
    copy.write_text(text, encoding="utf-8")
    return copy


def test_it_is_drawn_in_light_and_dark(page: Path, tmp_path: Path) -> None:
    light, dark = photograph(page, tmp_path), photograph(page, tmp_path, "--force-dark-mode")
    assert light[0, 0].min() > 0.95
    assert dark[0, 0].max() < 0.15
    for picture in (light, dark):
        plots = picture[500:2500]
        drawn = abs(plots - picture[0, 0]).max(axis=2) > 0.2
        assert 0.02 < drawn.mean() < 0.5
        # Orange and blue, the first and the last iteration, are both there.
        for more, less in ((0, 2), (2, 0)):
            assert ((plots[:, :, more] - plots[:, :, less]) > 0.4).sum() > 1000


def test_the_picture_is_drawn_in_light_and_dark(page: Path, tmp_path: Path) -> None:
    picture = page.with_name("demo.svg")
    light, dark = photograph(picture, tmp_path), photograph(picture, tmp_path, "--force-dark-mode")
    assert light[20, 3].min() > 0.95
    assert dark[20, 3].max() < 0.15
    assert (light[:, :, 0] < 0.5).sum() > 1000
    assert (dark[:, :, 0] > 0.5).sum() > 1000


def test_nothing_is_wider_than_a_phone(page: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer.html"
    inside = html.escape(page.read_text(encoding="utf-8"))
    measure = "document.body.dataset.width = this.contentDocument.documentElement.scrollWidth"
    frame = f'<iframe style="width:360px;height:800px" onload="{measure}" srcdoc="{inside}"></iframe>'
    outer.write_text(f'<meta charset="utf-8">{frame}', encoding="utf-8")
    shown, console = browse(outer, tmp_path / "profile", "--dump-dom")
    assert not console
    found = re.search(r'data-width="(\d+)"', shown)
    assert found
    assert int(found[1]) <= 360


def test_a_click_sorts_the_parameters(page: Path, tmp_path: Path) -> None:
    for clicks, sign in ((1, 1.0), (2, -1.0)):
        script = 'document.querySelector(".sortable th:last-child button").click();' * clicks
        shown, console = browse(added(page, tmp_path, script), tmp_path / "profile", "--dump-dom")
        assert not console
        table = shown[shown.index('class="sortable"') :]
        texts = re.findall(r"<td>([^<]*)</td></tr>", table[: table.index("</table>")])
        numbers = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts if text]
        assert len(numbers) > 200
        assert numbers == sorted(numbers, key=lambda value: sign * value)
        assert texts[len(numbers) :] == [""] * (len(texts) - len(numbers)), "parameters without a pull come last"


def test_a_complaint_would_be_noticed(page: Path, tmp_path: Path) -> None:
    for script in ("nothing.there()", "fetch('file:///etc/hostname')"):
        _, console = browse(added(page, tmp_path, script), tmp_path / "profile", "--dump-dom")
        assert console
