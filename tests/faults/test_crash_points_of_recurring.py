"""The process dies while it looks at what fires each time: each change fires once, one during a run brings one more."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.flows import recurring, subscribing, triggers, updating
from ctxqueue.identity import Attempt, current_attempt
from ctxqueue.models import Agent
from ctxqueue.rules.conditions import all_of, in_workflow, key
from ctxqueue.testing.contract.recurring import Repeating
from tests.faults.dying import LEASE, WORKFLOW, at_each_point
from tests.faults.places import RedisPlace
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue import effects as fx
    from tests.faults.places import Place

OTHER = Agent("other_1")
ROUNDS = 30


@pytest.fixture
def app(place: Place) -> Iterator[Repeating]:
    app = Repeating(place.url, lease=LEASE)
    app.manager.workflow(WORKFLOW).open()
    yield app
    app.manager.close()


def write(app: Repeating, **values: Any) -> fx.Flow[Any]:
    return updating.update(app.manager.terms, WORKFLOW, OTHER, values, "replace")


class Runs:
    """What has come of all messages, as workers carry them out."""

    def __init__(self, app: Repeating, place: Place) -> None:
        self._app = app
        self._place = place
        self.begun: defaultdict[str, Counter[int]] = defaultdict(Counter)
        """By trigger: how often each of its firings was begun."""

    def carried_out(self, *, ends: bool) -> None:
        def empty() -> bool:
            self._app.sweep()
            for trigger_id, number, run in self._app.launched():
                answer = self._app.claim(run)
                if answer.word == "run":
                    self.begun[trigger_id][int(number)] += 1
                    self._app.finish(answer)
                if ends and trigger_id.partition("-")[0].endswith("e"):
                    self._app.end(trigger_id, int(number))
            return self._place.outbox_is_empty()

        wait_until(empty, "the outbox is empty")

    def check(self, trigger_id: str, times: int) -> None:
        assert self.begun[trigger_id] == dict.fromkeys(range(1, times + 1), 1)


def nothing_is_due(app: Repeating) -> None:
    wait_until(lambda: app.manager.cleanup_expired_contexts().scanned == 0, "nothing is due")


def test_a_write_that_fires(app: Repeating, place: Place) -> None:
    each = app.wf.when(key("a") > 0).then(b"canvas", every=True)
    told = app.wf.subscribe(["a", "b*"], b"canvas")
    runs, rounds = Runs(app, place), 0

    def begin() -> fx.Flow[Any]:
        nonlocal rounds
        rounds += 1
        return write(app, a=rounds)

    def check(_effects: int) -> None:
        def all_told() -> bool:
            runs.carried_out(ends=True)
            return min(max(runs.begun[one.id], default=0) for one in (each, told)) >= rounds

        wait_until(all_told, "the sweep has looked at it")
        runs.check(each.id, rounds)
        runs.check(told.id, rounds)
        nothing_is_due(app)

    assert at_each_point(app, begin, check) >= 10


class Forgetful:
    """Carries out one effect twice, as a client does whose first reply is lost."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.left = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def perform(self, effect: fx.Effect[Any]) -> Any:
        self.left -= 1
        if self.left == 0:
            self._inner.perform(effect)
        return self._inner.perform(effect)


def test_whichever_reply_is_lost_a_write_fires_once(app: Repeating, place: Place) -> None:
    each = app.wf.when(key("a") > 0).then(b"canvas", every=True)
    told = app.wf.subscribe(["a", "b*"], b"canvas")
    runs = Runs(app, place)
    forgetful: Any = Forgetful(app.manager.store)
    app.manager.store = app.manager.driver.store = forgetful
    rounds = 0
    while forgetful.left <= 0:
        rounds += 1
        forgetful.left = rounds
        app.manager.driver.run(write(app, a=rounds))
        lost = forgetful.left <= 0

        def all_told(times: int = rounds) -> bool:
            runs.carried_out(ends=True)
            return min(max(runs.begun[one.id], default=0) for one in (each, told)) >= times

        wait_until(all_told, "the sweep has looked at it")
        runs.check(each.id, rounds)
        runs.check(told.id, rounds)
        forgetful.left = 0 if lost else 1
    assert rounds >= 10  # the last one was undisturbed
    nothing_is_due(app)


def test_the_end_of_a_run_meanwhile_changed(app: Repeating, place: Place) -> None:
    each = app.wf.when("a").then(b"canvas", every=True)
    runs, rounds = Runs(app, place), 0

    def begin() -> fx.Flow[Any]:
        nonlocal rounds
        rounds += 1
        app.manager.driver.run(write(app, a=rounds))  # fires
        app.manager.driver.run(write(app, a=-rounds))
        return recurring.run_ended(app.manager.terms, WORKFLOW, each.id, 2 * rounds - 1, (0,), 1)

    def check(_effects: int) -> None:
        app.end(each.id, 2 * rounds - 1)  # the message that told of the end comes again

        def once_more() -> bool:
            runs.carried_out(ends=False)
            return 2 * rounds in runs.begun[each.id]

        wait_until(once_more, "it has run once more")
        runs.check(each.id, 2 * rounds)
        app.end(each.id, 2 * rounds)
        nothing_is_due(app)
        runs.check(each.id, 2 * rounds)

    assert at_each_point(app, begin, check) >= 5


def test_a_registration(app: Repeating, place: Place) -> None:
    """The body that dies in it runs again: there is one, which fires once for what was there.

    On Redis the trigger waits for another workflow; how that is watched is no store's own.
    """
    elsewhere = isinstance(place, RedisPlace)
    app.manager.workflow("there").open()
    app.manager.workflow("there", agent_id="other_1").put("a", 1)
    app.manager.driver.run(write(app, a=1))
    condition = in_workflow("there", "a") if elsewhere else all_of("a")
    runs: list[str] = []

    def registering() -> fx.Flow[Any]:
        token = current_attempt.set(Attempt(runs[-1], 0, WORKFLOW, 1))
        try:
            flow = triggers.register(
                *(app.manager.terms, WORKFLOW, app.wf.agent, condition, b"canvas", None, None),
                every=True,
                pass_cause=False,
            )
            telling = subscribing.subscribe(*(app.manager.terms, WORKFLOW, app.wf.agent, ("b",), b"canvas", 0.0, None))
            first = yield from flow
            return first[0], (yield from telling)
        finally:
            current_attempt.reset(token)

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        return registering()

    def check(_effects: int) -> None:
        each, told = app.manager.driver.run(registering())
        seen = Runs(app, place)
        app.manager.driver.run(write(app, b=len(runs)))

        def both() -> bool:
            seen.carried_out(ends=False)
            return bool(seen.begun[each] and seen.begun[told])

        wait_until(both, "both have fired")
        seen.check(each, 1)
        seen.check(told, 1)
        for trigger in app.wf.triggers():
            trigger.cancel()
        for subscription in app.wf.subscriptions():
            subscription.cancel()
        nothing_is_due(app)

    assert at_each_point(app, begin, check) >= 5


def test_two_who_write_at_once_are_each_told_of_once(place: Place) -> None:
    app = Repeating(place.url)
    app.manager.workflow(WORKFLOW).open()
    told = app.wf.subscribe("n_*", b"canvas")
    together = threading.Barrier(2, timeout=60)

    def write_all(letter: str) -> None:
        process = Repeating(place.url)
        wf = process.manager.workflow(WORKFLOW, agent_id=f"writer_{letter}")
        for number in range(ROUNDS):
            together.wait()
            wf.put(f"n_{letter}{number}", 1)
        causes.append(process.canvases.causes)
        process.manager.close()

    causes: list[dict[str, dict[str, Any]]] = [app.canvases.causes]
    with ThreadPoolExecutor(2) as threads:
        for writer in [threads.submit(write_all, letter) for letter in "ab"]:
            writer.result()
    assert app.manager.cleanup_expired_contexts().scanned == 0  # nobody has to come after them
    notices = app.wf.notifications()
    keys = Counter(name for notice in notices for name in notice.keys)
    if len(notices) < 100:  # else the first ones are not kept
        assert keys == Counter(f"n_{letter}{number}" for letter in "ab" for number in range(ROUNDS))
    assert max(keys.values()) == 1
    assert {notice.subscription for notice in notices} == {told.id}
    app.manager.close()
