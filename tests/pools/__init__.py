"""Real batch systems for tests: each a private pool in a folder, run by the user who starts it, never by root.

``archive`` and ``obtain`` fetch the programs into ``.venv/pools``, ``identity`` sees to it that root is not root,
``keeper`` runs the daemons and leaves none behind, ``pool`` is what all systems share, and then there is one file a
system.
"""
