"""Folders as FASER's older scripts left them, of every era; made of files that are handed in.

=====  ==============================================================  ================================================
era    programs                                                        their folders
=====  ==============================================================  ================================================
A, B   ``main.py``, ``auto_iter.py``                                   ``Y…/iter01/…`` beside the scripts
C      the first ``dag_manager.py``                                    the same, with ``alignment.dag`` and submit files
D      the next: one node for each raw file                            ``iter01`` on EOS, submit files on AFS
E      the one that reads all from ``config.json``                     ``iter00`` on EOS, submit files on AFS
=====  ==============================================================  ================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

NTUPLE = Path(__file__).parent / "data" / "ntuple" / "kfalignment_vector.root"
RES = " Parameter   ! first 3 elements per line are significant (if used as input)\n 1110    0.12000E-02  0.00\n"
GOOD_END = "    0   Ended normally\n"
SUBMIT = "reco_iter{number:02d}_{file:05d}.sub"


@dataclass(frozen=True)
class Made:
    """What an iteration of older scripts has left.

    Args:
        began_with: constants in ``1reco``; None for no file.
        ntuples: contents by the number of the raw file; None stands for a whole one.
        res: of pede; None for none.
        end: of pede, likewise.
        result: constants that were made of it, likewise.
    """

    began_with: str | None = ""
    ntuples: Mapping[int, Path | bytes | None] = field(default_factory=dict)
    res: str | None = RES
    end: str | None = GOOD_END
    result: str | None = '"10": [0.001, 0, 0, 0, 0, 0]\n'


def put(path: Path, content: str | bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def lay_out(data: Path, made: Iterable[Made], *, first: int = 1, work: Path | None = None, name: str = "") -> None:
    """Write iterations.

    Args:
        data: the alignment's folder.
        first: number of the first iteration.
        work: folder of submit files and logs, where that is another.
        name: of an ntuple, with ``{file}``; by default FASER's later one.
    """
    for number, iteration in enumerate(made, first):
        folder = data / f"iter{number:02d}"
        texts = {
            "1reco/inputforalign.txt": iteration.began_with,
            "3millepede/millepede.res": iteration.res,
            "3millepede/millepede.end": iteration.end,
            "inputforalign.txt": iteration.result,
        }
        for place, text in texts.items():
            if text is not None:
                put(folder / place, text)
        for file, content in iteration.ntuples.items():
            ntuple = (name or "kfalignment_011705_{file:05d}.root").format(file=file)
            put(folder / "2kfalignment" / ntuple, NTUPLE if content is None else content)
            put((work or data) / folder.name / SUBMIT.format(number=number, file=file), "queue\n")
            put((work or data) / folder.name / f"logs_iter{number:02d}" / f"reco_{file:05d}.out", "done\n")


def made_of(folder: Path, number: int, *, done: bool = True, files: Iterable[int] = (450, 451, 452)) -> Made:
    """An iteration of an alignment that ran through, as older scripts leave one.

    Args:
        folder: of the alignment.
        done: whether its fit is.
    """
    iteration = folder / f"iter{number:02d}"
    places = {
        "began_with": iteration / "1reco" / "inputforalign.txt",
        "res": iteration / "3millepede" / "millepede.res",
        "end": iteration / "3millepede" / "millepede.end",
        "result": iteration / "inputforalign.txt",
    }
    texts = {key: path.read_text() if done or key == "began_with" else None for key, path in places.items()}
    ntuples = {file: iteration / "2kfalignment" / f"kfalignment_011705_{file:05d}.root" for file in files}
    return Made(ntuples=ntuples, **texts)
