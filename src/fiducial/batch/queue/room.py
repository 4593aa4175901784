"""How much to offer a queue that has said that it takes no more."""

from __future__ import annotations

import math

__all__ = ["Room"]


class Room:
    """What a queue is thought to take at once.

    Limits on a user's jobs are told only by refusals. Half as much is offered then, down to one job, which waits for a
    while when it is refused too; and twice as much after each submission that was taken.

    Args:
        pause: seconds until a full queue is tried again.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._most: float = math.inf
        self._again = float("-inf")

    def most(self, now: float) -> float:
        """How many jobs may be offered; not finite if nothing is known."""
        return 0 if now < self._again else self._most

    def refused(self, count: int, now: float) -> None:
        """So many were more than it takes."""
        self._most = max(1, count // 2)
        if count == 1:
            self._again = now + self._pause

    def taken(self) -> None:
        """What was offered, it took."""
        self._most *= 2
