"""How we connect: the options of every client, and what a server and a namespace must be at first contact."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from hiredis import pack_command
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError, ResponseError

from ctxqueue.errors import ConfigurationError
from ctxqueue.stores.redis.addresses import check_database, check_login, unusable
from ctxqueue.stores.redis.checks import LAYOUT, check_namespace
from ctxqueue.stores.redis.keys import SHARDS, metadata_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from redis.retry import AbstractRetry

P = TypeVar("P")

SOCKET_SECONDS = 3.0
CONNECT_SECONDS = 2.0
RETRIES = 8
"""With up to 2 s between them: about 6 s, in which a server restarts. Safe, as every commit carries its call's id."""
FAILOVER_RETRIES = 16
"""About 20 s: Sentinels or the nodes of a Cluster take some to be sure that a master is dead, and some to agree."""
FIRST_CONTACT_RETRIES = 1


class FirstContact:
    """One thread at a time, as a block. A forked process begins anew: its parent's thread may be inside for ever."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._begin()
        self._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()


def backoff() -> ExponentialWithJitterBackoff:
    """Return the waits between two tries."""
    return ExponentialWithJitterBackoff(cap=2.0, base=0.05)


def pool(from_url: Callable[..., P], url: str, policy: AbstractRetry[Any], **options: Any) -> P:
    """Return a pool, not yet connected; raises ConfigurationError for a URL that is none."""
    scheme, _, rest = url.partition("://")
    check_login(rest)
    if scheme != "unix":
        check_database(rest)
    try:
        made = from_url(
            url,
            protocol=2,  # with hiredis it parses in two thirds of RESP3's time
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=policy,
            **options,
        )
    except ValueError as error:
        raise unusable(error) from None
    _check_options(made)
    return made


def _check_options(made: Any) -> None:
    """Raise ConfigurationError for what the URL sets and no connection takes; redis-py would say so at first use."""
    if made.connection_kwargs.get("decode_responses"):
        raise ConfigurationError("the Redis URL sets decode_responses: leave it out, what is stored is not text")
    try:
        made.connection_class(**made.connection_kwargs)
    except (TypeError, RedisError) as error:
        raise ConfigurationError(f"the Redis URL sets what no connection takes ({error})") from error


def address_of(settings: Mapping[str, Any]) -> str:
    """Return where a pool connects to, for messages: without user and password."""
    return settings.get("path") or f"{settings.get('host') or 'localhost'}:{settings.get('port', 6379)}"


def exchange(pool: Any, commands: list[tuple[str | bytes | int, ...]]) -> list[Any]:
    """Send commands at once, by a connection of a pool, tried again as the pool's policy says.

    Return a reply or the error that the server answered for each. `execute_command` adds a third of a round trip to
    what is done here, and redis-py's packing looks at each word once more.
    """
    wire = pool.get_connection()
    are_read = False
    try:
        packed = [_packed(commands)]

        def attempt() -> list[Any]:
            wire.send_packed_command(packed)
            return [_reply(wire) for _ in commands]

        replies: list[Any] = wire.retry.call_with_retry(attempt, lambda _error: wire.disconnect())
        are_read = True
        return replies
    finally:
        if not are_read:  # a soft time limit is raised between any two steps: what comes yet is not the next call's
            wire.disconnect()
        pool.release(wire)


@contextmanager
def ahead(pool: Any, commands: list[tuple[str | bytes | int, ...]]) -> Iterator[Callable[[], list[Any]]]:
    """Send commands, and yield what reads their replies, as `exchange` returns them. Nothing is tried again."""
    wire = pool.get_connection()
    are_read = False

    def replies() -> list[Any]:
        nonlocal are_read
        found = [_reply(wire) for _ in commands]
        are_read = True
        return found

    try:
        wire.send_packed_command([_packed(commands)])
        yield replies
    finally:
        if not are_read:  # they would be taken for the next call's
            wire.disconnect()
        pool.release(wire)


def _packed(commands: list[tuple[str | bytes | int, ...]]) -> bytes:
    """Return commands as they are sent.

    Numbers are written out here: where a signal's handler raises while hiredis does it, the process crashes.
    """
    return b"".join([pack_command(_texts(command)) for command in commands])  # type: ignore[arg-type]  # typed as one word


def _texts(command: tuple[str | bytes | int, ...]) -> tuple[str | bytes | int, ...]:
    if int not in map(type, command):
        return command
    return tuple(str(word) if type(word) is int else word for word in command)


def _reply(wire: Any) -> Any:
    """Return one reply, or the error that was answered: those after it are still to be read."""
    try:
        return wire.read_response()
    except ResponseError as error:
        return error


def first_commands(namespace: str) -> list[tuple[str | int, ...]]:
    """Return what is asked at first contact; a new namespace gets its metadata by it."""
    key = metadata_key(namespace)
    return [("HSETNX", key, "layout", LAYOUT), ("HSETNX", key, "shards", SHARDS), ("HGETALL", key)]


def first_questions(pipeline: Any, namespace: str) -> Any:
    """Fill a transaction with what is asked at first contact."""
    for command in first_commands(namespace):
        pipeline.execute_command(*command)
    return pipeline


def check_answers(answers: list[Any], namespace: str) -> None:
    """Raise RecordTooNew, ConfigurationError if the namespace is not laid out as we know it."""
    check_namespace(answers[2], namespace)
