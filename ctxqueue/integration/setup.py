"""How an app is set up: its settings, tasks and servers, as the rules of `check` look at them."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from ctxqueue.clock import MICROSECONDS, microseconds
from ctxqueue.errors import CtxqueueError
from ctxqueue.integration.backend import OUR_SENTINELS
from ctxqueue.integration.check import OLDEST, REDIS_SCHEMES, ServerSetup, Setup, TaskSetup
from ctxqueue.integration.durable import seconds_until
from ctxqueue.integration.headers import is_claimed
from ctxqueue.integration.task import ContextTask
from ctxqueue.settings import Settings

if TYPE_CHECKING:
    from celery import Celery, Task

    from ctxqueue.integration.install import ContextQueue

CELERYS_OWN = "celery."
CELERYS_BACKOFF_MAX = 600.0
LARGE = 64

NO_SUCH_URL = (KeyError, ValueError, ImportError, ImproperlyConfigured)
"""What Celery and kombu raise for a URL that they have nothing for."""


def look(queue: ContextQueue) -> Setup:
    """Return how the app is set up; asks the servers of store, broker and result backend."""
    app = queue.app
    app.finalize()
    app.loader.import_default_modules()
    settings = Settings.read(app.conf.get)
    return Setup(
        conf=app.conf,
        broker=_scheme(app.conf.broker_url or app.conf.broker_read_url or ""),
        backend=_scheme(str(app.conf.result_backend or "disabled://").removeprefix(OUR_SENTINELS)),
        store=_scheme(queue.url),
        asks_anew=str(app.conf.result_backend).startswith(OUR_SENTINELS),
        tasks=tuple(
            _task(task, settings) for name, task in sorted(app.tasks.items()) if not name.startswith(CELERYS_OWN)
        ),
        countdowns={name: delay for name, entry in app.conf.beat_schedule.items() if (delay := _countdown(app, entry))},
        servers=(*_stores(queue), *_broker(app), *_backend(app)),
        versions={name: version(name) for name in OLDEST},
    )


def _scheme(url: Any) -> str:
    first = url[0] if isinstance(url, list | tuple) else str(url).split(";", 1)[0]
    return str(first).partition("://")[0].partition("+" if "redis+cluster" not in str(first) else "\0")[0]


def _task(task: Task[..., Any], settings: Settings) -> TaskSetup:
    waits = None
    if isinstance(task, ContextTask) and task.needs is not None:
        waits = microseconds(task.needs_timeout or settings.needs_timeout, "needs_timeout") / MICROSECONDS
    return TaskSetup(
        name=task.name,
        is_agent=isinstance(task, ContextTask),
        time_limit=task.time_limit,
        retry_delay=_retry_delay(task),
        priority=None if task.priority == task.app.conf.task_default_priority else task.priority,
        needs_timeout=waits,
        acks_late=bool(task.acks_late),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        is_claimed=is_claimed(task.name),
        retry_on_worker_lost=bool(getattr(task, "retry_on_worker_lost", False)),  # Celery 5.6 has none
    )


def _retry_delay(task: Task[..., Any]) -> float:
    """Return the longest pause before a retry: the fixed one, or the last of those that grow."""
    its_own: dict[str, Any] = getattr(task, "retry_kwargs", None) or {}
    most = its_own.get("max_retries", task.max_retries)
    if most == 0:
        return 0.0
    factor = float(getattr(task, "retry_backoff", 0) or 0)
    if not factor:
        return float(its_own.get("countdown") or task.default_retry_delay)
    longest = float(getattr(task, "retry_backoff_max", CELERYS_BACKOFF_MAX))
    return longest if most is None else min(longest, max(1.0, factor) * 2.0 ** min(most - 1, LARGE))


def _countdown(app: Celery, entry: dict[str, Any]) -> float:
    options = entry.get("options") or {}
    eta = options.get("eta")
    if isinstance(eta, datetime):
        return seconds_until(app, eta)
    return float(options.get("countdown") or 0.0)


def _stores(queue: ContextQueue) -> list[ServerSetup]:
    store = queue.manager.store
    ask = getattr(store, "servers_info", None)
    try:
        if ask is None:  # a database, or this process's memory: nothing of it is evicted
            store.verify()
            return []
        return [_server("store", store.where, info) for info in ask()]
    except CtxqueueError as error:
        return [ServerSetup(role="store", where=store.where, error=str(error))]


def _broker(app: Celery) -> list[ServerSetup]:
    if _scheme(app.conf.broker_url or "").endswith("+cluster"):
        return []  # there is none, says a rule
    try:
        made = app.connection_for_write()
        where = made.as_uri()
    except NO_SUCH_URL as error:
        return [_unusable("broker", "broker_url", error)]
    with made as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            if _scheme(where) not in REDIS_SCHEMES:  # of another broker it is enough that it is there
                return []
            channel: Any = connection.channel()
            return [_server("broker", where, channel.client.info())]
        except OperationalError as error:
            return [ServerSetup(role="broker", where=where, error=f"it does not answer: {error}")]
        except (*connection.channel_errors, *connection.connection_errors) as error:
            refuses = "it does not say how it is set" if _scheme(where) in REDIS_SCHEMES else "it lets nobody in"
            return [ServerSetup(role="broker", where=where, error=f"{refuses}: {error}")]


def _backend(app: Celery) -> list[ServerSetup]:
    try:
        backend: Any = app.backend
        client = getattr(backend, "client", None)
        if client is None or not hasattr(client, "info"):
            return []
        where = backend.as_uri()
    except NO_SUCH_URL as error:
        return [_unusable("result backend", "result_backend", error)]
    try:
        return [_server("result backend", where, client.info())]
    except backend.connection_errors as error:
        return [ServerSetup(role="result backend", where=where, error=f"it does not answer: {error}")]
    except backend.channel_errors as error:
        return [ServerSetup(role="result backend", where=where, error=f"it does not say how it is set: {error}")]


def _unusable(role: str, setting: str, error: Exception) -> ServerSetup:
    """Say so without the error's text: it may quote a part of the URL, and so of a password that is not quoted."""
    why = "there is nothing for its scheme" if isinstance(error, KeyError | ImportError) else "it cannot be read"
    told = f"{why}: is it a URL, its password quoted (%2F for /)?"
    if "ssl_cert_reqs" in str(error):
        told = "Celery's backend takes no rediss:// URL without ?ssl_cert_reqs=required (or optional, or none)"
    return ServerSetup(role=role, where=setting, error=told)


def _server(role: str, where: str, info: dict[str, Any]) -> ServerSetup:
    return ServerSetup(
        role=role,
        where=where,
        policy=str(info.get("maxmemory_policy")),
        appendonly=bool(info.get("aof_enabled")),
    )
