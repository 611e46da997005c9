"""Identities of calls and runs: the same call again is the same, another one never."""

from __future__ import annotations

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxqueue.errors import InvalidName
from ctxqueue.identity import (
    Attempt,
    Call,
    Identified,
    current_attempt,
    derived_run_id,
    input_digest,
    new_run_id,
)


def one(kind: str = "put", workflow_id: str = "w", *addresses: str, operation_id: str | None = None) -> Call:
    with Identified(kind, workflow_id, "agent", addresses or ("w\0\0k",), operation_id) as call:
        return call


def body(attempt: Attempt) -> list[str]:
    token = current_attempt.set(attempt)
    try:
        return [
            one().call_id,
            one().call_id,
            one("update:append").call_id,
            one("put", "other").call_id,
            one("put", "w", "w\0\0j").call_id,
            one("update:append", "w", "w\0\0a", "w\0\0b").call_id,
            one("update:append", "w", "w\0\0b", "w\0\0a").call_id,
            one().call_id,
        ]
    finally:
        current_attempt.reset(token)


def test_a_body_that_runs_again_makes_the_same_calls() -> None:
    first = body(Attempt("run", 0, "w", 1))
    assert body(Attempt("run", 0, "home", 7)) == first
    assert len(set(first)) == len(first)
    assert not set(first) & set(body(Attempt("run", 1, "w", 1)))


def test_calls_of_a_run_carry_its_attempt() -> None:
    token = current_attempt.set(Attempt("run", 0, "w", 5))
    try:
        named, plain = one(operation_id="op"), one()
    finally:
        current_attempt.reset(token)
    assert (plain.mode, plain.owner, plain.run_id, plain.epoch) == ("run", "run", "run", 5)
    assert (named.mode, named.owner, named.call_id) == ("operation", "operation:agent\0op", "")
    assert (named.run_id, named.epoch) == ("run", 5)
    outside = one(operation_id="op")
    assert (outside.owner, outside.run_id, outside.epoch) == (named.owner, "", 0)
    with Identified("put", "w", "another", ("a",), "op") as call:
        assert call.owner != named.owner


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "\ud800", 5])
def test_an_operation_has_a_name(name: str) -> None:
    with pytest.raises(InvalidName, match="operation_id"):
        one(operation_id=name)


def test_a_lane_has_one_call_under_way() -> None:
    with Identified("put", "w", "agent", ("a",), None) as outer:
        with Identified("put", "w", "agent", ("a",), None) as inner:
            assert inner.owner != outer.owner
        again = one()
        assert again.owner == inner.owner
        assert int(again.call_id) == int(inner.call_id) + 1
    assert (outer.mode, outer.run_id, outer.epoch) == ("lane", "", 0)


def test_a_call_that_fails_frees_its_lane() -> None:
    first = one()
    with pytest.raises(RuntimeError), Identified("put", "w", "agent", ("a",), None) as call:
        raise RuntimeError
    assert call.owner == first.owner
    assert one().owner == first.owner


def test_threads_never_share_a_call() -> None:
    barrier = threading.Barrier(8)

    def work(_number: int) -> list[tuple[str, str]]:
        barrier.wait()
        seen = []
        for _ in range(200):
            with Identified("put", "w", "agent", ("a",), None) as call:
                seen.append((call.owner, call.call_id))
        return seen

    with ThreadPoolExecutor(8) as pool:
        calls = [call for seen in pool.map(work, range(8)) for call in seen]
    assert len(set(calls)) == 1_600


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_lanes_of_its_own() -> None:
    parent = one()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, one().owner.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        owner = answer.read()
    assert uuid.UUID(owner)
    assert owner != parent.owner
    assert one().owner == parent.owner


def test_a_run_id_begins_with_its_time() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid.UUID(new_run_id()) for _ in range(100)]
    after = time.time_ns() // 1_000_000
    for each in made:
        assert (each.version, each.variant) == (7, uuid.RFC_4122)
        assert before <= int.from_bytes(each.bytes[:6]) <= after
    assert len(set(made)) == 100


@pytest.mark.parametrize("parent", [new_run_id(), "a foreign id", ""], ids=["ours", "foreign", "none"])
def test_a_run_that_publishes_again_publishes_the_same_run(parent: str) -> None:
    derived = derived_run_id(parent, "task")
    assert derived == derived_run_id(parent, "task")
    assert uuid.UUID(derived).version == 8
    others = [derived_run_id(parent, "other"), derived_run_id(f"{parent}x", "task"), parent]
    assert derived not in others


def test_a_derived_run_keeps_its_parents_time() -> None:
    parent = new_run_id()
    grandchild = derived_run_id(derived_run_id(parent, "task"), "next")
    assert uuid.UUID(grandchild).bytes[:6] == uuid.UUID(parent).bytes[:6]


@given(st.lists(st.binary(max_size=5), max_size=5), st.lists(st.binary(max_size=5), max_size=5))
def test_a_digest_tells_every_two_inputs_apart(first: list[bytes], second: list[bytes]) -> None:
    assert (input_digest("owner", first) == input_digest("owner", second)) is (first == second)


def test_a_digest_is_keyed_and_short() -> None:
    assert input_digest("a", [b"x"]) != input_digest("b", [b"x"])
    assert len(input_digest("a" * 1_000, [b"x" * 10_000])) == 16


class Contended(dict[str, int]):
    """Counters that let every other thread go first between a look and what follows."""

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        time.sleep(0)  # lets go of the interpreter, and takes no time
        return found


def test_tools_in_threads_of_one_run_never_get_the_same_call() -> None:
    attempt = Attempt("run", 0, "w", 1, counters=Contended())
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(attempt.next_call, "put", "w", ["a"]) for _ in range(2_000)]
    assert len({call.result() for call in calls}) == len(calls)
    assert attempt.next_call("put", "w", ["a"]).endswith(":2001")
