"""The example on the page of the Python API runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_example_runs_and_runs_again(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert example is not None
    (tmp_path / "example.py").write_text(example[1], "utf-8")
    for _ in range(2):
        subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True, timeout=60)


def test_a_function_of_a_script_is_called_by_its_jobs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\n"
        "import fiducial\n"
        "def double(number, output):\n"
        "    Path(output).write_text(str(2 * number))\n"
        "if __name__ == '__main__':\n"
        "    step = fiducial.call(double, fanout={'list': [1, 2]}, outputs=['double_{{ item }}.txt'],\n"
        "                         arguments={'number': '{{ item }}', 'output': '{{ output }}'})\n"
        "    outcome = fiducial.run(fiducial.Workflow(name='doubles', steps={'double': step}))\n"
        "    assert outcome.done, outcome\n"
        "    assert outcome.path('double_2.txt').read_text() == '4'\n",
        "utf-8",
    )
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True, timeout=60)
