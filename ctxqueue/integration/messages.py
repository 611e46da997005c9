"""Messages at rest: a task's own message as the store keeps it, and its way back to the broker."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import msgspec
from celery.canvas import Signature
from kombu.exceptions import EncodeError, KombuError, OperationalError
from kombu.serialization import dumps, loads, prepare_accept_content

from ctxqueue.errors import InvalidInput
from ctxqueue.integration.headers import LEG

if TYPE_CHECKING:
    from celery import Celery, Task

    from ctxqueue.effects import Outgoing

logger = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A serialised signature. New fields go to the end, with a default."""

    content_type: str
    encoding: str
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode


def stored(task: Task[..., Any], leg: int) -> bytes:
    """Return the running task's message, to be sent again as it came, entering at ``leg``.

    It keeps the task's id, queue, priority, limits, callbacks, chain, chord and our headers.
    """
    request = task.request
    signature = task.signature_from_request(request, tuple(request.args or ()), dict(request.kwargs or {}))
    signature.options["headers"] = {**(signature.options.get("headers") or {}), LEG: leg}
    content_type, encoding, body = dumps(dict(signature), serializer=task.serializer)
    return _encode(Stored(content_type, encoding, body.encode() if isinstance(body, str) else body))


def frozen(app: Celery, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> bytes:
    """Return a message that has not been sent, as `stored` keeps one; raises InvalidInput."""
    signature = {"task": name, "args": args, "kwargs": {}, "options": options, "subtask_type": None, "immutable": False}
    try:
        content_type, encoding, body = dumps(signature, serializer=app.conf.task_serializer)
    except EncodeError as error:
        raise InvalidInput(f"an option of the message cannot be stored with it: {error}") from error
    return _encode(Stored(content_type, encoding, body.encode() if isinstance(body, str) else body))


def restored(app: Celery, message: bytes) -> Signature[Any]:
    """Undo `stored`; raises KombuError if the app does not accept the content type."""
    kept = _decode(message)
    body = loads(kept.body, kept.content_type, kept.encoding, accept=prepare_accept_content(app.conf.accept_content))
    return Signature.from_dict(body, app=app)


def publish(app: Celery, items: tuple[Outgoing, ...]) -> tuple[str, ...]:
    """Send stored messages; return the ids of those that the broker took.

    Never raises for a broker that is away: the commit stands, and the outbox sends what is left after its lease. A
    thread of its own does it: there Celery knows of no task under way, which it would make the parent of these.
    """
    taken: list[str] = []
    thread = threading.Thread(target=_publish, args=(app, items, taken), name="ctxqueue-publish")
    thread.start()
    thread.join()
    return tuple(taken)


def _publish(app: Celery, items: tuple[Outgoing, ...], taken: list[str]) -> None:
    try:
        with app.producer_or_acquire() as producer:
            for item in items:
                try:
                    restored(app, item.message).apply_async(producer=producer)
                except OperationalError:
                    raise
                except (KombuError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
                    logger.exception("outbox item %r cannot be published; it stays and is tried again", item.item_id)
                else:
                    taken.append(item.item_id)
    except (OperationalError, OSError) as error:
        logger.warning(
            "the broker took %d of %d outbox items; the rest goes out again: %s",
            len(taken),
            len(items),
            error,
        )
