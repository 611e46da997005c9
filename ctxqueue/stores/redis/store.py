"""The Redis store: effects as script calls, with redis-py's connections, retries and timeouts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.redis import connection, scripts
from ctxqueue.stores.redis.checks import check_server, our_error, translated
from ctxqueue.stores.redis.keys import SHARDS, shard_of
from ctxqueue.stores.redis.protocol import CODECS, Request

if TYPE_CHECKING:
    from ctxqueue.effects import Effect

T = TypeVar("T")

MOST_THREADS = 10_000


def _reply(wire: Any) -> Any:
    """Return one reply; an error that the server answered as well, as those after it are still to be read."""
    try:
        return wire.read_response()
    except ResponseError as error:
        return error


class RedisStore:
    """Carries out effects on one Redis or Valkey, in one namespace. Thread-safe."""

    shards = range(SHARDS)

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        policy = Retry(connection.backoff(), connection.FIRST_CONTACT_RETRIES)
        # As many connections as threads: one that has none free would be an error of ours, not the server's.
        pool = connection.pool(redis.ConnectionPool.from_url, url, policy, max_connections=MOST_THREADS)
        self._client = redis.Redis.from_pool(pool)
        self.where = connection.address_of(self._client.connection_pool.connection_kwargs)
        self._verified = False
        self._verifying = threading.Lock()

    def verify(self) -> None:
        """Connect and check the server and the namespace, once; raises StoreError, RecordTooNew, ConfigurationError."""
        with self._verifying, translated(self.where):
            if self._verified:
                return
            check_server({**self._client.info("server"), **self._client.info("memory")}, self.where)
            pipeline = connection.first_questions(self._client.pipeline(transaction=True), self.namespace)
            connection.check_answers(pipeline.execute(), self.namespace)
            self._client.set_retry(Retry(connection.backoff(), connection.RETRIES))
            self._verified = True

    def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if not self._verified:
            self.verify()
        encode, decode = CODECS[type(effect)]
        requests = encode(self.namespace, effect)
        try:
            replies = self._call(requests)
        except RedisError as error:
            raise our_error(error, self.where) from error
        result: T = decode(effect, replies)
        return result

    def _call(self, requests: list[Request]) -> list[Any]:
        commands = [("EVALSHA", each.script.sha, len(each.keys), *each.keys, *each.args) for each in requests]
        try:
            return self._exchange(commands)
        except NoScriptError:
            self._load_scripts()
            return self._exchange(commands)

    def _exchange(self, commands: list[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Send commands at once and return their replies, tried again as the client would.

        On a connection of the client's pool: `execute_command` adds a third of a round trip to what is done here.
        """
        pool = self._client.connection_pool
        wire = pool.get_connection()
        try:
            packed = wire.pack_commands(commands)

            def attempt() -> list[Any]:
                wire.send_packed_command(packed)
                return [_reply(wire) for _ in commands]

            replies = wire.retry.call_with_retry(attempt, lambda _error: wire.disconnect())
        finally:
            pool.release(wire)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return replies

    def _load_scripts(self) -> None:
        for script in scripts.ALL:
            self._client.script_load(script.source)

    def shard_of(self, workflow_id: str) -> int:
        """Return a workflow's home."""
        return shard_of(workflow_id)

    def close(self) -> None:
        """Close the connections; the next effect opens new ones."""
        self._client.close()
