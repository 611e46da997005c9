"""Waiting until all that can end has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chaos.judge import NOTHING, still_held, unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.work import Expected
    from tests.integration.deployments import Deployment

STANDSTILL = 45.0
"""Seconds without any progress after which the rest is taken for lost: all that is due comes sooner."""
PAUSE = 0.25


def settle(site: Deployment, expected: list[Expected], meanwhile: Callable[[float], object] = float) -> None:
    """Return once everything has ended, or nothing has moved for a while; call ``meanwhile`` with the time."""
    left, held, moved = expected, {"not looked yet": 1}, time.monotonic()
    while (left or held) and time.monotonic() < moved + STANDSTILL:
        time.sleep(PAUSE)
        meanwhile(time.monotonic())
        before = (len(left), held)
        left, held = unfinished(site, left), still_held(site)
        if (len(left), held) != before:
            moved = time.monotonic()


def until_empty(site: Deployment) -> None:
    """Return once the broker holds nothing, or after a while; what it holds then the judge reports."""
    deadline = time.monotonic() + STANDSTILL
    while site.queued() != NOTHING and time.monotonic() < deadline:
        time.sleep(PAUSE)
