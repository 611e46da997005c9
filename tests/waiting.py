"""Waiting with a bound: the tests' only way to wait."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 0.01
"""Seconds between two looks."""

SECONDS = 60.0
"""How long a test waits for what takes a moment. Only a failure takes so long: a slow, loaded machine is none."""

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], description: str, timeout: float = SECONDS) -> T:
    """Call the predicate until what it returns is true, and return that.

    ``timeout`` is in seconds. After it the test fails with the description and what the predicate last
    returned; an error in the predicate is not held back.
    """
    seen = seen_within(predicate, timeout)
    if not seen:
        pytest.fail(f"not within {timeout} s: {description}; last saw {seen!r}")
    return seen


def seen_within(predicate: Callable[[], T], timeout: float, interval: float = INTERVAL) -> T:
    """Do the same for what need not come true, and is judged elsewhere: return what the predicate last returned."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (seen := predicate()) and time.monotonic() < deadline:
        pause.wait(interval)
    return seen
