"""Jobs on nodes that see none of our folders: packed here, run elsewhere, delivered here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fiducial.batch.htcondor.carry import deliver, pack
from fiducial.batch.htcondor.render import BACK
from fiducial.batch.htcondor.site import HTCondorSite
from fiducial.batch.kinds import read_site
from fiducial.batch.queue.journal import Journal
from fiducial.batch.queue.requests import kinds_of
from fiducial.batch.queue.system import Bundle
from fiducial.core.errors import BackendError


class Trip:
    """One job, from its submission over a node to its attempt's directory."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "my home"
        self.node = folder / "node"
        self.home.mkdir()
        self.directory = self.home / "attempts" / "7.1"
        self.spec: dict[str, Any] = {
            "format": 1,
            "ledger": "l",
            "job": 7,
            "attempt": 1,
            "name": "camp/reco/01/00007",
            "directory": str(self.directory),
            "inputs": [],
            "outputs": [],
        }
        self.bundle: Bundle

    def script(self, text: str, **more: Any) -> Trip:
        self.spec.update(script=text, **more)
        return self

    def input(self, name: str, text: str, link: str | None = None) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.spec["inputs"].append({"path": str(path), "name": link, "size": len(text), "adler32": None})
        return path

    def output(self, name: str, **more: Any) -> Path:
        path = self.home / "out" / name
        local = more.pop("local", path.name)
        self.spec["outputs"].append({"key": name, "path": str(path), "name": local, "min_size": 0, **more})
        return path

    def go(self) -> None:
        """Submit, run, and bring back what a batch system would, with all of home out of sight."""
        site = read_site("farm", {"backend": "htcondor", "mode": "transfer", "python": sys.executable}, "test")
        assert isinstance(site, HTCondorSite)
        [(request, specs)] = kinds_of([self.spec], site)
        self.bundle = Journal(self.home / "queue", site).write(specs, request, "camp.reco.01")
        [names] = pack(self.bundle, site.python, by_path=False)
        self.node.mkdir()
        for name in names:
            shutil.copy(self.bundle.folder / name, self.node)
        shutil.copy(self.bundle.folder / "carry", self.node / "exe")
        hidden = self.home.with_name("hidden")
        self.home.rename(hidden)
        try:
            self.code = subprocess.run([self.node / "exe", "1"], cwd=self.node, env={"PATH": os.defpath}).returncode
        finally:
            hidden.rename(self.home)
        shutil.copytree(self.node / "attempt", self.arrived, symlinks=True)

    @property
    def arrived(self) -> Path:
        return self.bundle.folder / BACK / "1" / "attempt"

    def deliver(self) -> bool:
        return deliver(self.bundle, 1, self.arrived)

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found


@pytest.fixture
def trip(tmp_path: Path) -> Trip:
    return Trip(tmp_path)


def test_inputs_go_and_outputs_come(trip: Trip) -> None:
    raw = trip.input("raw/run 1.raw", "seen", link=None)
    trip.input("other/run 1.raw", "linked", link="linked.raw")
    plain, direct = trip.output("plain ü.txt"), trip.output("direct.txt", local=None)
    trip.script(f"""
        test "$PWD" = "$FIDUCIAL_SCRATCH"
        cat linked.raw "{raw}" > "plain ü.txt"
        basename "{raw}" > '{direct}'
        echo '{{"chi2": 1.5}}' > "$FIDUCIAL_METRICS"
    """).go()
    assert trip.code == 0
    assert not plain.exists()
    assert trip.deliver()
    assert (trip.result["state"], trip.result["metrics"]) == ("done", {"chi2": 1.5})
    assert plain.read_text() == "linkedseen"
    assert direct.read_text() == "run 1.raw\n"
    assert [each["path"] for each in trip.result["outputs"]] == [str(plain), str(direct)]
    assert not (trip.directory / "scratch").exists()


def test_several_files_of_one_output(trip: Trip) -> None:
    folder = trip.output("plots", local=".", files=["*.png"])
    trip.script("echo 1 > a.png; echo 2 > b.png; echo 3 > c.txt").go()
    trip.deliver()
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png"]


def test_paths_are_replaced_whole_and_everywhere(trip: Trip) -> None:
    raw = trip.input("raw/run1", "seen")
    out = trip.output("said.txt", check=["test", "-s"])
    words = ["cat", str(raw), f"--x={raw}", f"{raw}0", f"{raw}.bak", f"root://host/{raw}"]
    program = "import sys; open('said.txt', 'w').write('\\n'.join(sys.argv[1:]))"
    trip.spec.update(argv=[sys.executable, "-c", program, *words])
    trip.go()
    trip.deliver()
    _, first, second, *others = out.read_text().splitlines()
    assert first.startswith(str(trip.node))
    assert first.endswith("/run1")
    assert second == f"--x={first}"
    assert others == words[3:]


def test_the_environment_script_and_the_file_of_a_callable_go_along(trip: Trip) -> None:
    setup = trip.home / "set up.sh"
    setup.write_text("export GREETING=hello\n")
    module = trip.home / "my module.py"
    module.write_text("import os\ndef greet(path):\n    open(path, 'w').write(os.environ['GREETING'])\n")
    out = trip.output("greeting.txt", local=None)
    trip.spec.update(
        environment_script=str(setup), call=f"{module}:greet", kwargs={"path": str(out)}, python="/not/on/the/node"
    )
    trip.go()
    trip.deliver()
    assert trip.result["state"] == "done", (trip.directory / "log.txt").read_text()
    assert out.read_text() == "hello"


def test_a_failure_brings_its_log_and_its_scratch(trip: Trip) -> None:
    trip.script("echo said; echo left > left.txt; exit 3", keep_scratch="failure").go()
    assert trip.deliver()
    assert (trip.result["cause"], trip.result["exit_code"]) == ("exit", 3)
    assert "said" in (trip.directory / "log.txt").read_text()
    assert (trip.directory / "scratch" / "left.txt").read_text() == "left\n"


def test_a_node_without_python_still_sends_something(trip: Trip) -> None:
    trip.script("true").go()
    shutil.rmtree(trip.node)
    trip.node.mkdir()
    script = (trip.bundle.folder / "carry").read_text().replace(sys.executable, "/no/python")
    done = subprocess.run(["bash", "-c", script], cwd=trip.node, stderr=subprocess.DEVNULL)
    assert done.returncode == 127
    assert (trip.node / "attempt").is_dir()


# ------------------------------------------------------------------------------------------------------- coming home


def test_delivery_is_repeated_without_harm_wherever_it_was_cut(trip: Trip, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = [trip.output(f"{n}.txt") for n in range(3)]
    trip.script("for n in 0 1 2; do echo $n > $n.txt; done").go()
    real: Callable[..., Any] = shutil.move
    for allowed in (0, 1):
        left = [allowed]

        def moves(source: Any, target: Any, left: list[int] = left) -> Any:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "move", moves)
            with pytest.raises(KeyboardInterrupt):
                trip.deliver()
        assert not trip.directory.exists()
    assert trip.deliver()
    assert [out.read_text() for out in outs] == ["0\n", "1\n", "2\n"]
    assert trip.result["state"] == "done"
    assert not trip.deliver()


@pytest.mark.parametrize("damage", [b"wrong", b"longer than it was", None])
def test_an_output_that_was_damaged_on_its_way_is_a_failure(trip: Trip, damage: bytes | None) -> None:
    good, bad = trip.output("good.txt"), trip.output("bad.txt")
    trip.script("echo good > good.txt; printf right > bad.txt").go()
    file = trip.arrived / "files" / "1"
    file.unlink() if damage is None else file.write_bytes(damage)
    assert trip.deliver()
    assert (trip.result["state"], trip.result["cause"]) == ("failed", "output")
    assert "bad.txt has not come back" in trip.result["message"]
    assert not good.exists()
    assert not bad.exists()


@pytest.mark.parametrize("path", ["{home}/elsewhere", "{home}/out/plots/../../elsewhere", "/etc/elsewhere"])
def test_a_node_cannot_publish_what_it_was_not_told_to(trip: Trip, path: str) -> None:
    trip.output("plots", local=".", files=["*.png"])
    trip.script("echo 1 > a.png").go()
    result = json.loads((trip.arrived / "result.json").read_text())
    result["outputs"][0]["path"] = path.format(home=trip.home)
    (trip.arrived / "result.json").write_text(json.dumps(result))
    assert trip.deliver()
    assert "was not to make" in trip.result["message"]
    assert not (trip.home / "elsewhere").exists()


def test_what_comes_back_for_a_revoked_attempt_is_not_published(trip: Trip) -> None:
    out = trip.output("out.txt")
    trip.script("echo late > out.txt").go()
    trip.directory.mkdir(parents=True)
    (trip.directory / "revoked").touch()
    assert not trip.deliver()
    assert not out.exists()


def test_nothing_came(trip: Trip) -> None:
    trip.script("true").go()
    shutil.rmtree(trip.arrived)
    assert not trip.deliver()


def test_two_inputs_of_one_name_cannot_go_by_path(trip: Trip) -> None:
    trip.input("a/raw", "1")
    trip.input("b/raw", "2")
    trip.script("true").go()
    with pytest.raises(BackendError, match="same name"):
        pack(trip.bundle, "python3", by_path=True)
