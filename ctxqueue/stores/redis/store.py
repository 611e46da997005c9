"""The Redis store: effects as script calls, with redis-py's connections, retries and timeouts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.exceptions import NoScriptError, RedisError
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
            replies = [self._call(requests[0])] if len(requests) == 1 else self._call_many(requests)
        except RedisError as error:
            raise our_error(error, self.where) from error
        result: T = decode(effect, replies)
        return result

    def _call(self, request: Request) -> Any:
        command = ("EVALSHA", request.script.sha, request.script.keys, *request.keys, *request.args)
        try:
            return self._exchange(command)
        except NoScriptError:
            self._load_scripts()
            return self._exchange(command)

    def _exchange(self, command: tuple[str | bytes | int, ...]) -> Any:
        """Send one command and return its reply, tried again as the client would.

        On a connection of the client's pool: `execute_command` adds a third of a round trip to what is done here.
        """
        pool = self._client.connection_pool
        wire = pool.get_connection()
        try:
            packed = wire.pack_command(*command)

            def attempt() -> Any:
                wire.send_packed_command(packed)
                return wire.read_response()

            return wire.retry.call_with_retry(attempt, lambda _error: wire.disconnect())
        finally:
            pool.release(wire)

    def _call_many(self, requests: list[Request]) -> list[Any]:
        try:
            return self._pipelined(requests)
        except NoScriptError:
            self._load_scripts()
            return self._pipelined(requests)

    def _pipelined(self, requests: list[Request]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for request in requests:
            pipeline.execute_command("EVALSHA", request.script.sha, request.script.keys, *request.keys, *request.args)
        return pipeline.execute()

    def _load_scripts(self) -> None:
        for script in scripts.ALL:
            self._client.script_load(script.source)

    def shard_of(self, workflow_id: str) -> int:
        """Return a workflow's home."""
        return shard_of(workflow_id)

    def close(self) -> None:
        """Close the connections; the next effect opens new ones."""
        self._client.close()
