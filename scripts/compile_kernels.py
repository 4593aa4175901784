"""Have numba compile the kernels of the fit, which it keeps: else all processes of the first minutes would, at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fiducial.alignment.fit.millepede import fit
from fiducial.alignment.testdata import generate

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        fit(generate(Path(folder), "SL0", records=3000).steering)
