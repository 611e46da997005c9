"""The Redis store for event loops: the same protocol over redis-py's async client, one client a loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.exceptions import NoScriptError, RedisError

from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.redis import connection, scripts
from ctxqueue.stores.redis.checks import check_server, our_error
from ctxqueue.stores.redis.keys import SHARDS, shard_of
from ctxqueue.stores.redis.protocol import CODECS, Request

if TYPE_CHECKING:
    from ctxqueue.effects import Effect

T = TypeVar("T")

MOST_CONNECTIONS = 50
"""Of one event loop."""


class AsyncRedisStore:
    """Carries out effects without blocking the event loop; may be used from several loops."""

    shards = range(SHARDS)

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._url = url
        self.where = connection.address_of(self._made().connection_pool.connection_kwargs)
        # Connections belong to the loop they were opened in.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[Redis]] = WeakKeyDictionary()

    def _made(self) -> Redis:
        policy = Retry(connection.backoff(), connection.FIRST_CONTACT_RETRIES)
        # Coroutines are many and cheap: those that find no connection free wait for one.
        pool = connection.pool(
            BlockingConnectionPool.from_url, self._url, policy, max_connections=MOST_CONNECTIONS, timeout=None
        )
        return Redis.from_pool(pool)

    async def verify(self) -> None:
        """Connect and check the server and the namespace; raises StoreError, RecordTooNew, ConfigurationError."""
        await self._client()

    async def _client(self) -> Redis:
        """Return this loop's client; whoever comes first opens and checks it, the others wait."""
        loop = asyncio.get_running_loop()
        opening = self._clients.get(loop)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
            for ended in [each for each in self._clients if each.is_closed()]:
                del self._clients[ended]
            opening = self._clients[loop] = asyncio.ensure_future(self._opened())
        return await asyncio.shield(opening)

    async def _opened(self) -> Redis:
        client = self._made()
        try:
            check_server({**await client.info("server"), **await client.info("memory")}, self.where)
            questions = connection.first_questions(client.pipeline(transaction=True), self.namespace)
            connection.check_answers(await questions.execute(), self.namespace)
        except RedisError as error:
            await client.aclose()
            raise our_error(error, self.where) from error
        except BaseException:
            await client.aclose()
            raise
        client.set_retry(Retry(connection.backoff(), connection.RETRIES))
        return client

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        client = await self._client()
        encode, decode = CODECS[type(effect)]
        requests = encode(self.namespace, effect)
        try:
            try:
                replies = await _pipelined(client, requests)
            except NoScriptError:
                for script in scripts.ALL:
                    await client.script_load(script.source)
                replies = await _pipelined(client, requests)
        except RedisError as error:
            raise our_error(error, self.where) from error
        result: T = decode(effect, replies)
        return result

    def shard_of(self, workflow_id: str) -> int:
        """Return a workflow's home."""
        return shard_of(workflow_id)

    async def close(self) -> None:
        """Close this loop's connections; the next effect opens new ones."""
        opening = self._clients.pop(asyncio.get_running_loop(), None)
        if opening is not None:
            await (await opening).aclose()


async def _pipelined(client: Redis, requests: list[Request]) -> list[Any]:
    commands = [
        ("EVALSHA", request.script.sha, len(request.keys), *request.keys, *request.args) for request in requests
    ]
    if len(commands) == 1:
        return [await client.execute_command(*commands[0])]
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return await pipeline.execute()
