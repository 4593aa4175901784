"""Kernels on disk are those of the present sources."""

from __future__ import annotations

from pathlib import Path

from fiducial.alignment import jit
from fiducial.alignment.fit import kernels


def test_every_file_with_kernels_is_asked_for_changes() -> None:
    folder = Path(jit.__file__).parent
    modules = {path.relative_to(folder).with_suffix("").as_posix(): path.read_text() for path in folder.rglob("*.py")}
    users = {name for name, text in modules.items() if "alignment.jit import compiled" in text}
    assert users | {"jit"} == set(jit._SOURCES)


def test_a_kernel_is_as_old_as_all_that_it_is_made_of() -> None:
    assert kernels.fit_block._cache._cache_file._source_stamp == jit._STAMP
