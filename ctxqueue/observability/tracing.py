"""Spans for OpenTelemetry: each call on a workflow is one, in whatever trace its caller is.

No value is ever in one. Keys are, where the app asks for them, but for those whose name says that it is a secret.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.errors import ConfigurationError, CtxqueueError
from ctxqueue.models import GLOBAL_WORKFLOW
from ctxqueue.rules.access import is_sensitive_name

try:
    from opentelemetry import trace
except ImportError as error:
    raise ConfigurationError(
        "tracing needs opentelemetry-api: pip install 'ctxqueue[tracing]', or unset ctxqueue_tracing"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "ctxqueue"
UNTRACED = "other"
"""Calls of no interest to a reader: leases renewed, what a sweep does in its steps."""


def tracer() -> trace.Tracer:
    """Return the one that the app's provider makes."""
    return trace.get_tracer(NAME)


class Traces:
    """The observer of one namespace."""

    def __init__(self, namespace: str, *, keys: bool = False) -> None:
        self._namespace = namespace
        self._keys = keys

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Make a span of a call. An error's text may name keys: only its type is told."""
        if name == UNTRACED:
            yield
            return
        with tracer().start_as_current_span(
            f"ctxqueue {name}",
            kind=trace.SpanKind.CLIENT,
            attributes={"ctxqueue.namespace": self._namespace, "ctxqueue.call": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except CtxqueueError as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.Status(trace.StatusCode.ERROR))
                raise

    def worked(self, name: str, seconds: float) -> None:
        """Write down how long embedding or ranking took."""
        trace.get_current_span().set_attribute(f"ctxqueue.{name}_seconds", seconds)

    def saw(self, effect: fx.Effect[Any], reply: Any) -> None:
        """Write down what a commit did."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        if isinstance(effect, fx.Commit):
            self._write_commit(span, effect, reply)
        elif isinstance(effect, fx.Load | fx.LoadPage | fx.LoadSince | fx.Register):
            if effect.workflow_id == GLOBAL_WORKFLOW:
                return
            span.set_attribute("ctxqueue.workflow", effect.workflow_id)

    def _write_commit(self, span: trace.Span, effect: fx.Commit, reply: Any) -> None:
        span.set_attribute("ctxqueue.workflow", effect.workflow_id)
        span.set_attribute("ctxqueue.agent", effect.agent_id)
        span.set_attribute("ctxqueue.entries", len(effect.writes))
        if isinstance(reply, fx.Committed):
            span.set_attribute("ctxqueue.revision", reply.revision)
            span.set_attribute("ctxqueue.replayed", reply.replayed)
            span.set_attribute("ctxqueue.fired", reply.fired)
        else:
            span.add_event("conflict" if isinstance(reply, fx.Conflict) else reply.reason)
        if self._keys:
            names = (write.address.rpartition("\0")[2] for write in effect.writes if not write.sensitive)
            span.set_attribute("ctxqueue.keys", [name for name in names if not is_sensitive_name(name)])
