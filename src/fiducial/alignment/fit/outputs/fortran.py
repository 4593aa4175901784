"""Numbers as Fortran prints them, so that files look and read like pede's."""

from __future__ import annotations

from math import isfinite

import numpy as np

__all__ = ["e_format", "g14_5", "real"]


def g14_5(number: float) -> str:
    """``G14.5`` of a number in single precision."""
    number = float(np.float32(number))
    if not isfinite(number):
        return f"{'NaN' if number != number else 'Infinity' if number > 0 else '-Infinity':>14}"
    if number == 0:
        return f"{'0.0000':>10}    "
    if not 0.1 <= float(f"{abs(number):.4e}") < 1e5:
        return f"{e_format(number, 5):>14}"
    digits = 5 - (int(f"{number:.4e}".partition("e")[2]) + 1)
    text = f"{number:.{digits}f}" + ("." if digits == 0 else "")
    return f"{text:>10}    "


def e_format(number: float, digits: int) -> str:
    """``E`` format: a mantissa of `digits` digits below 1, and an exponent of two digits."""
    mantissa, _, exponent = f"{number:.{digits - 1}e}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    shifted = int(exponent) + 1 if number else 0
    return f"{sign}0.{mantissa.lstrip('-').replace('.', '')}E{shifted:+03d}"


def real(number: float) -> str:
    """A double as a list-directed ``write`` gives it: 17 digits, in a field that begins with blanks."""
    if number and not 0.1 <= abs(number) < 1e17:
        return f"{number:26.16E}"
    whole = len(str(int(abs(number))))
    return f"{number:22.{17 - whole}f}    "
