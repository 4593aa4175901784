"""Going on with what older scripts began: ``main.py``, ``auto_iter.py``, and the DAGs of ``dag_manager.py``.

:mod:`.found` looks at what lies in a folder and proves what of it is done; :mod:`.decide` says where it is gone on
from; :mod:`.record` keeps that decision, so that the same command means the same later.
"""
