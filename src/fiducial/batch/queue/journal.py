"""The folder of each submission: written before the batch system is told, so that whoever comes later knows of it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fiducial.batch.backend import JobSpec, key_of
from fiducial.batch.queue.system import Bundle, Request
from fiducial.batch.site import Site
from fiducial.runner import runner
from fiducial.storage.replace import replace_text

__all__ = ["Journal"]

_FORMAT = 1
_START = """\
#!/bin/bash
# Starts one job of this submission; the batch system gives the job's place.
exec {python} {runner} --queued {folder} "$1"
"""


class Journal:
    """The submissions of one campaign at one site.

    Args:
        folder: in which each submission gets a folder of its own; nodes must see it.
        site: whose they are.
    """

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self._site = site

    def write(self, specs: Sequence[JobSpec], request: Request, title: str) -> Bundle:
        """Write all that a submission needs; from now on it is known, whether or not the batch system hears of it."""
        token = f"fd{secrets.token_hex(7)}"
        folder = self.folder / token
        keys, directories = tuple(map(key_of, specs)), tuple(Path(spec["directory"]) for spec in specs)
        bundle = Bundle(token, title, folder, keys, directories, request, specs[0]["ledger"])
        for name in ("begun", "ended", "logs"):
            (folder / name).mkdir(parents=True)
        shutil.copyfile(runner.__file__, folder / "runner.py")
        self._write_start(bundle)
        self._write_jobs(folder, specs)
        replace_text(folder / "bundle.json", json.dumps(self._content(bundle)))
        return bundle

    def _write_jobs(self, folder: Path, specs: Sequence[JobSpec]) -> None:
        """One file for all where nodes can read it, for many small ones take long on network file systems."""
        dump = json.JSONEncoder(ensure_ascii=True).encode
        lines = (dump(self._site.placed(spec)) for spec in specs)
        if not self._site.shared:
            (folder / "jobs").mkdir()
            for place, line in enumerate(lines, 1):
                (folder / "jobs" / f"{place}.json").write_text(line, "ascii")
            return
        offset, width = 0, runner.INDEX_WIDTH - 1
        with (folder / "jobs.jsonl").open("w", encoding="ascii") as jobs, (folder / "jobs.index").open("w") as index:
            for line in lines:
                index.write(f"{offset:<{width}}\n")
                offset += jobs.write(f"{line}\n")

    def _write_start(self, bundle: Bundle) -> None:
        words = {"python": self._site.python, "runner": bundle.folder / "runner.py", "folder": bundle.folder}
        bundle.start.write_text(
            _START.format(**{name: shlex.quote(str(word)) for name, word in words.items()}), "utf-8"
        )
        bundle.start.chmod(0o755)

    @staticmethod
    def _content(bundle: Bundle) -> dict[str, Any]:
        request = bundle.request
        return {
            "format": _FORMAT,
            "title": bundle.title,
            "ledger": bundle.ledger,
            "keys": bundle.keys,
            "directories": [str(directory) for directory in bundle.directories],
            "step": request.step,
            "cpus": request.cpus,
            "memory": request.memory,
            "walltime": request.walltime,
            "disk": request.disk,
            "cputime": request.cputime,
        }

    @staticmethod
    def accepted(bundle: Bundle, native: str) -> Bundle:
        """Note the name that a submission has got in the batch system."""
        replace_text(bundle.folder / "native", native)
        return replace(bundle, native=native)

    def bundles(self) -> Iterator[Bundle]:
        """All submissions that are not over; what was never written to its end was never submitted, and is removed."""
        with suppress(FileNotFoundError):
            for folder in sorted(self.folder.iterdir()):
                bundle = self._read(folder)
                if bundle is not None:
                    yield bundle

    def _read(self, folder: Path) -> Bundle | None:
        try:
            found = json.loads((folder / "bundle.json").read_bytes())
        except FileNotFoundError:
            if folder.name.startswith("fd"):
                shutil.rmtree(folder, ignore_errors=True)
            return None
        wishes = self._site.wishes(found["step"])
        asked = {name: found[name] for name in ("step", "cpus", "memory", "walltime", "disk", "cputime")}
        request = Request(**asked, wishes=wishes)
        native = ""
        with suppress(FileNotFoundError):
            native = (folder / "native").read_text("utf-8")
        return Bundle(
            folder.name,
            found["title"],
            folder,
            tuple((job, attempt) for job, attempt in found["keys"]),
            tuple(map(Path, found["directories"])),
            request,
            found["ledger"],
            native,
        )

    @staticmethod
    def remove(bundle: Bundle) -> None:
        """Forget a submission that is over."""
        with suppress(FileNotFoundError):
            (bundle.folder / "bundle.json").unlink()  # first: a folder without it is no submission
        shutil.rmtree(bundle.folder, ignore_errors=True)

    @staticmethod
    def marks(bundle: Bundle, kind: str) -> list[int]:
        """Indices of jobs that have left a mark (``begun`` or ``ended``) since this was last asked."""
        folder = bundle.folder / kind
        found = []
        with suppress(FileNotFoundError):
            for name in os.listdir(folder):  # noqa: PTH208 - a path object for each of many thousands takes long
                if name.isdigit():
                    found.append(int(name))
                    (folder / name).unlink(missing_ok=True)
        return found
