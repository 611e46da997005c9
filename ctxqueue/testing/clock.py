"""A clock that a test moves on."""

from __future__ import annotations

import time

from ctxqueue.clock import microseconds


class TestClock:
    """Stands still at the time of its making until it is advanced."""

    __test__ = False
    """pytest: its name begins like a test's."""

    def __init__(self) -> None:
        self._now_us = time.time_ns() // 1_000

    def __call__(self) -> int:
        """Return the time in microseconds since 1970."""
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Move it on; raises InvalidDuration unless that is a number above zero."""
        self._now_us += microseconds(seconds, "seconds")
