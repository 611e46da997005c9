"""Coroutines as task bodies: one event loop a process, in a thread of its own, made when first needed, after a fork.

A pooled client belongs to the loop it was opened in: a loop a task would open and break them each time.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import inspect
import os
import sys
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from celery._state import _task_stack  # type: ignore[attr-defined]  # what its own tracer pushes to

from ctxqueue.errors import ConfigurationError, SyncInAsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from celery import Task

T = TypeVar("T")

LAST_SECONDS = 5.0
"""For a coroutine to end when its process does."""

_running: contextvars.ContextVar[tuple[Any, Any] | None] = contextvars.ContextVar("ctxqueue_running", default=None)
"""The task and the request that a coroutine runs for."""


def blocking(body: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Any]:
    """Return a coroutine function as the plain one that Celery calls; called directly in a loop it is awaited."""

    @functools.wraps(body)
    def run(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        coroutine = body(task, *args, **kwargs)
        if _is_awaited(task):
            return coroutine
        return _carry_out(task, coroutine)

    run.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]  # what Celery checks arguments by
    return run


def _is_awaited(task: Task[..., Any]) -> bool:
    """Whether who calls is a coroutine, and wants one: a direct call, or one by the task's own body."""
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - get_running_loop() raises
        return False
    running = _running.get()
    return bool(task.request.called_directly or (running is not None and running[1] is task.request))


def _carry_out(task: Task[..., Any], coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        _check_place(task)
        loop = _loops.get()
    except BaseException:  # whatever it was is raised: only, Python warns of a coroutine that nobody awaited
        coroutine.close()
        raise
    context = contextvars.copy_context()
    context.run(_running.set, (task, task.request))
    return _Run(loop, coroutine, context).outcome(task.name)


def _check_place(task: Task[..., Any]) -> None:
    """Raise SyncInAsyncError, ConfigurationError where nobody may wait for a loop in another thread."""
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises
        raise SyncInAsyncError(
            f"task {task.name} is a coroutine and was to run at once, inside a running event loop, which would wait"
            f" for itself: publish it by 'await asyncio.to_thread({task.name}.delay, ...)'"
        )
    for name, patched in (("gevent", "gevent.monkey"), ("eventlet", "eventlet.patcher")):
        monkey = sys.modules.get(patched)
        check = getattr(monkey, "is_module_patched", None) or getattr(monkey, "is_monkey_patched", None)
        if check is not None and (check("threading") or check("thread")):
            raise ConfigurationError(
                f"task {task.name} is a coroutine, and this is a {name} worker: there an event loop would run in the"
                " thread of all other tasks, whose blocking calls it refuses. Run it with --pool=prefork, threads or"
                " solo, or write it as a plain function: a green thread does not block the others"
            )


class _Run:
    """One coroutine under way in the loop, and the thread that waits for it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: contextvars.Context
    ) -> None:
        self._loop = loop
        self._ended = threading.Event()
        self._steps = _Steps(coroutine)
        self._task: asyncio.Task[Any] | None = None
        loop.call_soon_threadsafe(self._start, context)

    def _start(self, context: contextvars.Context) -> None:
        self._task = context.run(asyncio.Task, self._steps.whole(), loop=self._loop)
        self._task.add_done_callback(lambda _task: self._ended.set())

    def outcome(self, name: str) -> Any:
        """Wait for its end; what a signal raises here meanwhile, as a soft time limit does, is raised there.

        If something in it cancelled it, that is raised as an error like any other: Celery would take asyncio's own, as
        all that is no Exception, for the end of the process.
        """
        interruption: Exception | None = None
        while not self._ended.is_set():
            try:
                self._ended.wait()
            except Exception as error:  # noqa: BLE001 - it is the coroutine's to handle
                interruption = error
                self._loop.call_soon_threadsafe(self._interrupt, error)
            except BaseException:  # the process is about to end, and the coroutine first
                self._loop.call_soon_threadsafe(self._interrupt, None)
                self._ended.wait(LAST_SECONDS)
                raise
        task = self._task
        if task is None or task.cancelled():
            raise interruption or CancelledError(f"the coroutine of task {name} was cancelled from inside")
        return task.result()

    def _interrupt(self, error: Exception | None) -> None:
        self._steps.interruption = error
        if self._task is not None:
            self._task.cancel()


class _Steps:
    """A coroutine each step of which finds Celery's current task and request, as a body in a worker thread does.

    Celery keeps both by thread, and the loop's thread is shared by all coroutines: only a step is one's own.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.interruption: Exception | None = None
        """Raised in the coroutine in the place of its next cancellation."""

    async def whole(self) -> Any:
        """Return what the coroutine returns."""
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        """Go through the steps."""
        step: Callable[[], Any] = functools.partial(self._coroutine.send, None)
        while True:
            try:
                awaited = self._as_own(step)
            except StopIteration as stop:
                return stop.value
            try:
                step = functools.partial(self._coroutine.send, (yield awaited))
            except asyncio.CancelledError as cancelled:
                error, self.interruption = self.interruption, None
                if error is not None:
                    self._not_cancelled()
                step = functools.partial(self._coroutine.throw, error or cancelled)
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                step = functools.partial(self._coroutine.throw, error)

    @staticmethod
    def _not_cancelled() -> None:
        """Take the cancellation back that brought something else: a task group would cancel what goes on after it."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()

    @staticmethod
    def _as_own(step: Callable[[], T]) -> T:
        running = _running.get()
        if running is None:
            return step()
        task, request = running
        _task_stack.push(task)
        task.request_stack.push(request)
        try:
            return step()
        finally:
            task.request_stack.pop()
            _task_stack.pop()


def _stepped(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make the tasks that a coroutine starts in its turn run in its name."""
    context = options.get("context") or contextvars.copy_context()
    if context.get(_running) is not None and inspect.iscoroutine(coroutine):
        coroutine = _Steps(coroutine).whole()
    return asyncio.Task(coroutine, loop=loop, **options)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped.

    What a coroutine raises to end its process comes out of the loop too. It is for whoever waits for that coroutine to
    raise it; the loop goes on, with the others that run in it, and to tell who waits.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            continue
        return


class _Loops:
    """This process's loop."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.stop)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs."""
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                loop.set_task_factory(_stepped)
                self._thread = threading.Thread(target=_run, args=(loop,), name="ctxqueue-loop", daemon=True)
                self._thread.start()
            return self._loop

    def stop(self) -> None:
        """End the loop and its thread; the next task makes another one."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(LAST_SECONDS)
            if not thread.is_alive():
                loop.close()


_loops = _Loops()
