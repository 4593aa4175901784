"""Options of FASER's other programs, which people have in their fingers: what does their work now."""

from __future__ import annotations

from collections.abc import Iterable

from fiducial.core.errors import UsageError

__all__ = ["refuse_foreign"]

_RECO = "--geom -g --cond --reco --nevents -n --skip --verbose -v --output_level --isMC --MC_calibTag --testBeam"
_RECO += " --isOverlay --noTracking --noForward --noBackward --alignment"
_CONVERT = "--output -o --input --text -t --zero -z"
_MILLEPEDE = "--input_dir --bin_dir"
_FIX = "--tpl_dir --steps"
_PLOTS = "--tree --branch -b --vector-only"

_RECO_ANSWER = "what stands behind -- goes to it, as in: fiducial align … -- --nevents 100"
_SOLVE = (
    "fiducial alignment solve --ntuples …/2kfalignment converts and fits; fiducial align does it in every iteration"
)

_ANSWERS: dict[str, tuple[str, str]] = {
    "--noIFT": ("faser_reco_alignment.py", "--threest gives it that word, --fourst does not"),
    **dict.fromkeys(_RECO.split(), ("faser_reco_alignment.py", _RECO_ANSWER)),
    **dict.fromkeys(_CONVERT.split(), ("1convert", _SOLVE)),
    **dict.fromkeys(_MILLEPEDE.split(), ("millepede.py", _SOLVE)),
    **dict.fromkeys(_FIX.split(), ("Workflow/millepede.py", "--recipe says what is fitted and what is held")),
    **dict.fromkeys(
        _PLOTS.split(),
        (
            "Analysis/main.py",
            "report.html in the campaign's folder draws residuals, chi2 and shifts of every iteration",
        ),
    ),
}


def refuse_foreign(words: Iterable[str]) -> None:
    """Look for options that are another program's.

    Raises:
        UsageError: the first one; the hint says what does its work.
    """
    for word in words:
        option = word.partition("=")[0]
        if option in _ANSWERS:
            program, answer = _ANSWERS[option]
            raise UsageError(f"{option} is an option of {program}, not of fiducial align", hint=answer)
