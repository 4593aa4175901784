"""Write ``kfalignment_vector.root`` as FASER's reconstruction does: with ROOT, and a ``std::vector<double>`` a branch.

uproot cannot write such branches. Needs ROOT's own Python (``pip install root``) and an ntuple of Fiducial's as NumPy
arrays::

    fiducial alignment simulate raw --run 1 --files 1 --events 12
    fiducial alignment reconstruct raw/2023/000001/Faser-Physics-000001-00001.raw --constants empty.txt -o k.root
    python -c "import uproot, numpy; t = uproot.open('k.root:tree'); \
        numpy.savez('k.npz', **{n: t[n].array(library='np') for n in t.keys() if n[0] == 'f'})"
    python with_root.py k.npz kfalignment_vector.root
"""

from __future__ import annotations

import sys
from array import array

import numpy as np
import ROOT


def main(source: str, target: str) -> None:
    """Copy every branch."""
    with np.load(source, allow_pickle=True) as columns:
        known = {name: columns[name] for name in columns.files}
    file = ROOT.TFile(target, "RECREATE")
    tree = ROOT.TTree("tree", "tree")
    vectors = {name: ROOT.std.vector("double")() for name, column in known.items() if column.dtype == object}
    numbers = {name: array("d", [0.0]) for name, column in known.items() if column.dtype != object}
    for name, vector in vectors.items():
        tree.Branch(name, vector)
    for name, number in numbers.items():
        tree.Branch(name, number, f"{name}/D")
    for entry in range(len(next(iter(known.values())))):
        for name, vector in vectors.items():
            vector.clear()
            for value in known[name][entry]:
                vector.push_back(float(value))
        for name, number in numbers.items():
            number[0] = float(known[name][entry])
        tree.Fill()
    tree.Write()
    file.Close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
