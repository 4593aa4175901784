"""Everything that can be said about a workflow before it runs.

Each file of this package looks at one side of it and reports what is off; none stops at the first mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fiducial.core.check.jobs import check as check_jobs
from fiducial.core.check.jobs import job_counts, with_limit
from fiducial.core.check.names import check as check_names
from fiducial.core.check.order import check as check_order
from fiducial.core.check.payload import check as check_payload
from fiducial.core.check.report import Report
from fiducial.core.check.until import check as check_until
from fiducial.core.findings import Finding
from fiducial.core.workflowfile import WorkflowFile

__all__ = ["Finding", "check", "job_counts", "with_limit"]


def check(workflowfile: WorkflowFile, overrides: Mapping[str, Any] | None = None) -> list[Finding]:
    """Find what is off in a workflow, in the order of the lines.

    Args:
        overrides: variables that a campaign would set.
    """
    report = Report(workflowfile)
    check_order(report)
    check_until(report)
    check_payload(report)
    check_names(report, overrides or {})
    # What a step's jobs would be is looked at only where the step can be understood.
    check_jobs(report, overrides or {})
    return sorted(report.findings, key=lambda finding: finding.line or 0)
