"""Kernels on disk are those of the present sources."""

from __future__ import annotations

from pathlib import Path

from fiducial.alignment import jit, kernels


def test_every_file_with_kernels_is_asked_for_changes() -> None:
    folder = Path(jit.__file__).parent
    users = {path.stem for path in folder.glob("*.py") if "alignment.jit import compiled" in path.read_text()}
    assert users | {"jit"} == set(jit._SOURCES)


def test_a_kernel_is_as_old_as_all_that_it_is_made_of() -> None:
    assert kernels.fit_block._cache._cache_file._source_stamp == jit._STAMP
