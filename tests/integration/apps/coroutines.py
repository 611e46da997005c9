"""Agents that are coroutines, and tools of theirs in threads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded

import ctxqueue
from tests.integration.apps.common import RETRY_PAUSE, hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue

TOOLS = 16
LONG = 100.0
"""Seconds: of work that only a limit or a signal ends, and of waiting for what takes a moment."""


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("coroutines", settings)
    _agents(ctx)
    _together(ctx)
    _stepwise(ctx)
    _tools(ctx)
    _slow(ctx)
    return ctx


def _agents(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="extract", agent_type="extractor")
    async def extract(self: Any, what: str) -> list[str]:
        note(app, f"ran:{self.request.id}", [os.getpid(), id(asyncio.get_running_loop())])
        answer = f"{what}-{uuid.uuid4()}"
        await self.acontext.update({"log": [answer]}, merge_strategy="append")
        await asyncio.sleep(0)  # a turn for the others in the loop
        return [answer]

    @ctx.task(name="extend", agent_type="extractor")
    async def extend(self: Any, given: list[str]) -> int:
        await self.acontext.update({"log": [f"extended {given[0]}"]}, merge_strategy="append")
        return len(await self.acontext.view())

    @ctx.task(name="wait", agent_type="analyst", needs="key")
    async def wait(self: Any) -> list[Any]:
        return [(await self.acontext.get("key")).value, self.waited > 0]

    @ctx.task(name="persist", agent_type="extractor", max_retries=2)
    async def persist(self: Any) -> int:
        await self.acontext.update({"log": [f"try {self.request.retries}"]}, merge_strategy="append")
        if self.request.retries < 2:
            raise self.retry(countdown=RETRY_PAUSE)
        return int(self.request.retries)


def _together(ctx: ContextQueue) -> None:
    @ctx.task(name="delegate", agent_type="extractor")
    async def delegate(self: Any) -> list[Any]:
        """Says who it is from within tasks of its loop, and publishes from one."""

        async def who() -> str:
            await asyncio.sleep(0)  # a turn for the others in the loop
            return str(self.request.id)

        async def publish() -> str:
            await asyncio.sleep(0)  # a turn for the others in the loop
            return str(ctx.app.tasks["extract"].delay("delegated").id)

        ids = await asyncio.gather(who(), who(), who())
        return [ids, await asyncio.create_task(publish())]

    @ctx.task(name="blocking", agent_type="extractor")
    async def blocking(self: Any) -> None:
        self.context.put("key", 1)

    there: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    @ctx.task(name="meet", agent_type="extractor")
    async def meet(self: Any, mine: str, theirs: str) -> str:
        """Ends only if another coroutine of the same loop runs at the same time."""
        await self.acontext.put(mine, 1)
        there[mine].set()
        await asyncio.wait_for(there[theirs].wait(), LONG)
        return mine


def _stepwise(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="stepwise", agent_type="extractor")
    async def stepwise(self: Any, name: str, times: int = 0) -> list[str]:
        """Draws by steps of all kinds; is held, and retries ``times`` times."""
        mine = self.request.id  # which a thread would not know

        def drawn(how: str) -> str:
            note(app, f"drawn:{mine}", how)
            return f"{how}-{uuid.uuid4()}"

        async def awaited(how: str) -> str:
            await asyncio.sleep(0)  # a turn for the others in the loop
            return drawn(how)

        draws = [
            await self.once("coroutine", partial(awaited, "coroutine")),
            await self.once("lambda", lambda: awaited("lambda")),
            await self.once("plain", lambda: drawn("plain")),
            await asyncio.to_thread(self.once, "thread", lambda: drawn("thread")),
            *await asyncio.gather(*(self.once(str(n), partial(awaited, str(n))) for n in range(3))),
        ]
        note(app, f"ran:{self.request.id}", os.getpid())
        await asyncio.to_thread(hold, app, name)
        if self.request.retries < times:
            raise self.retry(countdown=RETRY_PAUSE)
        return draws

    @ctx.task(name="step_while_others_run", agent_type="extractor")
    async def step_while_others_run(self: Any) -> bool:
        """Its step ends once another coroutine of the loop has run, which one that blocks never lets happen."""
        others = asyncio.Event()
        asyncio.get_running_loop().call_soon(others.set)

        async def step() -> bool:
            return await asyncio.wait_for(others.wait(), LONG)

        return bool(await self.once("step", step))

    @ctx.task(name="step_to_be_awaited", agent_type="extractor")
    def step_to_be_awaited(self: Any) -> None:
        """Is no coroutine, and its step is one."""

        async def step() -> int:
            return 1

        self.once("step", step)


def _tools(ctx: ContextQueue) -> None:
    def tool(number: int) -> str:
        handle = ctxqueue.current()
        handle.update({"log": [number]}, merge_strategy="append", operation_id=f"tool-{number}")
        handle.put(f"tool-{number}", number)
        return f"{type(handle).__name__} {handle.agent.agent_id}"

    @ctx.task(name="by_coroutine", agent_type="extractor")
    async def by_coroutine(self: Any, name: str) -> list[str]:
        here = ctxqueue.current()
        told = await asyncio.gather(*(asyncio.to_thread(tool, number) for number in range(TOOLS)))
        note(ctx.app, f"ran:{self.request.id}", os.getpid())
        await asyncio.to_thread(hold, ctx.app, name)
        return [type(here).__name__, *sorted(set(told))]

    @ctx.task(name="by_threads", agent_type="extractor")
    def by_threads(self: Any, name: str) -> list[str]:
        with ThreadPoolExecutor(TOOLS) as threads:
            calls = [threads.submit(ctxqueue.copy_context().run, tool, number) for number in range(TOOLS)]
            told = [call.result() for call in calls]
        note(ctx.app, f"ran:{self.request.id}", os.getpid())
        hold(ctx.app, name)
        return [type(ctxqueue.current()).__name__, *sorted(set(told))]

    @ctx.task(name="alone", agent_type="extractor")
    def alone(_self: Any) -> str:
        told: list[str] = []

        def ask() -> None:
            try:
                ctxqueue.current()
            except ctxqueue.ConfigurationError as error:
                told.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return told[0]


def _slow(ctx: ContextQueue) -> None:
    @ctx.task(name="slow", agent_type="extractor", soft_time_limit=1)
    async def slow(self: Any) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            note(ctx.app, f"ended:{self.request.id}", 1)

    @ctx.task(name="careful", agent_type="extractor", soft_time_limit=1)
    async def careful(self: Any) -> str:
        try:
            await asyncio.gather(asyncio.sleep(LONG), asyncio.sleep(LONG))
        except SoftTimeLimitExceeded:
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling(), "what goes on now would be cancelled by a task group"
            await self.acontext.put("log", "in time")
        return "late, but well"

    @ctx.task(name="cancelled", agent_type="extractor")
    async def cancelled(_self: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @ctx.task(name="leaving", agent_type="extractor", acks_late=False)
    async def leaving(self: Any) -> None:
        note(ctx.app, f"began:{self.request.id}", os.getpid())
        sys.exit(3)  # as a command does

    @ctx.task(name="endless", agent_type="extractor")
    async def endless(self: Any) -> None:
        note(ctx.app, f"began:{self.request.id}", os.getpid())
        await asyncio.sleep(LONG)
