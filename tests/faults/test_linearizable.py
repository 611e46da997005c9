"""What several clients saw of one key at the same time could have been seen by one after the other."""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue import SharedContextManager, VersionConflict
from tests.faults.linearizability import Recorded, is_linearizable

if TYPE_CHECKING:
    from ctxqueue import WorkflowHandle

CLIENTS = 4
CALLS = 12
KEYS = ("a", "b")
ROUNDS = 12
DELETED = True


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def call(wf: WorkflowHandle, dice: random.Random, versions: dict[str, int]) -> tuple[str, Recorded]:
    """Make one call; note when it began and ended."""
    key, kind = dice.choice(KEYS), dice.choice(["get", "put", "increment", "swap", "swap", "delete"])
    given: Any = dice.randrange(1_000)
    begun = time.monotonic()
    answer: Any
    if kind == "get":
        entry = wf.get(key)
        answer = (entry.value, entry.version) if entry else (None, 0)
        versions[key] = answer[1]
    elif kind == "put":
        answer = wf.put(key, given).version
    elif kind == "increment":
        answer = wf.update({key: given}, merge_strategy="increment").versions[key]
    elif kind == "delete":
        answer = wf.delete(key)
    else:
        given = (versions.get(key, 0), given)
        try:
            answer = versions[key] = wf.put(key, given[1], expected_version=given[0]).version
        except VersionConflict as conflict:
            answer = "conflict"
            versions[key] = conflict.current.version if conflict.current else 0
    return key, Recorded(begun, time.monotonic(), kind, given, answer)


def one_round(managers: list[SharedContextManager], seed: int) -> dict[str, list[Recorded]]:
    workflow_id = f"w{uuid.uuid4().hex}"
    managers[0].workflow(workflow_id).open()
    history: dict[str, list[Recorded]] = {key: [] for key in KEYS}
    failures: list[BaseException] = []
    start = threading.Barrier(len(managers))

    def client(number: int) -> None:
        try:
            wf = managers[number].workflow(workflow_id, agent_id=f"client_{number}")
            dice, versions = random.Random(f"{seed}.{number}"), dict[str, int]()  # noqa: S311 - a repeatable choice
            start.wait()
            for _ in range(CALLS):
                key, recorded = call(wf, dice, versions)
                history[key].append(recorded)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(managers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return history


def test_concurrent_calls_have_one_order(url: str) -> None:
    managers = [SharedContextManager(url) for _ in range(CLIENTS)]
    overlapping = 0
    for seed in range(ROUNDS):
        for key, recorded in one_round(managers, seed).items():
            assert is_linearizable(recorded), f"round {seed}, key {key}: {sorted(recorded)}"
            by_begin = sorted(recorded)
            overlapping += sum(later.begun < earlier.ended for earlier, later in itertools.pairwise(by_begin))
    for manager in managers:
        manager.close()
    assert overlapping > 0, "the calls were not concurrent"


def at(begun: float, ended: float, kind: str, given: Any, answer: Any) -> Recorded:
    return Recorded(begun, ended, kind, given, answer)


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        ([at(0, 1, "put", 1, 1), at(2, 3, "get", None, (1, 1))], True),
        ([at(0, 1, "put", 1, 1), at(2, 3, "get", None, (None, 0))], False),  # a stale read
        ([at(0, 3, "put", 1, 1), at(1, 2, "get", None, (None, 0))], True),  # it may come before
        ([at(0, 1, "put", 0, 1), at(2, 5, "increment", 1, 2), at(3, 4, "increment", 1, 2)], False),  # a lost update
        ([at(0, 1, "put", 0, 1), at(2, 5, "increment", 1, 3), at(3, 4, "increment", 1, 2)], True),
        ([at(0, 1, "put", 0, 1), at(2, 3, "swap", (1, 5), 2), at(2, 3, "swap", (1, 6), 2)], False),  # both won
        ([at(0, 1, "put", 0, 1), at(2, 3, "swap", (1, 5), 2), at(2, 3, "swap", (1, 6), "conflict")], True),
        ([at(0, 1, "put", 0, 4), at(2, 3, "delete", None, DELETED), at(4, 5, "put", 1, 4)], False),  # a version twice
        ([at(0, 1, "delete", None, DELETED)], False),
    ],
)
def test_the_check_tells_right_from_wrong(history: list[Recorded], *, verdict: bool) -> None:
    assert is_linearizable(history) is verdict
