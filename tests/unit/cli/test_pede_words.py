"""The words of ``fiducial-pede``."""

from __future__ import annotations

import pytest

from fiducial.cli.pede import Words, main, read_words
from fiducial.core.errors import UsageError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Words()),
        (["steer.txt"], Words("steer.txt")),
        (["-t"], Words(model="wire")),
        (["-t=BRLC"], Words(model="BRLC")),  # in pede the C of it means to check the input only
        (["-t", "-n=500", "my.txt"], Words("my.txt", "wire", 500)),
        (["-sf", "a.txt"], Words("a.txt", options={"subito": (), "force": ()})),
        (["-c"], Words(options={"checkinput": (1.0,)})),
        (["-C", "-b"], Words(options={"checkinput": (2.0,)})),
        (["--exit-zero"], Words(exit_zero=True)),
    ],
)
def test_what_they_mean(words: list[str], expected: Words) -> None:
    assert read_words(words) == expected


@pytest.mark.parametrize(
    "words", [["-x"], ["--check"], ["-t=SL1"], ["-n=0"], ["-n"], ["-n=many"], ["-n=²"], ["a.txt", "b.txt"]]
)
def test_what_they_cannot_mean(words: list[str]) -> None:
    with pytest.raises(UsageError):
        read_words(words)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([word])
    assert caught.value.code == 0
    assert "fiducial-pede" in capsys.readouterr().out
