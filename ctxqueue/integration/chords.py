"""Whether the body of a chord is yet to be sent, as Celery sees it, by the worker of one of its members.

From 5.7 on Celery lets one worker send the body, and keeps all others from it by a key in its result backend: for some
seconds, also if that worker has died meanwhile. Whoever comes within them is turned away for good.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.backends.redis import RedisBackend

if TYPE_CHECKING:
    from celery import Task

logger = logging.getLogger(__name__)

HOLDER = ".c"
SENT = b"done"


def body_is_being_sent(task: Task[..., Any]) -> bool:
    """Whether a worker has begun to send the body of the chord that the task's message is a member of."""
    request = task.request
    if not (request.chord and request.group and isinstance(task.backend, RedisBackend)):
        return False
    backend: Any = task.backend
    try:
        holder = backend.get(backend.get_key_for_group(request.group, HOLDER))
    except backend.connection_errors as error:
        logger.warning("the result backend does not say whether the body of chord %s is out: %s", request.group, error)
        return True
    return holder not in (None, SENT)
