"""How our own tasks run: acknowledged late, given to another worker if theirs is lost, ended if they hang."""

from __future__ import annotations

from typing import Any, Final

CARRIED_OUT: Final[dict[str, Any]] = {"shared": False, "acks_late": True, "reject_on_worker_lost": True}


def silent(soft_time_limit: int, time_limit: int) -> dict[str, Any]:
    """Return the options of one whose result nobody reads; limits are in seconds."""
    return {
        **CARRIED_OUT,
        "ignore_result": True,
        "soft_time_limit": soft_time_limit,
        "time_limit": time_limit,
    }
