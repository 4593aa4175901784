"""Why HTCondor holds or removes a job, in the words of a runner, and in English.

Codes and subcodes: HTCondor manual, appendix "Job ClassAd Attributes", ``HoldReasonCode``. A site's own policy has no
code, and speaks in its own words; CERN's are those of its batch service.
"""

from __future__ import annotations

import re

__all__ = ["SPOOLING", "cause_of_hold", "cause_of_removal", "sentence"]

#: The schedd waits for files that are still being sent to it: the job is no more held than one on its way.
SPOOLING = 16

_BY_HAND = (1, 15)
#: Codes of policies, whose words say what was wrong: of the job, of the node, of the whole system.
_POLICIES = (3, 21, 26, 34)
_CAUSES = {12: "output", 13: "input", 32: "input", 33: "output", 46: "wall_time", 47: "wall_time"}
#: Subcodes that HTCondor's own policies on nodes have: of memory and disk.
_NODE_SUBCODES = {102: "memory", 104: "disk"}
_OUT_OF_RESOURCES = 34

_SENTENCES = {
    1: "it was held by hand",
    3: "a rule of the job's own holds it",
    4: "its proxy or token cannot be used",
    5: "a rule of the job's own cannot be evaluated",
    6: "its program could not be started on the node",
    7: "a file for its output cannot be opened",
    8: "a file for its input cannot be opened",
    9: "a file for its output cannot be opened",
    10: "a file for its input cannot be opened",
    11: "the transfer of its files broke off",
    12: "its outputs could not be brought back",
    13: "its inputs could not be brought to the node",
    14: "its working folder cannot be used",
    15: "it was submitted on hold",
    18: "the transfer of its files broke off",
    19: "a hook on the node failed",
    21: "the node's rules hold it",
    22: "its event log cannot be written",
    23: "its user's account cannot be used",
    26: "the site's rules hold it",
    27: "the site's rules cannot be evaluated for it",
    32: "its inputs are larger than the site transfers",
    33: "its outputs are larger than the site transfers",
    34: "it used more memory than it had asked for",
    35: "its container image cannot be used",
    43: "its script before the job failed",
    44: "its script after the job failed",
    45: "containers do not run on the node",
    46: "it was in the queue for longer than is allowed",
    47: "it ran for longer than is allowed",
    48: "a hook of the scheduler failed",
}

_WORDS = (
    ("memory", re.compile(r"memory|\bRSS\b|ResidentSetSize|ImageSize|out of resources", re.IGNORECASE)),
    ("disk", re.compile(r"\bdisk|scratch (?:space|directory)|DiskUsage", re.IGNORECASE)),
    (
        "wall_time",
        re.compile(
            r"wall[ _-]?(?:clock )?time|run[ _-]?time|Max(?:Job)?Run|duration|running for (?:more|longer)|flavou?r|"
            r"TIME_EXCEEDED|exceeded allowed max.*time|execut\w+ time|time limit|CurrentStartDate|"
            r"failed to complete in",
            re.IGNORECASE,
        ),
    ),
)


def _by_words(words: str) -> str:
    return next((cause for cause, pattern in _WORDS if pattern.search(words)), "")


def cause_of_hold(code: int, subcode: int, words: str) -> str:
    """Why a job is held, if a runner has a word for it; empty where only a person can tell what to do.

    Args:
        words: the hold's reason.
    """
    if code in _BY_HAND:
        return ""
    if code == _OUT_OF_RESOURCES:
        return _NODE_SUBCODES.get(subcode) or _by_words(words) or "memory"
    if code in _POLICIES:
        return _NODE_SUBCODES.get(subcode, "") if code == 21 and subcode in _NODE_SUBCODES else _by_words(words)
    return _CAUSES.get(code, "")


def cause_of_removal(words: str) -> str:
    """Why a job was taken out of the queue: by a rule whose words tell, or ``removed`` by somebody."""
    by_hand = re.match(r"(?:via|by) condor_rm|by user|.*\(by user ", words)
    return "removed" if by_hand else _by_words(words) or "removed"


def sentence(code: int, words: str) -> str:
    """The reason of a hold for people: what it means, and HTCondor's own words."""
    meaning = _SENTENCES.get(code, f"it is held (code {code})")
    return f"{meaning}: {words}" if words else meaning
