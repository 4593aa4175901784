"""``fiducial-pede``: in the place of ``pede``, with its words, its files in the working folder, and an exit code.

It has no typer in it: words are read as pede reads them, letters of several options may stand together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fiducial.alignment.fit.outputs.files import announce, write_failure
from fiducial.alignment.verdict import NoSteeringError, TwoSteeringsError, WriteError, verdict_of
from fiducial.core.errors import FiducialError, UsageError

if TYPE_CHECKING:
    from fiducial.alignment.fit.result import FitResult
    from fiducial.alignment.testdata import Generated

__all__ = ["Words", "main", "read_words"]

HELP = """\
usage: fiducial-pede [-t[=MODEL]] [-n=RECORDS] [-s] [-f] [-c] [-C] [--exit-zero] [STEERING]

Solve a Millepede steering file as pede does, and write millepede.res, .end, .log and so on into the working folder.

  STEERING      steering file; without it `steerfile`, or with -t `mp2str.txt`
  -t[=MODEL]    make test data first, and compare the result with the truth; MODEL is SL0, SLE, BP, BRLF or BRLC for
                a silicon tracker with a treatment of multiple scattering; without it a wire chamber
  -n=RECORDS    that many records of test data; 10000 if this is not given
  -s            one step only, as the keyword `subito`
  -f            go on with a rank defect, as the keyword `force`
  -c, -C        check the input only, as the keyword `checkinput`; -C also where each parameter appears
  --exit-zero   exit with 0 whatever the verdict is, as pede does; or set FIDUCIAL_PEDE_EXIT_ZERO=1
  --debug       show where an error comes from
  --help, --version

Exits with the code of millepede.end: 0 fine, 1 bad measurements, 2 insufficient data, 3 bad matrix, 4 a file was cut
off, 5 and more: there is no result. It is 64 for words that do not fit, and 130 after an interrupt.
"""
_DEFAULT, _TEST = "steerfile", "mp2str.txt"
_USAGE, _INTERRUPTED = 64, 130
_FIRST_LINES = 10
_LETTERS = {"s": ("subito", ()), "f": ("force", ()), "c": ("checkinput", (1.0,)), "C": ("checkinput", (2.0,))}


@dataclass
class Words:
    """What the words of the command say.

    Args:
        steering: the steering file, if one is named.
        model: of the test data, if they are wanted.
        records: of the test data.
        options: keywords that options stand for.
        exit_zero: whether the exit code is 0 for any verdict.
    """

    steering: str | None = None
    model: str | None = None
    records: int = 10_000
    options: dict[str, tuple[float, ...]] = field(default_factory=dict)
    exit_zero: bool = False


def read_words(words: Sequence[str]) -> Words:
    """Read the words of the command.

    Raises:
        UsageError: a word is not known, or there is a second steering file.
    """
    found = Words()
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--exit-zero":
            found.exit_zero = True
        elif name == "-t":
            found.model = _model(value) if equals else found.model or "wire"
        elif name == "-n":
            found.records = _records(value)
        elif word.startswith("-") and len(word) > 1:
            _read_letters(word, found)
        elif found.steering is not None:
            raise TwoSteeringsError(f"a second steering file: '{word}'", hint="give one")
        else:
            found.steering = word
    return found


def _read_letters(word: str, found: Words) -> None:
    for letter in word[1:]:
        if letter == "t":
            found.model = found.model or "wire"
        elif letter in _LETTERS:
            keyword, numbers = _LETTERS[letter]
            found.options[keyword] = numbers
        elif letter != "b":  # pede's debugging printout
            raise UsageError(f"unknown option '{word}'", hint="see fiducial-pede --help")


def _model(value: str) -> str:
    from fiducial.alignment.testdata import MODELS

    if value not in MODELS:
        raise UsageError(f"there is no test data '{value}'", hint=f"there are {', '.join(MODELS)}")
    return value


def _records(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise UsageError(f"the number of records must be 1 or more, not '{value}'", hint="for example -n=1000")
    return int(value)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run it; the exit code is that of millepede.end."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--help" in words or "-h" in words:
        print(HELP, end="")
        sys.exit(0)
    if "--version" in words:
        from importlib import metadata

        print(f"fiducial-pede {metadata.version('fiducial')}")
        sys.exit(0)
    zero = "--exit-zero" in words or os.environ.get("FIDUCIAL_PEDE_EXIT_ZERO", "0") not in ("", "0")
    code = _run([word for word in words if word != "--debug"], debug="--debug" in words)
    sys.exit(0 if zero and code != _USAGE else code)


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        words = read_words(arguments)
        _check_steering(words)
        announce(Path())  # before the test data too: whatever fails, an earlier result is not left as if it were new
        return _fit(words)
    except (TwoSteeringsError, NoSteeringError) as error:
        with suppress(WriteError):  # what should be seen is the error itself
            announce(Path())
        return _failed(error, debug=debug)
    except UsageError as error:
        _complain(error, debug=debug)
        return _USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:  # the interpreter would exit with 1, which says that there are values to use
        return _failed(error, debug=debug)


def _failed(error: Exception, *, debug: bool) -> int:
    write_failure(Path(), error)
    _complain(error, debug=debug)
    return verdict_of(error)


def _check_steering(words: Words) -> None:
    if words.steering is None and words.model is None and not Path(_DEFAULT).is_file():
        raise NoSteeringError(
            f"no steering file is named, and there is no {_DEFAULT} here",
            hint="name one; or try fiducial-pede -t, which makes its own data; see fiducial-pede --help",
        )


def _complain(error: Exception, *, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    for warning in error.warnings if isinstance(error, FiducialError) else ():
        print(f"warning: {warning}", file=sys.stderr)
    print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
    if hint := _hint(error):
        print(f"hint: {hint}", file=sys.stderr)


def _hint(error: Exception) -> str:
    if isinstance(error, FiducialError | MemoryError | OSError):
        return str(getattr(error, "hint", ""))
    return "this was not foreseen; run it again with --debug to see where it comes from"


def _fit(words: Words) -> int:
    from fiducial.cli.fit import kernels_told, prepare_threads

    prepare_threads()
    with kernels_told() as tell:
        made = _make(words)
        steering = Path(words.steering or (_TEST if made else _DEFAULT))
        print(f" Millepede II fit by Fiducial, steering file {steering}\n", flush=True)
        from fiducial.alignment.fit.millepede import fit_into

        result = fit_into(steering, Path(), options=words.options, progress=tell)
    _print(result, made)
    return result.verdict


def _make(words: Words) -> Generated | None:
    if words.model is None:
        return None
    from fiducial.alignment.testdata import generate

    made = generate(Path(), words.model, records=words.records)
    print(f" Test data '{words.model}': {made.records} records with {made.measurements} measurements in mp2tst.bin")
    for path in made.kept:
        print(f" {path.name} was changed since it was made and is kept as it is")
    return made


def _print(result: FitResult, made: Generated | None) -> None:
    from fiducial.alignment.fit.outputs.his import drawing
    from fiducial.alignment.fit.outputs.log import log_text
    from fiducial.alignment.fit.outputs.res import result_text

    print(log_text(result, explained=False))
    for histogram in result.histograms if result.draw else ():
        print(drawing(histogram) + "\n")
    lines = (result.checked or result_text(result)).splitlines()
    print("\n".join(lines[: _FIRST_LINES + 1]))
    if len(lines) > _FIRST_LINES + 1:
        print(f" ... and {len(lines) - _FIRST_LINES - 1} more in millepede.res")
    if made is not None and not result.checked:
        _print_comparison(result, made)
    print(f"\n Millepede II fit ending with exit code {result.verdict}: {result.message}")


def _print_comparison(result: FitResult, made: Generated) -> None:
    import numpy as np

    from fiducial.alignment.testdata import CONSTRAINTS

    if any(path.name == CONSTRAINTS for path in made.kept):
        print("\n The constraints are not those of the test data: the result is not compared with the truth")
        return
    labels = result.labels[result.variable].tolist()
    if set(labels) - set(made.truth):
        print("\n The steering file is not that of the test data: the result is not compared with the truth")
        return
    away = result.values - np.array([made.truth.get(label, np.nan) for label in result.labels.tolist()])
    away, errors = away[result.variable], result.errors[result.variable]
    print(f"\n Fitted - true: mean {away.mean():.2g}, rms {away.std():.2g} over {len(away)} parameters")
    if np.isfinite(errors).all():
        kept = len(result.labels) - len(result.variable)
        why = f" ({kept} parameters with few hits are kept where they are, and pull at these)" if kept else ""
        rms = f"{(away / errors).std():.3f}"
        print(f" In units of their errors: rms {rms}; near 1 if the model of the track is right{why}")
