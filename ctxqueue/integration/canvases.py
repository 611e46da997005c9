"""Canvases at rest: any signature as bytes, and the way from a trigger to the broker."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import current_task
from celery.canvas import Signature
from kombu.exceptions import EncodeError

from ctxqueue.errors import InvalidInput
from ctxqueue.integration import headers
from ctxqueue.integration.messages import frozen, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.integration.install import ContextQueue

LAUNCH_CANVAS = "ctxqueue.launch_canvas"


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
        canvas.freeze()
        try:
            return packed(dict(canvas), self._queue.app.conf.task_serializer)
        except EncodeError as error:
            raise InvalidInput(f"the signature cannot be stored: {error}") from error

    def thawed(self, kept: bytes) -> Signature[Any]:
        """Undo `frozen`; raises KombuError if the app does not accept its content."""
        content = unpacked(kept, self._queue.app)
        return Signature.from_dict(content, app=self._queue.app)

    def launch(self, workflow_id: str, trigger_id: str, *, late: bool) -> bytes:
        """Return the message of the task that launches what a trigger holds."""
        carried = {
            headers.WORKFLOW: workflow_id,
            headers.NAMESPACE: self._queue.manager.terms.namespace,
            headers.RUN: trigger_id,
        }
        options = {"task_id": trigger_id, "headers": carried}
        return frozen(self._queue.app, LAUNCH_CANVAS, (workflow_id, trigger_id, late), options)

    def depth(self) -> int:
        """Return how many triggers have led to what runs here."""
        request = current_task.request if current_task else None
        depth: int = (request.get(headers.DEPTH) if request is not None else None) or 0
        return depth
