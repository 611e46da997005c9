"""How our own tasks run: acknowledged late, given to another worker if theirs is lost, ended if they hang."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from celery.utils.time import get_exponential_backoff_interval

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.errors import CtxqueueError

LONGEST_PAUSE: Final = 600
"""Seconds between two tries while the store is away."""

CARRIED_OUT: Final[dict[str, Any]] = {"shared": False, "acks_late": True, "reject_on_worker_lost": True}


def silent(soft_time_limit: int, time_limit: int) -> dict[str, Any]:
    """Return the options of one whose result nobody reads; limits are in seconds."""
    return {
        **CARRIED_OUT,
        "ignore_result": True,
        "soft_time_limit": soft_time_limit,
        "time_limit": time_limit,
    }


def with_result(soft_time_limit: int, time_limit: int) -> dict[str, Any]:
    """Return the options of a bound one whose result is for its publisher; see `again`."""
    return {
        **CARRIED_OUT,
        "bind": True,
        "ignore_result": False,
        "soft_time_limit": soft_time_limit,
        "time_limit": time_limit,
        "max_retries": 10,
    }


def again(task: Task[..., Any], error: CtxqueueError) -> NoReturn:
    """Let a task be tried again later."""
    # Celery would show what came in, values too, in the next message.
    hidden = {name: task.request.get(name) for name in ("argsrepr", "kwargsrepr")}
    pause = get_exponential_backoff_interval(1, task.request.retries, LONGEST_PAUSE, full_jitter=True)
    raise task.retry(exc=error, countdown=pause, **hidden) from error
