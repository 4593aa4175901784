"""FASER's older commands: the options of main.py, auto_iter.py and dag_manager.py, and both generations of config.json.

What was asked for (:mod:`.request`), by options or by a file (:mod:`.configfile`), becomes the text of a workflow file
(:mod:`.campaign`), which runs like any other.
"""
