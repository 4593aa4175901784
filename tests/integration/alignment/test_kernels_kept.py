"""Compiled kernels are kept on disk, and work without a folder that could keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import pytest

from fiducial.alignment import jit


def test_kernels_are_kept() -> None:
    assert jit.kept()


@pytest.mark.parametrize("compiled", [jit.compiled, jit.compiled_exactly])
def test_without_a_folder_they_are_compiled_every_time(
    compiled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = numba.njit

    def without_folder(function: Any, *, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", without_folder)
    monkeypatch.setattr(jit, "_LOST", [])

    def twice(value: int) -> int:
        return 2 * value

    assert compiled(twice)(21) == 42
    assert not jit.kept()
