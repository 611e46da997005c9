"""A process that dies after any effect of a flow, and what a worker and the sweep make of what it left behind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.testing.contract.runs import Worker
    from tests.faults.places import Place

WORKFLOW = "q3-close"
LEASE = 0.05
"""Seconds."""
MOST_EFFECTS = 60


class Noting:
    """A store that notes which runs' messages it has sent again because nobody had claimed them in time."""

    def __init__(self, store: Any) -> None:
        self.inner = store
        self.again: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def perform(self, effect: fx.Effect[Any]) -> Any:
        reply = self.inner.perform(effect)
        if isinstance(effect, fx.Release) and effect.due.kind == "ready" and reply == "sent":
            self.again[effect.due.detail] += 1
        return reply


def die_after(worker: Worker, flow: fx.Flow[Any], effects: int) -> bool:
    """Carry out a flow up to so many effects and drop it; return whether it had come to its end before."""
    reply: Any = None
    for _ in range(effects):
        try:
            effect = flow.send(reply)
        except StopIteration:
            return True
        reply = perform(worker, effect)
    flow.close()
    return False


def perform(worker: Worker, effect: fx.Effect[Any]) -> Any:
    if isinstance(effect, fx.Publish):
        worker.published += [item.message for item in effect.items]
        return tuple(item.item_id for item in effect.items)
    if isinstance(effect, fx.Wait):
        return None
    return worker.manager.store.perform(effect)


def at_each_point(worker: Worker, begin: Callable[[], fx.Flow[Any]], check: Callable[[int], None]) -> int:
    """Begin the flow anew for each of its effects, let it die there, check; return how many effects it has."""
    for effects in range(1, MOST_EFFECTS):
        ended = die_after(worker, begin(), effects)
        check(effects)
        if ended:
            return effects - 1
    raise AssertionError("the flow has no end")


def all_delivered(worker: Worker, place: Place, workflow_id: str = WORKFLOW) -> Counter[bytes]:
    """Sweep, send again and carry out what comes until the outbox is empty; return how often each message came."""
    seen: Counter[bytes] = Counter()

    def empty() -> bool:
        worker.sweep()
        delivered = worker.deliver()
        seen.update(delivered)
        for message in delivered:
            run, _, position = message.decode().partition("/")
            answer = worker.claim(run, leg=int(position.partition(".")[2]), needs="never", workflow_id=workflow_id)
            if answer.attempt.epoch:
                worker.finish(answer, outcome=answer.word.encode())
        return place.outbox_is_empty()

    wait_until(empty, "the outbox is empty")
    return seen


def check_sent(worker: Worker, seen: Counter[bytes], expected: set[bytes], times: int) -> None:
    """Each came, at most so often and once more each time that it was not claimed within a lease."""
    store: Any = worker.manager.store
    assert set(seen) == expected
    for message, count in seen.items():
        assert count <= times + store.again[message.decode().partition("/")[0]], message
