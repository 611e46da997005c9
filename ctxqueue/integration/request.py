"""A message as a worker holds it, with arguments that no monitor and no log shows.

In events Celery shows a task's arguments by what the publisher put into ``argsrepr`` and ``kwargsrepr``, but the values
themselves in ``inspect active``, ``reserved`` and ``scheduled``, on Flower's worker page and in the pool's debug log.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Never

from billiard.exceptions import TimeLimitExceeded
from celery.app.task import Context
from celery.worker.request import Request

from ctxqueue.integration.deliveries import ended_from_outside, given_back
from ctxqueue.integration.headers import CONTENT_TYPE, HIDDEN_ARGS, HIDDEN_KWARGS, LEG, SHOWN, carried_by

if TYPE_CHECKING:
    RequestBase = Request
else:
    RequestBase = object


class _Unread(bytes):
    """A message's body, which no log shows; in another process plain bytes."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (bytes(self),)


class _UnreadText(str):
    """As `_Unread`, for a transport that gives text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} characters>"

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class _Fields(dict[str, Any]):
    """What a message says beside its body; in another process a plain dict."""

    def __repr__(self) -> str:
        return repr({name: value for name, value in self.items() if name not in ("args", "kwargs")})

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class Discreet(RequestBase):
    """What `safe_request` lays over a request class."""

    __slots__: tuple[Never, ...] = ()
    _request_dict: dict[str, Any]
    _body: Any
    _comes_again = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields = self._request_dict
        if not fields.get(SHOWN):
            fields["argsrepr"] = self._argsrepr = HIDDEN_ARGS
            fields["kwargsrepr"] = self._kwargsrepr = HIDDEN_KWARGS
        fields[CONTENT_TYPE] = self.content_type
        self._request_dict = _Fields(fields)
        if isinstance(self._body, str):
            self._body = _UnreadText(self._body)
        elif isinstance(self._body, bytes | memoryview):
            self._body = _Unread(self._body)

    def _success_was_stored(self) -> Any:
        """Have the message of a lost process delivered again, also where its result is stored.

        Celery (5.7) would acknowledge it: but a chord's member may not be counted yet, and its body not be sent. The
        run has its outcome, which the delivery only repeats.
        """
        if self.task.acks_late and self.task.reject_on_worker_lost:
            return False
        return super()._success_was_stored()  # type: ignore[misc]  # celery-types knows 5.6, which has none

    def cancel(self, *args: Any, **options: Any) -> None:
        """End the task's process, as a worker that is to stop at once does: its message goes back, to find no lease."""
        super().cancel(*args, **options)
        queue = getattr(self.task, "context_queue", None)
        if queue is not None and self.time_start and self.task.acks_late and not self.acknowledged:
            request = Context(self._request_dict)
            given_back(queue, self.task, carried_by(request), request.retries or 0)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - as Celery calls it
        """Have the run end with its task, whose process ends: else a second message of it would begin it again."""
        super().on_timeout(soft, timeout)
        queue = getattr(self.task, "context_queue", None)
        if queue is not None and not soft and self.acknowledged and not self._comes_again:
            request = Context(self._request_dict)
            ended_from_outside(queue, self.task, carried_by(request), request.retries or 0, TimeLimitExceeded(timeout))

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - as Celery calls it
        """Give the message back, as where ``acks_on_timeout`` is off: then the run is to be tried again."""
        self._comes_again = requeue
        super().reject(requeue)

    def maybe_expire(self) -> Any:
        """Let a message in that has waited for its keys: it was taken in time once, and its deadline counts."""
        return False if self._request_dict.get(LEG) else super().maybe_expire()

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - as Celery calls it
        """Tell monitors of the request: never its arguments, always what the publisher lets be seen of them."""
        return super().info(safe=True)


@cache
def safe_request(base: type[Any]) -> type[Any]:
    """Return a request class with `Discreet` laid over it."""
    return base if issubclass(base, Discreet) else type("SafeRequest", (Discreet, base), {})


SafeRequest = safe_request(Request)
