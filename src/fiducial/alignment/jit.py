"""The one door to numba: how every kernel of the alignment is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import entrypoints, event

__all__ = ["compilation_told", "compiled", "compiled_exactly", "kept", "leave_out_extensions"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Sums may be reordered inside one record, but NaN must stay NaN: without `nnan` the rank test would let it through.
_RELAXED = {"reassoc", "contract", "arcp", "nsz"}

_LOST: list[str] = []  # kernels that no folder was found for


# numba asks whether a kernel's own file has changed, not those of the kernels that were compiled into it.
_FIT = ("fit/details", "fit/kernels", "fit/localfit", "fit/matrices")
_SOURCES = ("jit", *_FIT, "mille/decoding", "mille/labels", "mille/records")
_STATUS = [(Path(__file__).parent / f"{name}.py").stat() for name in _SOURCES]
_STAMP = tuple((status.st_mtime_ns, status.st_size) for status in _STATUS)


def compiled(function: _Function) -> _Function:
    """Compile a kernel for numerical work: cached on disk, without the interpreter lock, sums may be reordered."""
    return _compiled(function, fastmath=_RELAXED)


def compiled_exactly(function: _Function) -> _Function:
    """Compile a kernel that keeps IEEE arithmetic to the letter, for reading and checking."""
    return _compiled(function)


def _compiled(function: _Function, **options: Any) -> _Function:
    # A kernel that calls another one would, in the process that compiles both, run that one's own code, and its copy of
    # it when it is loaded from the cache, in which the same sums are done in another order. Inlined, there is but one.
    options |= {"nogil": True, "error_model": "numpy", "forceinline": True}
    try:
        kernel = numba.njit(function, cache=True, **options)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written to, as for a service without a home.
        _LOST.append(function.__name__)
        return cast(_Function, numba.njit(function, **options))
    kernel._cache._cache_file._source_stamp = _STAMP
    return cast(_Function, kernel)


def kept() -> bool:
    """Whether compiled kernels are kept on disk for the next process; without a folder to write to, they are not."""
    return not _LOST


def leave_out_extensions() -> None:
    """Let numba pass over what other packages would add to it, of which awkward alone takes 0.3 s to import.

    For processes of our own: whatever else runs in a process of somebody else may need them.
    """
    vars(entrypoints)["_already_initialized"] = True


class _Listener(event.Listener):  # type: ignore[misc] # numba has no types
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_start(self, event: Any) -> None:
        """A kernel is compiled: it was not in the cache."""
        self._tell()

    def on_end(self, event: Any) -> None:
        """It is compiled."""


@contextmanager
def compilation_told(tell: Callable[[], None]) -> Iterator[None]:
    """Have `tell` called whenever a kernel has to be compiled, because it is not in the cache on disk yet."""
    listener = _Listener(tell)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
