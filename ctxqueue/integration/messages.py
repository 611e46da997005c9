"""Messages at rest: a task's own message as the store keeps it, and its way back to the broker."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

import msgspec
from celery._state import _task_stack  # type: ignore[attr-defined]  # the stubs leave it out
from celery.canvas import Signature
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import (  # type: ignore[attr-defined]  # the stubs leave the registry out
    dumps,
    loads,
    prepare_accept_content,
    registry,
)

from ctxqueue import signing
from ctxqueue.envelopes import opened
from ctxqueue.errors import InvalidInput, RecordDamaged
from ctxqueue.integration import signatures
from ctxqueue.integration.eager import carry_out
from ctxqueue.integration.headers import CONTENT_TYPE, LEG
from ctxqueue.integration.privacy import serialiser_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery, Task

    from ctxqueue.effects import Outgoing
    from ctxqueue.integration.install import ContextQueue

logger = logging.getLogger(__name__)

sending_again: ContextVar[bool] = ContextVar("ctxqueue_sending_again", default=False)
"""What is being published is a message that the store keeps already."""

kept_of_callers: list[Callable[[], Callable[[], object]]] = []
"""What of a caller goes with what is published for it: each is called there, what it returns where that is done."""

STORED = "stored message"

OF_THE_MOMENT = frozenset({"retry", "retry_policy", "timeout", "confirm_timeout", "declare", "exchange"})
"""Of a producer's options: nothing that belongs to the message."""


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A serialised signature, or a message as it was published. New fields go to the end, with a default."""

    content_type: str
    encoding: str
    body: bytes
    signature: str = ""
    """Of an app with signing keys."""

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return b"\0".join((self.content_type.encode(), self.encoding.encode(), self.body))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode


def stored(task: Task[..., Any], leg: int) -> bytes:
    """Return the running task's message, to be sent again as it came, entering at ``leg``.

    It keeps the task's id, queue, priority, limits, callbacks, chain, chord and our headers.
    """
    request = task.request
    signature = task.signature_from_request(request, tuple(request.args or ()), dict(request.kwargs or {}))
    signature.options["headers"] = {**(signature.options.get("headers") or {}), LEG: leg}
    # Its publisher may have chosen another one than its task has, as arguments need it.
    came_by = registry.type_to_name.get(request.get(CONTENT_TYPE))
    if came_by is not None and came_by != task.serializer:
        signature.options["serializer"] = came_by
    return packed(task.app, dict(signature), came_by or task.serializer)


def as_published(app: Celery, body: Any, options: dict[str, Any]) -> bytes:
    """Return a message as it goes to the broker, with what the producer is told of it."""
    kept = {name: value for name, value in options.items() if name not in OF_THE_MOMENT and value is not None}
    kept["exchange"] = getattr(options.get("exchange"), "name", options.get("exchange"))
    kept["declare"] = [queue.name for queue in options.get("declare") or ()]
    return packed(app, {"body": body, "options": kept}, options.get("serializer"))


def packed(app: Celery, content: dict[str, Any], serializer: str | None) -> bytes:
    """Return what goes into the store, by one of kombu's serializers; raises EncodeError."""
    content_type, encoding, body = dumps(content, serializer=serializer)
    kept = Stored(content_type, encoding, body.encode() if isinstance(body, str) else body)
    signer = signatures.signer_of(app)
    if signer is not None:
        kept = msgspec.structs.replace(kept, signature=signer.sign(STORED, kept.signed))
    return _encode(kept)


def frozen(app: Celery, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> bytes:
    """Return a message that has not been sent, as `stored` keeps one; raises InvalidInput."""
    signature = {"task": name, "args": args, "kwargs": {}, "options": options, "subtask_type": None, "immutable": False}
    try:
        return packed(app, signature, serialiser_of(app))
    except EncodeError as error:
        raise InvalidInput(f"an option of the message cannot be stored with it: {error}") from error


def unpacked(message: bytes, app: Celery) -> Any:
    """Undo `packed`; raises KombuError if the app does not accept its content, BadSignature, DecryptionError."""
    kept = _kept(message)
    signer = signatures.signer_of(app)
    if signer is not None:
        signer.verify(STORED, kept.signed, kept.signature, aged=False)  # it may have waited long
    return loads(kept.body, kept.content_type, kept.encoding, accept=prepare_accept_content(app.conf.accept_content))


def key_of(message: bytes) -> str:
    """Return by which key a stored message is signed; empty: by none. Raises DecryptionError, RecordDamaged."""
    return signing.key_of(_kept(message).signature)


def _kept(message: bytes) -> Stored:
    try:
        return _decode(opened(message))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"a stored message is damaged: {type(error).__name__}") from error


def send(app: Celery, message: bytes, producer: Any) -> None:
    """Publish what `stored` or `as_published` returned; raises KombuError if the app does not accept its content."""
    content = unpacked(message, app)
    if "options" not in content or "body" not in content:
        Signature.from_dict(content, app=app).apply_async(producer=producer)
        return
    options = content["options"]
    queues: Any = app.amqp.queues
    options["declare"] = [queues[name] for name in options["declare"] if name in queues]
    headers = options.get("headers") or {}
    if signatures.SIGNATURE in headers:  # that of its first publishing would be too old by now
        signatures.sign(app, headers, content["body"])
    policy = {"retry": app.conf.task_publish_retry, "retry_policy": dict(app.conf.task_publish_retry_policy)}
    producer.publish(content["body"], **policy, **options)


def publish(queue: ContextQueue, items: tuple[Outgoing, ...]) -> tuple[str, ...]:
    """Send stored messages; return the ids of those that the broker took.

    Never raises for a broker that is away: the commit stands, and the outbox sends what is left after its lease. What
    is under way here is nothing to these messages: Celery would make it their parent. Where tasks run at once they run
    here, and what they raise is raised.
    """
    app = queue.app
    if app.conf.task_always_eager:
        for item in items:
            content = unpacked(item.message, app)
            carry_out(queue, content, item.message, Signature.from_dict(content, app=app).apply_async)
        return tuple(item.item_id for item in items)
    taken: list[str] = []
    kept = [keep() for keep in kept_of_callers]
    with _no_task_under_way(), _no_results(queue):
        Context().run(_publish, app, items, taken, kept)
    return tuple(taken)


@contextmanager
def _no_task_under_way() -> Iterator[None]:
    """Let Celery know of none inside the block; a thread, which knows of none, takes as long as a round trip."""
    running = [_task_stack.pop() for _ in range(len(_task_stack))]
    try:
        yield
    finally:
        for task in reversed(running):
            _task_stack.push(task)


@contextmanager
def _no_results(queue: ContextQueue) -> Iterator[None]:
    """Let nobody listen inside the block for the results of what is published: who asks for one does so himself.

    It took longer than all else between a commit and the start of what it releases. One backend for all threads is let
    be: the others need it.
    """
    silent, app = queue.no_results, queue.app
    local: Any = app._local  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to say so
    if silent.thread_safe:
        yield
        return
    backend, local.backend = getattr(local, "backend", None), silent
    try:
        yield
    finally:
        local.backend = backend


def _is_of_the_message(error: Exception) -> bool:
    """Whether one message cannot be sent, rather than that the broker is away or the caller's time is up.

    A task class of the user's may raise anything, and what is stored may fit no queue any more. Among what kombu takes
    for a lost connection is any KeyError, as of a compression that nobody has installed.
    """
    if isinstance(error, OperationalError):
        return isinstance(error.__cause__, KeyError)
    return not isinstance(error, OSError | SoftTimeLimitExceeded)


def _publish(app: Celery, items: tuple[Outgoing, ...], taken: list[str], kept: list[Callable[[], object]]) -> None:
    sending_again.set(True)  # in this context, which ends with it
    for take_up in kept:
        take_up()
    try:
        with app.producer_or_acquire() as producer:
            for item in items:
                try:
                    send(app, item.message, producer)
                except Exception as error:
                    if not _is_of_the_message(error):
                        raise
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
