"""``fiducial align check``: whether all that an alignment needs is there, one row for each thing.

:mod:`.rows` says what a row is, :mod:`.everything` which there are; :mod:`.space` looks at disks and quotas,
:mod:`.tickets` at Kerberos and AFS, :mod:`.tools` at programs.
"""
