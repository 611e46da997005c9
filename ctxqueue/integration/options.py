"""What a caller may give along with a message of ours, checked before anything is stored.

Celery looks at most of it only when it publishes: then the update would be stored, and its message never sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from celery.utils.time import maybe_iso8601
from kombu import compression
from kombu.serialization import registry  # type: ignore[attr-defined]  # the stubs leave the registry out
from kombu.utils.functional import maybe_list

from ctxqueue.errors import InvalidInput

ROUTING = frozenset({"queue", "exchange", "routing_key", "priority"})
"""Of the caller's options, those that are the drain's too: it is nobody's task in particular."""

OPTIONS = ROUTING | {
    *("countdown", "eta", "expires", "time_limit", "soft_time_limit", "ignore_result"),
    *("task_id", "group_id", "group_index", "parent_id", "root_id", "reply_to", "chord", "link", "link_error"),
    *("add_to_parent", "replaced_task_nesting", "shadow", "argsrepr", "kwargsrepr", "headers", "stamped_headers"),
    *("serializer", "compression", "content_type", "content_encoding", "retry", "retry_policy", "confirm_timeout"),
    *("exchange_type", "declare", "delivery_mode", "mandatory", "immediate", "timeout", "origin"),
    *("connection", "publisher", "router", "route_name", "event_dispatcher", "expiration", "retries", "chain"),
    *("correlation_id", "message_id", "app_id", "user_id", "type", "timestamp"),
}
"""What Celery's ``apply_async`` and kombu's ``publish`` know; a name that none knows would be lost without a word."""
ARGUMENTS = frozenset({"merge_strategy", "operation_id", "coalesce", "as_task"})

KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("queue", "exchange", "routing_key", "serializer", "compression"), (str, "a string")),
    **dict.fromkeys(("task_id", "group_id", "parent_id", "root_id", "reply_to"), (str, "a string")),
    **dict.fromkeys(("time_limit", "soft_time_limit"), ((int, float), "seconds as a number")),
    "priority": (int, "an integer"),
    "eta": ((datetime, str), "a datetime"),
    "headers": (Mapping, "a mapping"),
    "declare": ((list, tuple), "a list"),
}


def check(options: Mapping[str, Any]) -> None:
    """Raise InvalidInput for an option that Celery does not know, or of which it could make nothing."""
    _check_names(options)
    for name in options.keys() & KINDS.keys():
        kind, told = KINDS[name]
        given = options[name]
        if given is not None and not isinstance(given, kind):
            raise InvalidInput(f"{name} is a {type(given).__name__}: give {told}")
    serializer, compressed, eta = (options.get(name) for name in ("serializer", "compression", "eta"))
    if serializer and serializer not in registry.name_to_type:
        raise InvalidInput(f"serializer is {serializer!r:.60}: give one of {', '.join(sorted(registry.name_to_type))}")
    if compressed and not _compresses(compressed):
        raise InvalidInput(f"compression is {compressed!r:.60}, which is not installed: give zlib, bzip2, ...")
    if isinstance(eta, str) and not _is_time(eta):
        raise InvalidInput(f"eta is {eta!r:.60}: give a datetime")
    for name in ("link", "link_error"):
        for each in maybe_list(options.get(name)) or ():
            if not isinstance(each, Mapping):
                raise InvalidInput(
                    f"{name} holds what is no signature ({type(each).__name__}): give what task.s() returns"
                )


def _check_names(options: Mapping[str, Any]) -> None:
    if mistaken := options.keys() & {"args", "kwargs"}:
        raise InvalidInput(
            f"{', '.join(sorted(mistaken))}: the message's arguments are ctxqueue's, and name the update"
        )
    stamps = options.get("stamped_headers") or ()
    for name in options.keys() - OPTIONS - set(stamps):
        alike = get_close_matches(name, OPTIONS | ARGUMENTS, n=1)
        meant = f"did you mean {alike[0]}?" if alike else "a header of your own goes into headers={...}"
        raise InvalidInput(f"{name} is neither an argument of enqueue_update nor an option of apply_async: {meant}")


def _compresses(name: str) -> bool:
    try:
        compression.get_encoder(name)
    except KeyError:
        return False
    return True


def _is_time(text: str) -> bool:
    try:
        maybe_iso8601(text)
    except ValueError:
        return False
    return True
