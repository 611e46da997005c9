"""Both drivers carry out the same flows, and the blocking one keeps out of event loops."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import connect
from ctxqueue import effects as fx
from ctxqueue.drivers import AsyncDriver, Driver
from ctxqueue.errors import StoreUnavailable, SyncInAsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Recorder:
    """Answers each effect with its own workflow's name, or fails."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def perform(self, effect: Any) -> Any:
        self.seen.append(effect)
        if effect.workflow_id == "away":
            raise StoreUnavailable("away")
        return effect.workflow_id


class AsyncRecorder(Recorder):
    async def perform(self, effect: Any) -> Any:
        await asyncio.sleep(0)
        return Recorder.perform(self, effect)


def flow() -> fx.Flow[Any]:
    found: list[Any] = [(yield from fx.do(fx.Load("a", ())))]
    try:
        yield from fx.do(fx.Load("away", ()))
    except StoreUnavailable as error:
        found.append(str(error))
    yield from fx.do(fx.Wait(0.001))
    found.append((yield from fx.do(fx.Publish((fx.Outgoing("item", b""),)))))
    return found


def publisher(items: tuple[fx.Outgoing, ...]) -> tuple[str, ...]:
    return tuple(item.item_id for item in items)


def test_a_flow_runs_alike_in_both() -> None:
    blocking, awaiting = Recorder(), AsyncRecorder()
    expected = ["a", "away", ("item",)]
    assert Driver(blocking, publisher).run(flow()) == expected
    assert asyncio.run(AsyncDriver(awaiting, publisher).arun(flow())) == expected
    assert blocking.seen == awaiting.seen == [fx.Load("a", ()), fx.Load("away", ())]


class Ahead(Recorder):
    """Notes when an effect was sent, and when its reply was looked for."""

    @contextmanager
    def ahead(self, effect: Any) -> Iterator[Callable[[], Any]]:
        self.seen.append("sent")
        yield lambda: self.perform(effect)
        self.seen.append("over")


def test_a_flow_that_is_begun_goes_on_when_it_is_asked_to() -> None:
    store = Ahead()
    with Driver(store, publisher).begun(flow()) as rest:
        assert store.seen == ["sent"]
        assert rest() == ["a", "away", ("item",)]
    assert store.seen == ["sent", fx.Load("a", ()), fx.Load("away", ()), "over"]
    plain = Recorder()
    with Driver(plain, publisher).begun(flow()) as rest:
        assert plain.seen == []
        assert rest() == ["a", "away", ("item",)]


def test_a_flow_that_is_begun_and_left_is_closed() -> None:
    begun = flow()
    with Driver(Recorder(), publisher).begun(begun):
        pass
    with pytest.raises(StopIteration):
        next(begun)


def test_an_error_that_the_flow_does_not_mend_comes_out() -> None:
    driver = Driver(Recorder())
    with pytest.raises(StoreUnavailable):
        driver.run(fx.do(fx.Load("away", ())))


def test_a_publisher_that_fails_is_the_flows_business() -> None:
    def failing(_items: tuple[fx.Outgoing, ...]) -> tuple[str, ...]:
        raise ConnectionError("no broker")

    with pytest.raises(ConnectionError):
        Driver(Recorder(), failing).run(fx.do(fx.Publish(())))


def test_a_blocking_call_inside_an_event_loop_is_refused() -> None:
    with connect("memory://") as manager:
        wf = manager.workflow("w", agent_id="analyst_001")
        wf.open()

        async def mistaken() -> None:
            wf.put("k", 1)

        with pytest.raises(SyncInAsyncError, match="inside a running event loop"):
            asyncio.run(mistaken())

        async def right() -> None:
            await asyncio.to_thread(wf.put, "k", 1)

        asyncio.run(right())
        assert wf["k"] == 1
        assert wf.open().revision == 1
