"""Which entries of others a task's body was handed: written down at its end, where the app asks for it.

``ctxqueue_note_reads`` is the share of attempts that do so, from 0 to 1; by default none. It costs a commit a task, but
for what this process has noted already.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError, StateError
from ctxqueue.flows import noting

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.identity import Attempt
    from ctxqueue.integration.task import ContextTask

MOST_KNOWN = 100_000

logger = logging.getLogger(__name__)
_known: set[tuple[Any, ...]] = set()
"""What this process has noted: forgotten all at once when it is much."""
_knowing = threading.Lock()


def reads(app: Celery) -> dict[Any, Any] | None:
    """Return where an attempt's reads are collected; None: they are not."""
    share: Any = app.conf.get("ctxqueue_note_reads")
    if not share:
        return None
    if not isinstance(share, bool | int | float) or not 0 <= share <= 1:
        raise ConfigurationError(f"ctxqueue_note_reads is {share!r}: give the share of attempts, from 0 to 1")
    return {} if random.random() < share else None  # noqa: S311 - a sample


def note(task: ContextTask, attempt: Attempt) -> None:
    """Write down what the body was handed. Nothing hangs on it: a workflow that takes no writes any more is let be."""
    manager, agent = task.context_queue.manager, task.named_agent()
    found = noting.of_others(agent, (attempt.reads or {}).values())
    names = {(attempt.home, agent.agent_id, each.place, each.timestamp): each for each in found}
    with _knowing:
        if len(_known) > MOST_KNOWN:
            _known.clear()
        new = {name: each for name, each in names.items() if name not in _known}
    if not new:
        return
    try:
        manager.driver.run(noting.note(manager.terms, attempt.home, agent, new.values()))
    except StateError as error:
        logger.info("what task %s has read is not noted: %s", task.name, error)
        return
    with _knowing:
        _known.update(new)
