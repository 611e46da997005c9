"""Waiting for Redis: on a channel, and at the end of a workflow's log.

A call that comes while the connection is away is lost: whoever waits looks again. Nothing is lost at the end of a log,
where one waits for what comes behind a revision, and asks again for what is behind it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from redis import exceptions as rx

from ctxqueue.stores.redis.keys import workflow_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ctxqueue.stores.redis.routing import Words

AWAY_SECONDS = 0.5
"""Between two looks while it is away."""
CUT_SECONDS = 0.1
"""Until the next look after a wait at the end of a log has failed: one who looks is kept waiting by the look itself."""


@contextmanager
def listening(client: Any, channel: str) -> Iterator[RedisWake]:
    """Listen inside the block, from its beginning on; raises RedisError."""
    pubsub = client.pubsub()
    try:
        pubsub.subscribe(channel)
        pubsub.get_message(timeout=None)  # it says that the server has done so
        yield RedisWake(pubsub)
    finally:
        pubsub.close()


class RedisWake:
    """See `ctxqueue.stores.waking.Wake`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    def wait(self, seconds: float) -> bool:
        """Return when it was called or may have been, or after so many seconds."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                message = self._pubsub.get_message(timeout=left)
            except (rx.ConnectionError, rx.TimeoutError):
                time.sleep(min(left, AWAY_SECONDS))
                return True
            if message is not None:
                return True  # also where it says that it was connected anew
        return False


@asynccontextmanager
async def alistening(client: Any, channel: str) -> AsyncIterator[AsyncRedisWake]:
    """Listen inside the block, from its beginning on; raises RedisError."""
    pubsub = client.pubsub()
    try:
        await pubsub.subscribe(channel)
        await pubsub.get_message(timeout=None)
        yield AsyncRedisWake(pubsub)
    finally:
        await pubsub.aclose()


class AsyncRedisWake:
    """See `ctxqueue.stores.waking.AsyncWake`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub

    async def wait(self, seconds: float) -> bool:
        """Return when it was called or may have been, or after so many seconds."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                message = await self._pubsub.get_message(timeout=left)
            except (rx.ConnectionError, rx.TimeoutError):
                await asyncio.sleep(min(left, AWAY_SECONDS))
                return True
            if message is not None:
                return True
        return False


def following(namespace: str, workflow_id: str, revision: int, seconds: float, patience: float | None) -> Words:
    """Return the command that waits for what comes behind a revision.

    ``patience``: how long its connection waits for a reply, at most.
    """
    longest = seconds if patience is None else min(seconds, 0.7 * patience)
    log = workflow_keys(namespace, workflow_id).l
    return ("XREAD", "COUNT", 1, "BLOCK", max(1, int(1_000 * longest)), "STREAMS", log, f"{revision}-1")


def follow(pool: Any, namespace: str, workflow_id: str, revision: int, seconds: float) -> None:
    """Return when there is something behind a revision, or may be, or after so many seconds; raises RedisError."""
    wire = pool.get_connection()
    is_answered = False
    try:
        wire.send_command(*following(namespace, workflow_id, revision, seconds, wire.socket_timeout))
        wire.read_response()
        is_answered = True
    finally:
        if not is_answered:  # what comes yet would be taken for the next call's
            wire.disconnect()
        pool.release(wire)


async def afollow(pool: Any, namespace: str, workflow_id: str, revision: int, seconds: float) -> None:
    """Do the same in an event loop."""
    wire = await pool.get_connection()
    is_answered = False
    try:
        await wire.send_command(*following(namespace, workflow_id, revision, seconds, wire.socket_timeout))
        await wire.read_response()
        is_answered = True
    finally:
        if not is_answered:
            await wire.disconnect(nowait=True)
        await pool.release(wire)
