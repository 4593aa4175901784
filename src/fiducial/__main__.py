"""``python -m fiducial`` is the command line."""

from __future__ import annotations

from fiducial.cli.main import main

if __name__ == "__main__":
    main()
