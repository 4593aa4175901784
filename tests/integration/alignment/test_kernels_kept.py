"""Compiled kernels are kept on disk, and work without a folder that could keep them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from fiducial.alignment import jit
from fiducial.alignment.testdata import generate


def test_kernels_are_kept() -> None:
    assert jit.kept()


def test_a_process_that_compiles_finds_the_same_digits_as_those_after_it(tmp_path: Path) -> None:
    """A kernel from the cache brings its own copy of what it calls, in which sums might be done in another order."""
    steering = generate(tmp_path, "SL0", records=3000).steering
    code = (
        "import sys; from pathlib import Path; from fiducial.alignment.fit.millepede import fit\n"
        "found = fit(Path(sys.argv[1])); print(found.values.tolist(), found.errors.tolist(), found.chi2)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    command = [sys.executable, "-c", code, str(steering)]
    said = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert said[0] == said[1]
    assert list((tmp_path / "kernels").rglob("*.nbc"))


@pytest.mark.parametrize("left_out", [True, False])
def test_what_other_packages_add_to_numba_is_left_out_if_wanted(left_out: bool) -> None:
    """The second case holds the first to something: awkward does add to it."""
    code = (
        f"import sys, numba\nfrom fiducial.alignment import jit\nif {left_out}: jit.leave_out_extensions()\n"
        "assert numba.njit(lambda number: 2 * number)(21) == 42\nprint('awkward' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(not left_out)


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
