"""A task class whose arguments stay between publisher and body: not in events, monitors, logs or results."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from celery.app.task import Context, Task
from celery.exceptions import MaxRetriesExceededError
from kombu.utils.imports import symbol_by_name

from ctxqueue.errors import ContentRefused
from ctxqueue.integration import signatures
from ctxqueue.integration.headers import CONTENT_TYPE, HIDDEN_ARGS, HIDDEN_KWARGS, OUR_TASKS, REFUSED_TYPES, SHOWN

if TYPE_CHECKING:
    TaskBase = Task[..., Any]
else:
    TaskBase = object


class PrivateTask(TaskBase):
    """What our own tasks and those of agents lay over the app's task class."""

    abstract = True

    own_request: Any = None
    """The request class that the user set on a class over ours, or its name."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = vars(cls).get("Request")
        if given is not None:
            # It would hide the property below; the property builds on it instead.
            cls.own_request = given
            del cls.Request

    @property
    def Request(self) -> Any:  # type: ignore[override]  # noqa: N802 - as Celery names it; the stubs know names only
        """The request class: the user's or Celery's, with safe answers."""
        # A producer never asks for it, and need not load what a worker is made of.
        from ctxqueue.integration.request import safe_request  # noqa: PLC0415

        return safe_request(symbol_by_name(self.own_request or super().Request))

    @property
    def backend(self) -> Any:
        """The app's result backend; with ``result_extended``, one that keeps reprs in the arguments' place."""
        backend = super().backend
        if backend is None or not self.app.conf.result_extended:
            return backend
        kind: Any = type(backend)
        view = object.__new__(_discreet(kind))
        view.__dict__ = backend.__dict__  # the same connections and subscriptions: only what is written differs
        return view

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Publish; of the arguments only ``argsrepr`` and ``kwargsrepr`` are shown, where they are given."""
        options["argsrepr"] = options.get("argsrepr") or HIDDEN_ARGS
        options["kwargsrepr"] = options.get("kwargsrepr") or HIDDEN_KWARGS
        if (options["argsrepr"], options["kwargsrepr"]) != (HIDDEN_ARGS, HIDDEN_KWARGS):
            options["headers"] = {**(options.get("headers") or {}), SHOWN: True}
        return super().apply_async(args, kwargs, **options)

    def retry(self, *args: Any, **options: Any) -> Any:
        """Try again later; where that was the last try, the error does not show the arguments, as Celery's does."""
        try:
            return super().retry(*args, **options)
        except MaxRetriesExceededError as error:
            if options.get("exc") is error:
                raise
            hidden = self.MaxRetriesExceededError(f"Can't retry {self.name}[{self.request.id}]")
            raise hidden from error.__cause__


def run_body(task: Any, inherited: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a task's body, by way of ``__call__`` where the app's task class has its own."""
    # Celery's own would lay an empty request over the message's.
    call = task.run if getattr(inherited, "__func__", None) is Task.__call__ else inherited
    return call(*args, **kwargs)


def serialiser_of(app: Any) -> str:
    """Return what messages for our own tasks are written with: the app's own, JSON where that is pickle."""
    own = str(app.conf.task_serializer)
    return "json" if own in ("pickle", "application/x-python-serialize") else own


class SignedTask(PrivateTask):
    """What our own tasks are: with signing keys, a message that is not signed is refused."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Publish in the app's own serialiser, but never by pickle."""
        if options.get("serializer") is None:
            options["serializer"] = serialiser_of(self.app)
        return super().apply_async(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out a message."""
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        content_type = self.request.get(CONTENT_TYPE)
        if self.name.startswith(OUR_TASKS) and content_type in REFUSED_TYPES:
            raise ContentRefused(f"a message for {self.name} is {content_type!r:.80}: it is not carried out")
        signatures.check(self.app, self.request)
        return run_body(self, super().__call__, args, kwargs)


class _WithoutArguments:
    """Laid over a backend's class."""

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **options: Any
    ) -> Any:
        if request is not None:
            shown = {"args": request.get("argsrepr"), "kwargs": request.get("kwargsrepr")}
            request = Context({**vars(request), **shown})
        stored: Any = super().store_result(  # type: ignore[misc]  # the class below this one is made at run time
            task_id, result, state, traceback=traceback, request=request, **options
        )
        return stored


@cache
def _discreet(backend: type[Any]) -> type[Any]:
    return type(backend.__name__, (_WithoutArguments, backend), {})
