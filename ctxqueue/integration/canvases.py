"""Canvases at rest: any signature as bytes, and the way from a trigger to the broker."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import current_task
from celery.canvas import Signature
from kombu.exceptions import EncodeError

from ctxqueue.errors import InvalidInput
from ctxqueue.integration import headers
from ctxqueue.integration.messages import frozen, packed, unpacked
from ctxqueue.integration.names import LAUNCH_CANVAS, LOOK_LATER, RUN_ENDED
from ctxqueue.integration.parts import count_of, renamed, tied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue


class Ending(NamedTuple):
    """Which firing's end is to be told."""

    workflow_id: str
    trigger_id: str
    run_id: str
    number: int
    is_awaited: bool


@contextmanager
def caused_by(cause: dict[str, Any], depth: int) -> Iterator[None]:
    """Let all messages that are published inside say what caused them."""
    token = headers.causing.set({headers.CAUSE: cause, headers.DEPTH: depth})
    try:
        yield
    finally:
        headers.causing.reset(token)


class Canvases:
    """What `ctxqueue.flows.terms.Canvases` asks for, in one app."""

    def __init__(self, queue: ContextQueue) -> None:
        self._queue = queue

    def frozen(self, signature: Any) -> bytes:
        """Return any canvas as bytes, its tasks' ids fixed: sent twice, it is the same tasks. Raises InvalidInput."""
        if not isinstance(signature, Signature):
            raise InvalidInput(f"{signature!r:.60} is no signature: give task.s(...), or a canvas of such")
        canvas = signature.clone()
        if not self._queue.app.conf.task_always_eager:  # there it is sent once, and a chord would ask for its results
            canvas.freeze()
        try:
            return packed(self._queue.app, dict(canvas), self._queue.app.conf.task_serializer)
        except EncodeError as error:
            raise InvalidInput(f"the signature cannot be stored: {error}") from error

    def thawed(self, kept: bytes) -> Signature[Any]:
        """Undo `frozen`; raises KombuError if the app does not accept its content."""
        content = unpacked(kept, self._queue.app)
        return Signature.from_dict(content, app=self._queue.app)

    def launch(self, workflow_id: str, trigger_id: str, *, late: bool) -> bytes:
        """Return the message of the task that launches what a trigger holds."""
        options = self._options(workflow_id, trigger_id)
        return frozen(self._queue.app, LAUNCH_CANVAS, (workflow_id, trigger_id, late), options)

    def _options(self, workflow_id: str, run_id: str) -> dict[str, Any]:
        namespace = self._queue.manager.terms.namespace
        carried = {headers.WORKFLOW: workflow_id, headers.NAMESPACE: namespace, headers.RUN: run_id}
        for add in headers.of_triggers:
            add(carried)
        return {"task_id": run_id, "headers": carried}

    def thawed_again(self, kept: bytes, ending: Ending) -> Signature[Any]:
        """Undo `frozen`, for one of several firings; the end of what it sends is told, unless nobody waits for it."""
        content = renamed(unpacked(kept, self._queue.app), ending.run_id)
        if ending.is_awaited:
            of = count_of(content)
            tied(content, partial(self._ended, ending, of))
        return Signature.from_dict(content, app=self._queue.app)

    def _ended(self, ending: Ending, of: int, parts: list[int]) -> dict[str, Any]:
        given = (ending.workflow_id, ending.trigger_id, ending.number, parts, of)
        signature: dict[str, Any] = dict(self._queue.app.tasks[RUN_ENDED].si(*given))
        return signature

    def launch_again(
        self, workflow_id: str, trigger_id: str, run_id: str, number: int, cause: dict[str, Any], depth: int
    ) -> bytes:
        """Return the message of the task that launches it for the n-th time, as the run that is named."""
        given = (workflow_id, trigger_id, False, [number, cause, depth])
        return frozen(self._queue.app, LAUNCH_CANVAS, given, self._options(workflow_id, run_id))

    def look_later(self, workflow_id: str, subscription_id: str, seconds: float) -> bytes | None:
        """Return a message by which a worker looks at a subscription after a time; None: tasks run at once here."""
        app = self._queue.app
        if app.conf.task_always_eager:
            return None
        return frozen(app, LOOK_LATER, (workflow_id, subscription_id), {"countdown": seconds})

    def depth(self) -> int:
        """Return how many triggers have led to what runs here."""
        request = current_task.request if current_task else None
        known = request.get(headers.DEPTH) if request is not None else None
        if known is None:  # an eager task's request has no headers
            known = (headers.causing.get() or {}).get(headers.DEPTH)
        depth: int = known or 0
        return depth
