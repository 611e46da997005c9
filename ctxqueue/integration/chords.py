"""Chords with members that are parked: how far they have come, as Celery sees it, is kept until they go on.

Celery counts a chord's members in its result backend, and forgets what it has counted ``result_expires`` after the last
one: a chord with a member that is parked for longer would never complete. So each such chord is noted there when a
member is parked, and the sweep renews what is kept of it.

From 5.7 on one worker sends the body, and all others are kept from it by a key: for some seconds, also if that worker
has died meanwhile. Whoever comes within them is turned away for good.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery.backends.redis import RedisBackend

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from celery import Celery, Task

logger = logging.getLogger(__name__)

HOLDER = ".c"
SENT = b"done"
RENEWALS = 4
"""In the time that results are kept."""
COUNTED = (".j", ".t", ".s", ".d", "")
"""What Celery keeps of a chord, by the end of each key's name."""


def keep_counted(task: Task[..., Any], seconds: float) -> None:
    """Let a chord outlive its member, which is about to be parked for up to so long.

    Raises ConfigurationError where its results are forgotten before, and nothing can be done about that.
    """
    request, backend = task.request, _redis_of(task.app)
    if not (request.chord and request.group):
        return
    if backend is not None:
        backend.ensure(_noted, (backend, request.group, int(time.time() + seconds) + 1))
        return
    expires: Any = getattr(task.backend, "expires", None)
    if expires and seconds >= expires:
        raise ConfigurationError(
            f"task {task.name} is a member of a chord and may be parked for {seconds:g} s, but the result backend"
            f" forgets after {expires:g} s: raise result_expires, or use Redis as the backend, which is kept from it"
        )


def renew_waiting(app: Celery) -> int:
    """Keep what is counted of chords with parked members; return how many were renewed now."""
    backend = _redis_of(app)
    if backend is None:
        return 0
    if backend.expires and not backend.client.set(
        backend.get_key_for_group("ctxqueue", ".renewed"), 1, nx=True, ex=max(1, int(backend.expires) // RENEWALS)
    ):
        return 0  # lately
    backend.client.zremrangebyscore(_waiting(backend), "-inf", int(time.time()))
    groups = [group.decode() for group in backend.client.zrange(_waiting(backend), 0, -1)]
    _renew(backend, groups)
    return len(groups)


def _noted(backend: Any, group: str, until: int) -> None:
    """Note a chord among those that wait, in a sorted set that ends with the last of them."""
    name = _waiting(backend)
    backend.client.zadd(name, {group: until}, gt=True)
    [(_, latest)] = backend.client.zrange(name, -1, -1, withscores=True)
    backend.client.expireat(name, int(latest) + 1)
    _renew(backend, [group])


def _renew(backend: Any, groups: list[str]) -> None:
    if not (groups and backend.expires):
        return
    with backend.client.pipeline(transaction=False) as pipeline:
        for group in groups:
            for ending in COUNTED:
                pipeline.expire(backend.get_key_for_group(group, ending), int(backend.expires))
        pipeline.execute()


def _waiting(backend: Any) -> Any:
    """Return the name of the sorted set of chords with a parked member, by until when it may be parked."""
    return backend.get_key_for_group("ctxqueue", ".waiting")


def _redis_of(app: Any) -> Any:
    return app.backend if isinstance(app.backend, RedisBackend) else None


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
