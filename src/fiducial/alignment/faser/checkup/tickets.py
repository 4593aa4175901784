"""Whether this user may write to AFS and EOS for as long as an alignment takes: Kerberos' ticket and AFS' token."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fiducial.alignment.faser.checkup.looks import answer_of
from fiducial.alignment.faser.checkup.space import AFS, EOS
from fiducial.core.rows import FAIL, OK, WARN, Row

__all__ = ["ticket_rows"]

_KEEP = "kinit renews it; for days: k5reauth, or a batch job, which HTCondor gives a ticket of its own"


def ticket_rows(kinds: Collection[str]) -> Iterator[Row]:
    """Rows for the file systems that are in use.

    Args:
        kinds: AFS, EOS, by `space.kind_of`.
    """
    if AFS in kinds or EOS in kinds:
        yield _kerberos()
    if AFS in kinds:
        yield _token()


def _kerberos() -> Row:
    answer = answer_of(["klist", "-s"])
    if answer is None:
        return Row(WARN, "Kerberos ticket", "cannot be told: there is no klist here", "kinit, if you may")
    if answer[0]:
        return Row(FAIL, "Kerberos ticket", "there is none, or it has expired", "kinit")
    return Row(OK, "Kerberos ticket", f"is valid{_until()}", "")


def _until() -> str:
    """When the ticket expires, as klist says it; it may be shorter than the alignment."""
    answer = answer_of(["klist"])
    lines = [line.split() for line in answer[1].splitlines() if "krbtgt/" in line] if answer else []
    return f" until {' '.join(lines[0][2:4])}; {_KEEP}" if lines and len(lines[0]) > 3 else ""


def _token() -> Row:
    answer = answer_of(["tokens"])
    if answer is None:
        return Row(WARN, "AFS token", "cannot be told: there is no 'tokens' here", "aklog, if you may")
    valid = any("tokens for" in line.lower() and "expire" in line.lower() for line in answer[1].splitlines())
    valid = valid and ">> expired <<" not in answer[1].lower()
    if answer[0] or not valid:
        return Row(FAIL, "AFS token", "there is none, or it has expired", "aklog, after kinit")
    return Row(OK, "AFS token", "is valid")
