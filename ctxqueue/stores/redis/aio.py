"""The Redis store for event loops: the same protocol over redis-py's async client, one client a loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.redis import connection, replicas, scripts, waking
from ctxqueue.stores.redis.checks import check_server, our_error, translated
from ctxqueue.stores.redis.codecs import CODECS
from ctxqueue.stores.redis.keys import SHARDS, shard_of
from ctxqueue.stores.redis.requests import Plain
from ctxqueue.stores.redis.store import MOST_LOADS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ctxqueue.effects import Effect
    from ctxqueue.stores.redis.requests import Sendable
    from ctxqueue.stores.waking import AsyncWake

T = TypeVar("T")

MOST_CONNECTIONS = 50
"""Of one event loop."""
MOST_WAITS = 10_000
"""Of one event loop and node: as many as wait at a time."""


class AsyncRedisStore:
    """Carries out effects without blocking the event loop; may be used from several loops."""

    shards = range(SHARDS)
    wait_replicas = 0
    """How many replicas must have a commit before it counts as done."""
    retries = connection.RETRIES

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._url = url
        self.where = self._address()
        # Connections belong to the loop they were opened in.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[Any]] = WeakKeyDictionary()
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Redis]] = WeakKeyDictionary()
        """Connections that wait to be called, by the address of their node: they take none from those that call."""

    def _connections(self, policy: Retry, most: int = MOST_CONNECTIONS) -> ConnectionPool:
        # Coroutines are many and cheap: those that find no connection free wait for one.
        return connection.pool(BlockingConnectionPool.from_url, self._url, policy, max_connections=most, timeout=None)

    def _address(self) -> str:
        return connection.address_of(self._connections(Retry(connection.backoff(), 0)).connection_kwargs)

    async def verify(self) -> None:
        """Connect and check the server and the namespace; raises StoreError, RecordTooNew, ConfigurationError."""
        await self._client()

    async def _client(self) -> Any:
        """Return this loop's client; whoever comes first opens and checks it, the others wait."""
        loop = asyncio.get_running_loop()
        opening = self._clients.get(loop)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
            for ended in [each for each in self._clients if each.is_closed()]:
                del self._clients[ended]
            opening = self._clients[loop] = asyncio.ensure_future(self._opened())
        return await asyncio.shield(opening)

    async def _opened(self) -> Any:
        client = Redis.from_pool(self._connections(Retry(connection.backoff(), connection.FIRST_CONTACT_RETRIES)))
        try:
            with translated(self.where):
                await self._check_server(client)
                questions = connection.first_questions(client.pipeline(transaction=True), self.namespace)
                connection.check_answers(await questions.execute(), self.namespace)
        except BaseException:  # raised on: nobody has this client to close it by
            await client.aclose()
            raise
        client.set_retry(Retry(connection.backoff(), self.retries))
        return client

    async def _check_server(self, client: Redis) -> None:
        check_server({**await client.info("server"), **await client.info("memory")}, self.where)

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        client = await self._client()
        encode, decode = CODECS[type(effect)]
        requests = encode(self.namespace, effect)
        fence = replicas.fence(effect, self.wait_replicas)
        try:
            replies = await self._replies(client, [*requests, *fence])
        except RedisError as error:
            raise our_error(error, self.where) from error
        if fence and replies[-1] < self.wait_replicas:
            # It may be a master that was replaced and does not know: the next call asks anew who is.
            await client.connection_pool.disconnect(inuse_connections=False)
            raise replicas.not_confirmed(replies[-1], self.wait_replicas, self.where)
        result: T = decode(effect, replies[: len(requests)])
        return result

    async def _replies(self, client: Any, requests: Sequence[Sendable]) -> list[Any]:
        for _ in range(MOST_LOADS):
            try:
                return await _sent(client, requests)
            except NoScriptError:
                await self._check_server(client)
                await _sent(client, [Plain(load) for load in scripts.LOADS])
        return await _sent(client, requests)

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[AsyncWake]:
        """Wait inside the block to be woken by a name; raises StoreError."""
        client = await self._client()
        with translated(self.where):
            async with waking.alistening(self._for_waits(client), channel) as wake:
                yield wake

    async def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        client = await self._client()
        try:
            pool = self._for_waits(client, workflow_id).connection_pool
            await waking.afollow(pool, self.namespace, workflow_id, revision, seconds)
        except (RedisError, RedisClusterException):  # whoever looks now is told what is wrong, if it still is
            await asyncio.sleep(min(seconds, waking.CUT_SECONDS))

    def _for_waits(self, _client: Any, _workflow_id: str = "") -> Redis:
        return self._kept("", lambda: self._connections(Retry(connection.backoff(), 1), MOST_WAITS))

    def _kept(self, node: str, connections: Callable[[], ConnectionPool]) -> Redis:
        """Return this loop's client for waits at a node."""
        kept = self._waiting.setdefault(asyncio.get_running_loop(), {})
        if node not in kept:
            kept[node] = Redis.from_pool(connections())
        return kept[node]

    def shard_of(self, workflow_id: str) -> int:
        """Return a workflow's home."""
        return shard_of(workflow_id)

    async def close(self) -> None:
        """Close this loop's connections; the next effect opens new ones."""
        loop = asyncio.get_running_loop()
        for waiting in self._waiting.pop(loop, {}).values():
            await waiting.aclose()
        opening = self._clients.pop(loop, None)
        if opening is None:
            return
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:  # whoever made first contact was told of it
            await opening.result().aclose()


async def _sent(client: Redis, requests: Sequence[Sendable]) -> list[Any]:
    if len(requests) == 1:
        return [await client.execute_command(*requests[0].words())]
    pipeline = client.pipeline(transaction=False)
    for request in requests:
        pipeline.execute_command(*request.words())
    return await pipeline.execute()
