"""The one door to numba: how every kernel of the alignment is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

__all__ = ["compiled", "compiled_exactly"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Sums may be reordered inside one record, but NaN must stay NaN: without `nnan` the rank test would let it through.
_RELAXED = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: _Function) -> _Function:
    """Compile a kernel for numerical work: cached on disk, without the interpreter lock, sums may be reordered."""
    return cast(_Function, numba.njit(function, cache=True, nogil=True, error_model="numpy", fastmath=_RELAXED))


def compiled_exactly(function: _Function) -> _Function:
    """Compile a kernel that keeps IEEE arithmetic to the letter, for reading and checking."""
    return cast(_Function, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
