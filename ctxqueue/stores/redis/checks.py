"""What a server must be before we trust it, and its errors in our words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis.exceptions as rx

from ctxqueue.errors import (
    ConfigurationError,
    CtxqueueError,
    RecordTooNew,
    StoreAuthError,
    StoreReadOnly,
    StoreUnavailable,
    UnsafeServer,
)
from ctxqueue.stores.redis.keys import SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAYOUT = 1
"""Of the keys in a namespace; a process refuses a namespace with a newer one."""

OLDEST_SERVER = (6, 2)

AUTH_ERRORS = (rx.AuthenticationError, rx.AuthorizationError, rx.NoPermissionError)


def check_server(info: Mapping[str, Any], where: str) -> None:
    """Raise StoreUnavailable for a server older than 6.2, UnsafeServer for one that may evict our keys."""
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_SERVER:
        raise StoreUnavailable(f"the server at {where} is version {version}: ctxqueue needs Redis 6.2 or Valkey")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        raise UnsafeServer(
            f"the server at {where} has maxmemory-policy {policy}: it may drop any key when memory is short, and"
            " with it updates and parked tasks. Set: CONFIG SET maxmemory-policy noeviction"
        )


def check_namespace(metadata: Mapping[bytes, bytes], namespace: str) -> None:
    """Raise RecordTooNew, ConfigurationError if the namespace was laid out by another version."""
    if int(metadata[b"layout"]) > LAYOUT:
        raise RecordTooNew(
            f"namespace {namespace!r} has layout {int(metadata[b'layout'])}, this process knows {LAYOUT}: upgrade it"
        )
    if int(metadata[b"shards"]) != SHARDS:
        raise ConfigurationError(f"namespace {namespace!r} has {int(metadata[b'shards'])} shards, not {SHARDS}")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the client library's errors into ours; the one place where that is done."""
    try:
        yield
    except rx.RedisError as error:
        raise our_error(error, where) from error


def our_error(error: rx.RedisError, where: str) -> CtxqueueError:
    """Return the error of ours that says the same."""
    text = str(error)
    if isinstance(error, AUTH_ERRORS) or "NOAUTH" in text or "WRONGPASS" in text:
        return StoreAuthError(
            f"the server at {where} refuses the credentials ({text}): check user and password in the URL"
        )
    if isinstance(error, rx.ReadOnlyError):
        return StoreReadOnly(f"the server at {where} is a read-only replica: connect to the master, or by Sentinel")
    if isinstance(error, rx.OutOfMemoryError) or text.startswith("OOM") or "OOM command" in text:
        return StoreReadOnly(f"the server at {where} is out of memory ({text}): nothing was written; raise maxmemory")
    if "WRONGTYPE" in text:
        return StoreUnavailable(
            f"a key of ours at {where} holds another type: something else writes under our prefix;"
            f" nothing was written ({text})",
            answered=True,
        )
    if isinstance(error, rx.ConnectionError | rx.TimeoutError):
        return StoreUnavailable(f"the server at {where} does not answer ({text}): is it running, is the URL right?")
    return _answered(error, where)


def _answered(error: rx.RedisError, where: str) -> CtxqueueError:
    if isinstance(error, rx.AskError):  # to a client that knows of one server only
        return ConfigurationError(f"the server at {where} is a node of a cluster: use redis+cluster:// ({error})")
    if isinstance(error, rx.ClusterError | rx.TryAgainError):
        return StoreUnavailable(f"the cluster at {where} does not serve all its slots ({error})")
    return StoreUnavailable(f"the server at {where} answered with an error: {error}", answered=True)
