"""One trace from who publishes a task, through its commits and what these let go, to the tasks that depend on them.

A message carries the span that it was published in. A task is a span under it, unless somebody else's instrumentation
has made one already. What a commit lets go is published under that commit's span: a trigger's tasks go on in its trace,
a parked task stays in the one it was published in, with a link.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery.signals import before_task_publish, task_postrun, task_prerun
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ctxqueue.integration import headers as carried
from ctxqueue.integration import messages
from ctxqueue.integration.task import ContextTask
from ctxqueue.observability.tracing import tracer

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE = "ctxqueue_trace"
"""The span that a message was published in, as W3C's traceparent."""
ARMED_IN = "ctxqueue_armed_in"
"""Of a trigger: the span that armed it, for where no commit's span is known, as beat sends what a crash left behind."""
RELEASED_BY = "ctxqueue_released_by"
"""The span of the commit that let a parked task go."""

_propagator = TraceContextTextMapPropagator()
_running: dict[str, list[tuple[trace.Span, Any]]] = {}
"""By task id, the innermost last: an eager task is retried inside itself."""


def _traceparent() -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def _context_of(traceparent: str | None) -> context.Context:
    return _propagator.extract({"traceparent": traceparent} if traceparent else {}, context.Context())


def inject(headers: dict[str, Any] | None = None, **_signal: object) -> None:
    """Add the current span to a message on its way out."""
    now = _traceparent()
    if headers is None or now is None:
        return
    headers[RELEASED_BY if messages.sending_again.get() and TRACE in headers else TRACE] = now


def arm(headers: dict[str, Any]) -> None:
    """Add the current span to a trigger's message when it is armed."""
    now = _traceparent()
    if now is not None:
        headers[ARMED_IN] = now


def begin(task_id: str = "", task: Any = None, **_signal: object) -> None:
    """Make a span of a task that begins."""
    request = task.request
    given = request.get(TRACE) or request.get(ARMED_IN)
    if given is None and not isinstance(task, ContextTask):
        return
    parent = context.get_current() if trace.get_current_span().get_span_context().is_valid else _context_of(given)
    released_by = trace.get_current_span(_context_of(request.get(RELEASED_BY))).get_span_context()
    span = tracer().start_span(
        f"run {task.name}",
        parent,
        kind=trace.SpanKind.CONSUMER,
        attributes={"celery.task": task.name, "celery.task_id": task_id, "celery.retries": request.retries or 0},
        links=[trace.Link(released_by)] if released_by.is_valid else [],
    )
    span.set_attribute("ctxqueue.leg", carried.carried_by(request).leg)
    token = context.attach(trace.set_span_in_context(span, parent))
    _running.setdefault(task_id, []).append((span, token))


def end(task_id: str = "", state: str | None = None, **_signal: object) -> None:
    """End the span of a task; what it raised is not in it."""
    running = _running.get(task_id)
    if not running:
        return
    span, token = running.pop()
    if not running:
        del _running[task_id]
    span.set_attribute("celery.state", state or "")
    if state == "FAILURE":
        span.set_status(trace.Status(trace.StatusCode.ERROR))
    context.detach(token)
    span.end()


def _kept_of_caller() -> Callable[[], object]:
    return partial(context.attach, context.get_current())


def connect() -> None:
    """Start; calling it again changes nothing."""
    for signal, receiver in ((before_task_publish, inject), (task_prerun, begin), (task_postrun, end)):
        signal.connect(receiver, weak=False, dispatch_uid=f"ctxqueue.tracing.{receiver.__name__}")
    if _kept_of_caller not in messages.kept_of_callers:
        messages.kept_of_callers.append(_kept_of_caller)
    if arm not in carried.of_triggers:
        carried.of_triggers.append(arm)
