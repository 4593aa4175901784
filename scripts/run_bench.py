"""Run the named benchmarks, or every one in bench/, each by its own command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run them one after the other, because they share the machine's cores, and count the failures."""
    scripts = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "bench").glob("[!_]*.py"))
    if not scripts:
        print("error: there is no benchmark in bench/", file=sys.stderr)
        return 1
    failures = 0
    for script in scripts:
        print(f"\n── {script.name}", flush=True)
        failures += subprocess.run([sys.executable, str(script)], cwd=ROOT).returncode != 0
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
