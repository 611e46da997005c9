"""A message as a worker holds it, with arguments that no monitor and no log shows.

In events Celery shows a task's arguments by what the publisher put into ``argsrepr`` and ``kwargsrepr``, but the values
themselves in ``inspect active``, ``reserved`` and ``scheduled``, on Flower's worker page and in the pool's debug log.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Never

from celery.worker.request import Request

from ctxqueue.integration.headers import HIDDEN_ARGS, HIDDEN_KWARGS, SHOWN

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields = self._request_dict
        if not fields.get(SHOWN):
            fields["argsrepr"] = self._argsrepr = HIDDEN_ARGS
            fields["kwargsrepr"] = self._kwargsrepr = HIDDEN_KWARGS
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

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - as Celery calls it
        """Tell monitors of the request: never its arguments, always what the publisher lets be seen of them."""
        return super().info(safe=True)


@cache
def safe_request(base: type[Any]) -> type[Any]:
    """Return a request class with `Discreet` laid over it."""
    return base if issubclass(base, Discreet) else type("SafeRequest", (Discreet, base), {})


SafeRequest = safe_request(Request)
