"""The Redis store: effects as script calls, with redis-py's connections, retries and timeouts."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from redis.retry import Retry

from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.redis import connection, replicas, scripts, waking
from ctxqueue.stores.redis.checks import check_server, our_error, translated
from ctxqueue.stores.redis.codecs import CODECS
from ctxqueue.stores.redis.keys import SHARDS, shard_of
from ctxqueue.stores.redis.requests import Plain
from ctxqueue.stores.redis.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ctxqueue.effects import Effect
    from ctxqueue.stores.redis.requests import Sendable
    from ctxqueue.stores.waking import Wake

T = TypeVar("T")

MOST_THREADS = 10_000
MOST_LOADS = 3
"""Of scripts in one call: the server that got them may be replaced by another before it runs them."""


class RedisStore:
    """Carries out effects on one Redis or Valkey, in one namespace. Thread-safe."""

    shards = range(SHARDS)
    wait_replicas = 0
    """How many replicas must have a commit before it counts as done."""
    retries = connection.RETRIES
    sends_ahead = True
    """Whether there is one connection pool that every effect goes by."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        # As many connections as threads: one that has none free would be an error of ours, not the server's.
        self._pool = self._connections(url, Retry(connection.backoff(), connection.FIRST_CONTACT_RETRIES), MOST_THREADS)
        self._client = redis.Redis.from_pool(self._pool)
        self._verified = False
        self._verifying = connection.FirstContact()

    def _connections(self, url: str, policy: Retry, most: int) -> redis.ConnectionPool:
        pool = connection.pool(Wires.from_url, url, policy, max_connections=most)
        self.where = connection.address_of(pool.connection_kwargs)
        return pool

    def verify(self) -> None:
        """Connect and check the server and the namespace, once; raises StoreError, RecordTooNew, ConfigurationError."""
        with self._verifying, translated(self.where):
            if self._verified:
                return
            self._check_server()
            pipeline = connection.first_questions(self._client.pipeline(transaction=True), self.namespace)
            connection.check_answers(pipeline.execute(), self.namespace)
            self._client.set_retry(Retry(connection.backoff(), self.retries))
            self._verified = True

    def _check_server(self) -> None:
        check_server({**self._client.info("server"), **self._client.info("memory")}, self.where)

    def servers_info(self) -> list[dict[str, Any]]:
        """Return what each server says of itself, as INFO answers; raises StoreError."""
        with translated(self.where):
            return [self._client.info()]

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if not self._verified:
            self.verify()
        encode, decode = CODECS[type(effect)]
        requests = encode(self.namespace, effect)
        fence = replicas.fence(effect, self.wait_replicas)
        try:
            replies = self._replies([*requests, *fence])
        except RedisError as error:
            raise our_error(error, self.where) from error
        if fence and replies[-1] < self.wait_replicas:
            # It may be a master that was replaced and does not know: the next call asks anew who is.
            self._pool.disconnect(inuse_connections=False)
            raise replicas.not_confirmed(replies[-1], self.wait_replicas, self.where)
        result: T = decode(effect, replies[: len(requests)])
        return result

    @contextmanager
    def ahead(self, effect: Effect[T]) -> Iterator[Callable[[], T]]:
        """Send one effect, and yield what waits for its reply. Whatever goes wrong with it is left to `perform`.

        An effect may be asked for twice: its reply may always be lost. One that cannot be sent is performed here: that
        the store is away is told before its caller does anything else.
        """
        encode, decode = CODECS[type(effect)]
        with ExitStack() as sending:
            replies = None
            if self._verified and self.sends_ahead and not self.wait_replicas:
                words = [request.words() for request in encode(self.namespace, effect)]
                with suppress(RedisError):
                    replies = sending.enter_context(connection.ahead(self._pool, words))
            if replies is None:
                performed = self.perform(effect)
                yield lambda: performed
                return
            sent = replies

            def reply() -> T:
                try:
                    found = sent()
                except RedisError:
                    found = None
                if found is None or any(isinstance(each, ResponseError) for each in found):
                    return self.perform(effect)
                result: T = decode(effect, found)
                return result

            yield reply

    def _replies(self, requests: Sequence[Sendable]) -> list[Any]:
        for _ in range(MOST_LOADS):
            try:
                return self._sent(requests)
            except NoScriptError:
                # It was restarted, or is another one than before: look at it as at the first.
                self._check_server()
                self._sent([Plain(load) for load in scripts.LOADS])
        return self._sent(requests)

    def _sent(self, requests: Sequence[Sendable]) -> list[Any]:
        replies = connection.exchange(self._pool, [request.words() for request in requests])
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    @contextmanager
    def listening(self, channel: str) -> Iterator[Wake]:
        """Wait inside the block to be woken by a name; raises StoreError."""
        if not self._verified:
            self.verify()
        with translated(self.where), waking.listening(self._for_calls(), channel) as wake:
            yield wake

    def _for_calls(self) -> Any:
        return self._client

    def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow's log may have gone beyond a revision, or after so many seconds."""
        try:
            pool = self._pool_of(workflow_id)
            waking.follow(pool, self.namespace, workflow_id, revision, seconds)
        except (RedisError, RedisClusterException):  # whoever looks now is told what is wrong, if it still is
            time.sleep(min(seconds, waking.CUT_SECONDS))

    def _pool_of(self, _workflow_id: str) -> Any:
        return self._pool

    def shard_of(self, workflow_id: str) -> int:
        """Return a workflow's home."""
        return shard_of(workflow_id)

    def close(self) -> None:
        """Close the connections; the next effect opens new ones."""
        self._client.close()
