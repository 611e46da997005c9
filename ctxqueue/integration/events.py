"""What a parked task shows: the state WAITING with what it needs, and events that Flower understands."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.signals import celeryd_after_setup
from kombu.exceptions import OperationalError

if TYPE_CHECKING:
    from celery import Task

    from ctxqueue.flows.guarding import Refusal

logger = logging.getLogger(__name__)

WAITING = "WAITING"

_worker_sends_events = False


def _remember(instance: Any = None, **_signal: object) -> None:
    """Note, before the pool forks, whether this worker was started with ``-E``."""
    global _worker_sends_events  # noqa: PLW0603 - one worker a process
    _worker_sends_events = bool(getattr(instance, "task_events", False))


def connect_signal() -> None:
    """Start remembering; calling it again changes nothing."""
    celeryd_after_setup.connect(_remember, weak=False, dispatch_uid="ctxqueue.events")


def waiting(task: Task[..., Any], needs: tuple[str, ...]) -> None:
    """Say that a task is about to be parked."""
    ignored = vars(task.request).get("ignore_result")  # of this call; without it, of the task
    if not (task.ignore_result if ignored is None else ignored):
        task.update_state(state=WAITING, meta={"needs": list(needs)})
    _send(task, "task-waiting", needs=list(needs))


def resumed(task: Task[..., Any], waited: float) -> None:
    """Say that a parked task goes on: to monitors a retry, after which they show it STARTED again."""
    _send(task, "task-retried", exception="resumed", reason="resumed", waited=waited)
    _send(task, "task-started")


def revoked(task: Task[..., Any]) -> None:
    """Say that a task was cancelled."""
    _send(task, "task-revoked", terminated=False, signum=None, expired=False)


def refused(task: Task[..., Any], refusal: Refusal) -> None:
    """Say that a guard did not let a task write; no value is in it."""
    told = refusal._asdict()
    _send(task, f"ctxqueue-write-{told.pop('kind')}", **told)


def _send(task: Task[..., Any], kind: str, **fields: Any) -> None:
    if not (_worker_sends_events or task.app.conf.worker_send_task_events):
        return
    try:
        task.send_event(kind, **fields)
    except (OperationalError, OSError) as error:
        # Monitors miss one; the task goes on, though the broker is away for a moment.
        logger.warning("task %s [%s]: %s could not be sent: %s", task.name, task.request.id, kind, error)
