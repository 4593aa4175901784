"""One thread for linear algebra: threads that wait for each other cost more than small matrices take."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
