"""``fiducial align check``: whether all that an alignment needs is there, one row for each thing.

:mod:`.everything` says what is looked at, :mod:`.looks` how; :mod:`.space` looks at disks and quotas,
:mod:`.tickets` at Kerberos and AFS, :mod:`.tools` at programs.
"""
