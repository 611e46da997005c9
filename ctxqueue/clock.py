"""Durations and instants. Time is the store's; inside, an instant is whole microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ctxqueue.errors import InvalidDuration

MICROSECONDS = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_DURATION = 100 * 366 * 86_400
"""Seconds. A bound that keeps every deadline an integer that Lua's doubles hold exactly."""


def microseconds(duration: float | timedelta, name: str = "duration") -> int:
    """Return a duration, given in seconds or as a timedelta, in microseconds.

    Raises InvalidDuration unless it is a number above zero and at most a hundred years.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidDuration(f"{name} is {duration!r}: give seconds as a number, or a timedelta")
    if not 0 < seconds <= LONGEST_DURATION:
        raise InvalidDuration(f"{name} is {duration!r}: give seconds above 0 and up to a hundred years")
    return max(1, round(seconds * MICROSECONDS))


def since_epoch(moment: datetime) -> int:
    """Undo `instant`."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def instant(microseconds_since_epoch: int) -> datetime:
    """Return an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=microseconds_since_epoch)
