"""The page about settings names each of them, with its environment variable."""

from __future__ import annotations

import re
from pathlib import Path

from fiducial.settings import KEYS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_every_setting_is_in_the_table_and_the_other_way_round() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {key: variable for key, (variable, _, _) in KEYS.items()}
