"""The process dies after each effect of a flow in turn: what it left behind, the next call or the sweep mends."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import connect
from ctxqueue import effects as fx
from ctxqueue.errors import VersionConflict
from ctxqueue.flows import (
    attempts,
    draining,
    ending,
    erasing,
    inbox,
    reading,
    stored,
    sweeping,
    updating,
    viewing,
    writing,
)
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import Attempt
from ctxqueue.models import Put
from ctxqueue.pending import PendingUpdate
from ctxqueue.rules.conditions import all_of, as_condition
from ctxqueue.testing.contract.clerks import DRAIN, Clerk
from ctxqueue.testing.contract.runs import AGENT
from tests.faults.dying import LEASE, WORKFLOW, all_delivered, at_each_point, check_sent, die_after
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.testing.contract.runs import Worker
    from tests.faults.places import Place

LONG_SQL = [pytest.param(name, marks=pytest.mark.long) for name in ("sqlite", "postgres")]


def test_a_commit_that_fires_one_run(worker: Worker, place: Place) -> None:
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        worker.claim_and_park(runs[-1], runs[-1])
        return updating.update(worker.manager.terms, WORKFLOW, AGENT, {runs[-1]: 1}, "replace")

    def check(effects: int) -> None:
        message = f"{runs[-1]}/0.1".encode()
        seen = all_delivered(worker, place)
        check_sent(worker, seen, {message}, 2 if effects == 2 else 1)  # published, and not yet settled
        assert worker.claim(runs[-1], leg=1).claimed.outcome == b"run"

    assert at_each_point(worker, begin, check) == 3


@pytest.mark.parametrize("place", ["redis", *LONG_SQL], indirect=True)
def test_a_commit_that_fires_more_than_one_script_looks_at(worker: Worker, place: Place) -> None:
    rounds: list[set[bytes]] = []

    def begin() -> fx.Flow[Any]:
        key = f"k{len(rounds)}"
        names = [f"{key}r{number}" for number in range(260)]
        rounds.append({f"{name}/0.1".encode() for name in names})
        for name in names:
            worker.claim_and_park(name, key)
        return updating.update(worker.manager.terms, WORKFLOW, AGENT, {key: 1}, "replace")

    def check(_effects: int) -> None:
        seen = all_delivered(worker, place)
        check_sent(worker, seen, rounds[-1], 2)

    assert at_each_point(worker, begin, check) == 10


def test_an_update_of_what_somebody_else_wrote(worker: Worker, place: Place) -> None:
    elsewhere = connect(place.url)
    handle = elsewhere.workflow(WORKFLOW, agent_id="other_1")
    state: dict[str, int] = {}

    def begin() -> fx.Flow[Any]:
        handle.put("k", {"a": 1})
        state["revision"] = handle.open().revision
        return updating.update(worker.manager.terms, WORKFLOW, AGENT, {"k": {"b": 2}, "new": 1}, "smart_merge")

    def check(effects: int) -> None:
        applied = effects >= 2
        assert handle["k"] == ({"a": 1, "b": 2} if applied else {"a": 1})
        assert handle.open().revision == state["revision"] + applied
        handle.update({"k": {"c": 3}})
        assert handle["k"] == ({"a": 1, "b": 2, "c": 3} if applied else {"a": 1, "c": 3})

    assert at_each_point(worker, begin, check) == 2
    elsewhere.close()


def test_the_first_entry_of_the_global_context(worker: Worker, place: Place) -> None:
    def begin() -> fx.Flow[Any]:
        place.forget_global()
        return writing.put(worker.manager.terms, WORKFLOW, AGENT, "global_k", Put(1))

    def check(effects: int) -> None:
        handle = worker.manager.workflow(WORKFLOW, agent_id="other_1")
        assert handle.view().global_revision == (effects >= 3)
        assert handle.put("global_k", 2).version == (2 if effects >= 3 else 1)

    assert at_each_point(worker, begin, check) == 3


def test_a_claim_and_a_parking(worker: Worker, place: Place) -> None:
    needs = as_condition(all_of("a", "b"))
    runs: list[str] = []

    def begin() -> fx.Flow[Any]:
        runs.append(f"r{len(runs)}")
        return claim_and_park(worker, runs[-1])

    def check(effects: int) -> None:
        run = runs[-1]
        handle = worker.manager.workflow(WORKFLOW)
        if effects == 1:  # the message is redelivered, and once the lease has ended somebody takes over
            wait_until(lambda: worker.claim(run, needs=needs).word == "run", "the lease has ended")
            return
        assert worker.claim(run, needs=needs).word == "parked"
        handle.update({"a": 1, "b": 1})
        message = f"{run}/0.1".encode()
        seen = all_delivered(worker, place)
        check_sent(worker, Counter({message: seen[message]}), {message}, 1)  # a standby of before may come too
        handle.delete("a")
        handle.delete("b")

    assert at_each_point(worker, begin, check) == 2


def claim_and_park(worker: Worker, run: str) -> fx.Flow[None]:
    terms = worker.manager.terms
    needs = all_of("a", "b")
    item = item_id(terms.app, WORKFLOW, run, fx.Position(0, 0))
    ticket = attempts.Ticket(WORKFLOW, run, fx.Position(0, 0), item)
    claimed, *_ = yield from attempts.claim(terms, ticket, AGENT, needs, lambda: b"first")
    attempt = Attempt(run, 0, WORKFLOW, claimed.epoch)
    following = item_id(terms.app, WORKFLOW, run, fx.Position(0, 1))
    yield from attempts.park(terms, attempt, AGENT, needs, following, f"{run}/0.1".encode(), 60)


def test_the_end_of_an_attempt(worker: Worker) -> None:
    answer = worker.claim("r")
    die_after(worker, attempts.finish(worker.manager.terms, answer.attempt, "done", b"result"), 1)
    assert worker.claim("r").word == "done"


def test_a_sweep(worker: Worker, place: Place) -> None:
    rounds: list[str] = []
    handle = worker.manager.workflow(WORKFLOW)
    second = worker.manager.workflow("second")
    second.open()

    def begin() -> fx.Flow[Any]:
        name = f"k{len(rounds)}"
        rounds.append(name)
        worker.claim_and_park(f"{name}late", "never", timeout=0.01)
        worker.claim_twice(f"{name}twice")
        handle.update({f"{name}{number}": Put(1, ttl=0.01) for number in range(150)})
        second.put(name, 1, ttl=0.01)
        handle.put(f"{name}clock", 1, ttl=2 * worker.lease)
        wait_until(lambda: handle.get(f"{name}clock") is None, "all of it is due")
        return sweeping.sweep(worker.manager.terms, 10_000)

    def check(_effects: int) -> None:
        late, twice = (f"{rounds[-1]}{message}".encode() for message in ("late/0.1", "twice/0.0"))
        seen = all_delivered(worker, place)

        def sent_once_more() -> bool:
            seen.update(all_delivered(worker, place))
            return seen[twice] > 1

        # It took over, and was kept: the attempt before may have stood still, and would acknowledge its delivery.
        wait_until(sent_once_more, "the message that took over is sent once more")
        check_sent(worker, seen - Counter([twice]), {late, twice}, 1)
        worker.sweep()
        assert worker.manager.cleanup_expired_contexts().scanned == 0
        assert worker.claim(f"{rounds[-1]}late", leg=1).claimed.outcome == b"timeout"

    assert at_each_point(worker, begin, check) >= 6


def test_sending_again(worker: Worker, place: Place) -> None:
    rounds: list[set[bytes]] = []

    def begin() -> fx.Flow[Any]:
        key = f"k{len(rounds)}"
        names = [f"{key}r{number}" for number in range(30)]
        rounds.append({f"{name}/0.1".encode() for name in names})
        for name in names:
            worker.claim_and_park(name, key)
        worker.broken = True
        worker.manager.workflow(WORKFLOW).put(key, 1)
        worker.broken = False
        clock = worker.manager.workflow(WORKFLOW)
        clock.put("clock", 1, ttl=2 * worker.lease)
        wait_until(lambda: clock.get("clock") is None, "the leases have ended")
        return sweeping.resend(worker.manager.terms, 1_000)

    def check(_effects: int) -> None:
        seen = all_delivered(worker, place)
        check_sent(worker, seen, rounds[-1], 2)

    assert at_each_point(worker, begin, check) >= 3


def test_reading_leaves_nothing(worker: Worker) -> None:
    handle = worker.manager.workflow(WORKFLOW)
    handle.update({f"k{number}": "x" * 5_000 for number in range(150)})
    before = handle.open()
    for flow in (
        lambda: viewing.view(worker.manager.terms, WORKFLOW, AGENT),
        lambda: reading.get(worker.manager.terms, WORKFLOW, AGENT, "absent"),
        lambda: reading.list_entries(worker.manager.terms, WORKFLOW, AGENT, "", None, 100, None),
    ):
        assert at_each_point(worker, flow, lambda _effects: None) >= 2
    assert handle.open() == before


@pytest.mark.parametrize("place", ["redis", "sqlite", LONG_SQL[1]], indirect=True)
def test_the_end_of_a_workflow(worker: Worker, place: Place) -> None:
    """Closed or removed, it lets all its runs go and, once removed, leaves nothing."""
    names: list[str] = []

    def begin() -> fx.Flow[Any]:
        names.append(f"w{len(names)}")
        handle = worker.manager.workflow(names[-1])
        handle.open()
        for number in range(120):
            worker.park(worker.claim(f"{names[-1]}r{number}", needs="x", workflow_id=names[-1]), "x")
        for value in range(2):
            handle.update({f"k{number}": value for number in range(150)}, merge_strategy="replace")
        return ending.remove(worker.manager.terms, names[-1])

    def check(_effects: int) -> None:
        seen: Counter[bytes] = Counter()

        def gone() -> bool:
            seen.update(all_delivered(worker, place, names[-1]))
            return not place.has_parts(names[-1])

        wait_until(gone, "all are sent and nothing is left of it")
        check_sent(worker, seen, {f"{names[-1]}r{number}/0.1".encode() for number in range(120)}, 2)

    assert at_each_point(worker, begin, check) >= 6


def test_an_erasure(worker: Worker) -> None:
    """Cut off anywhere, it is called again and finds the rest."""
    names = ("e1", "e2")

    def begin() -> fx.Flow[Any]:
        for name in names:
            worker.manager.workflow(name).remove()
            worker.manager.workflow(name).open()
            ann, bob = (worker.manager.workflow(name, agent_id=agent) for agent in ("ann_1", "bob_1"))
            ann.update({"a": 1, "b": 1})
            bob.update({"b": 2})
        return erasing.erase(worker.manager.terms, erasing.Subject("ann_1", None))

    def check(_effects: int) -> None:
        worker.manager.erase(agent_id="ann_1")
        for name in names:
            handle = worker.manager.workflow(name)
            assert dict(handle.view()) == {"b": 2}
            assert [entry.agent_id for key in ("a", "b") for entry in handle.history(key)] == ["bob_1"]

    assert at_each_point(worker, begin, check) >= 8


def test_an_erasure_of_all(worker: Worker) -> None:
    """Cut off anywhere, it is called again, and nothing is left."""
    names = ("e1", "e2")

    def begin() -> fx.Flow[Any]:
        for name in names:
            handle = worker.manager.workflow(name, agent_id="ann_1")
            handle.open()
            handle.update({"a": 1})
            handle.put("everybodys", 1, scope="global")
        return erasing.erase(worker.manager.terms, erasing.Subject(None, None, everything=True))

    def check(_effects: int) -> None:
        worker.manager.erase(namespace=worker.manager.terms.namespace)
        assert worker.manager.workflows().items == ()
        handle = worker.manager.workflow("e1")
        handle.open()
        assert dict(handle.view()) == {}

    assert at_each_point(worker, begin, check) >= 8


@pytest.fixture
def clerk(place: Place) -> Iterator[Clerk]:
    clerk = Clerk(place.url, lease=LEASE)
    clerk.manager.workflow(WORKFLOW).open()
    yield clerk
    clerk.manager.close()


@pytest.mark.parametrize("queued", [False, True])
def test_an_update_on_its_way_into_an_inbox(clerk: Clerk, *, queued: bool) -> None:
    """Either it was never stored, or whatever it needs is sent by the sweep."""
    keys: list[str] = []
    handle = clerk.manager.workflow(WORKFLOW)

    def begin() -> fx.Flow[Any]:
        keys.append(f"k{len(keys)}")
        ref = stored.UpdateRef(WORKFLOW, "ann_1", keys[-1])
        message = fx.Outgoing(f"app\0{keys[-1]}", keys[-1].encode())
        payload = stored.packed(WORKFLOW, AGENT, {keys[-1]: 1}, "replace")
        return inbox.enqueue(clerk.manager.terms, ref, payload, outgoing=message, drain=DRAIN if queued else None)

    def check(_effects: int) -> None:
        update = PendingUpdate(clerk.manager.driver, stored.UpdateRef(WORKFLOW, "ann_1", keys[-1]))
        clerk.published.clear()  # and is lost with the process
        wanted = b"drain" if queued else keys[-1].encode()

        def sent() -> bool:
            clerk.sweep()
            return wanted in clerk.deliver()

        wait_until(sent, "the sweep sends what sets it going")
        clerk.drain() if queued else clerk.carry_out(update)
        assert update.state == "APPLIED"
        assert handle[keys[-1]] == 1

    assert at_each_point(clerk, begin, check) == (2 if queued else 1)


def test_a_stored_update_that_is_carried_out(clerk: Clerk) -> None:
    keys: list[str] = []
    handle = clerk.manager.workflow(WORKFLOW)
    expected = itertools.cycle([None, 7])

    def begin() -> fx.Flow[Any]:
        keys.append(f"k{len(keys)}")
        clerk.stored({keys[-1]: Put([1], expected_version=next(expected))}, "append", operation=keys[-1])
        return quietly(inbox.carry_out(clerk.manager.terms, stored.UpdateRef(WORKFLOW, "ann_1", keys[-1])))

    def check(_effects: int) -> None:
        update = PendingUpdate(clerk.manager.driver, stored.UpdateRef(WORKFLOW, "ann_1", keys[-1]))
        for _ in range(2):
            clerk.manager.driver.run(quietly(inbox.carry_out(clerk.manager.terms, stored.UpdateRef.parse(update.id))))
        assert update.state in ("APPLIED", "FAILED")
        assert handle.get(keys[-1]) is None if update.state == "FAILED" else handle[keys[-1]] == [1]

    assert at_each_point(clerk, begin, check) >= 2


def quietly(flow: fx.Flow[Any]) -> fx.Flow[Any]:
    try:
        yield from flow
    except VersionConflict:
        return


def test_a_drain(clerk: Clerk) -> None:
    """Wherever it dies, each update is settled once."""
    rounds: list[list[PendingUpdate]] = []
    handle = clerk.manager.workflow(WORKFLOW)

    def begin() -> fx.Flow[Any]:
        key = f"k{len(rounds)}"
        rounds.append(
            [clerk.queued({key: [each]}, "append", operation=f"{key}-{each}", reports=True) for each in range(3)]
        )
        rounds[-1].append(
            clerk.queued({key: Put([9], expected_version=9)}, "append", operation=f"{key}-wrong", reports=True)
        )
        return draining.drain(clerk.manager.terms, WORKFLOW, 10)

    def check(_effects: int) -> None:
        key = f"k{len(rounds) - 1}"
        reports = {f"{key}-{each}".encode() for each in (0, 1, 2, "wrong")}
        seen: Counter[bytes] = Counter()

        def all_settled() -> bool:
            clerk.drain()
            clerk.sweep()
            seen.update(clerk.deliver())
            return all(update.state != "PENDING" for update in rounds[-1]) and reports <= seen.keys()

        wait_until(all_settled, "all are settled and reported")
        assert [update.state for update in rounds[-1]] == ["APPLIED"] * 3 + ["FAILED"]
        assert handle[key] == [0, 1, 2]
        entry = handle.get(key)
        assert entry is not None
        assert entry.version == 3

    assert at_each_point(clerk, begin, check) >= 6
