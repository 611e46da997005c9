"""Who observes what an app's processes do: metrics and traces, as the settings say; nobody, and at no cost, by default.

``ctxqueue_metrics``, ``ctxqueue_metrics_port``, ``ctxqueue_tracing``, ``ctxqueue_trace_keys``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ctxqueue.drivers import AsyncDriver, Driver
from ctxqueue.integration.messages import publish

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.observability.observing import Observer


WORKER_STEP = "ctxqueue.integration.operating:Operating"
"""By its path: only a worker loads it."""


def observer_of(app: Celery, namespace: str) -> Observer | None:
    """Return who observes; None, and nothing loaded, if the settings name nobody. Raises ConfigurationError."""
    conf: Any = app.conf
    observers: list[Observer] = []
    if conf.get("ctxqueue_metrics"):
        from ctxqueue.observability.metrics import Metrics  # noqa: PLC0415

        observers.append(Metrics(namespace))
    if conf.get("ctxqueue_tracing"):
        from ctxqueue.observability.tracing import Traces  # noqa: PLC0415

        observers.append(Traces(namespace, keys=bool(conf.get("ctxqueue_trace_keys"))))
    if len(observers) < 2:  # noqa: PLR2004 - of several one is made
        return observers[0] if observers else None
    from ctxqueue.observability.observing import Several  # noqa: PLC0415

    return Several(observers)


def driver_of(queue: ContextQueue, namespace: str, store: Any) -> Driver:
    """Return what carries out flows over a store, and publishes for the app."""
    observer = observer_of(queue.app, namespace)
    if observer is None:
        return Driver(store, partial(publish, queue))
    from ctxqueue.observability.observing import ObservedDriver  # noqa: PLC0415

    return ObservedDriver(store, partial(publish, queue), observer)


def async_driver_of(queue: ContextQueue, namespace: str, store: Any) -> AsyncDriver:
    """Return the same for event loops."""
    observer = observer_of(queue.app, namespace)
    if observer is None:
        return AsyncDriver(store, partial(publish, queue))
    from ctxqueue.observability.observing import ObservedAsyncDriver  # noqa: PLC0415

    return ObservedAsyncDriver(store, partial(publish, queue), observer)


def connect(app: Celery) -> None:
    """Let messages carry the trace that they are published in, if there is to be one; calling it again is harmless."""
    if app.conf.get("ctxqueue_tracing"):
        from ctxqueue.integration import tracing  # noqa: PLC0415

        tracing.connect()
