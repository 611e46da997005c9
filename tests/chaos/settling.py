"""Waiting until all that can end has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chaos.judge import NOTHING, still_held, unfinished
from tests.waiting import seen_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.work import Expected
    from tests.integration.deployments import Deployment

STANDSTILL = 45.0
"""Seconds without any progress after which the rest is taken for lost: all that is due comes sooner."""
LONGEST = 600.0
"""Seconds after which it is over although something moves: what goes round and round never ends."""
PAUSE = 0.25
"""Seconds between two looks, which read every result."""


def settle(site: Deployment, expected: list[Expected], meanwhile: Callable[[float], object] = float) -> None:
    """Return once everything has ended, or nothing has moved for a while; call ``meanwhile`` with the time."""
    left, held, moved = expected, {"not looked yet": 1}, time.monotonic()

    def is_over() -> bool:
        nonlocal left, held, moved
        now = time.monotonic()
        meanwhile(now)
        before = (len(left), held)
        left, held = unfinished(site, left), still_held(site)
        if (len(left), held) != before:
            moved = now
        return not (left or held) or now > moved + STANDSTILL

    seen_within(is_over, LONGEST, PAUSE)


def until_empty(site: Deployment) -> None:
    """Return once the broker holds nothing, or after a while; what it holds then the judge reports."""
    seen_within(lambda: site.queued() == NOTHING, STANDSTILL, PAUSE)
