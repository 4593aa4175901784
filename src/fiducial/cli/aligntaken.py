"""Whether ``fiducial align`` goes on with what older scripts began, and what it says about that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fiducial.cli import alignoptions as words

if TYPE_CHECKING:
    from fiducial.alignment.faser.campaign import Plan
    from fiducial.alignment.faser.request import Request
    from fiducial.alignment.faser.takeover.decide import Decision

__all__ = ["forget", "keep", "taken_over"]


def taken_over(plan: Plan, request: Request, *, begin: bool) -> tuple[Plan, Decision | None]:
    """The plan for what is left of an alignment that older scripts began, or the plan as it is.

    Args:
        plan: of the whole alignment.
        request: that it was made of.
        begin: whether to look for what they have left; otherwise only what was taken over earlier counts.

    Returns:
        the plan, and what has to be kept before it begins; None where nothing has.
    """
    from fiducial.alignment.faser.campaign import plan as plan_all
    from fiducial.alignment.faser.overwriting import is_claimed
    from fiducial.alignment.faser.takeover.decide import decide
    from fiducial.alignment.faser.takeover.record import read_record
    from fiducial.cli.opened import busy

    folder = plan.prepared.folder
    if is_claimed(folder):
        known = read_record(folder)
        return (plan if known is None else plan_all(known.of(request), simulate=False)), None
    if not begin:
        return plan, None
    with busy("looking at what older scripts have left") as told:
        decision = decide(plan, told)
    if decision is None:
        return plan, None
    for line in decision.told:
        words.note(line)
    return plan_all(decision.takeover.of(request), simulate=False), decision


def keep(plan: Plan, taken: Decision | None) -> None:
    """Write down what is taken over, before the campaign begins; nothing where nothing is."""
    from fiducial.alignment.faser.takeover.record import write_record

    if taken is not None:
        write_record(plan.prepared.folder, taken.takeover, taken.moves)


def forget(plan: Plan) -> None:
    """Remove what was laid aside of the older scripts' ntuples, once the iteration that took them is done."""
    from fiducial.alignment.faser.layout import first_of, iteration
    from fiducial.alignment.faser.takeover.record import forget_ntuples, read_record

    known = read_record(plan.prepared.folder)
    if known is not None:
        forget_ntuples(known, iteration(plan.prepared, first_of(plan.prepared)).constants)
