"""Two commits bring one of two needed keys each at the same moment: each time one firing, in one workflow or in two."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ctxqueue import SharedContextManager, all_of, connect, in_workflow, key
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.triggers import Arming

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.rules.conditions import Condition
    from tests.faults.places import Place

ROUNDS = 60
ROUNDS_LONG, BATCH = 10_000, 1_000
OTHER = "other"
LEASE = 3_600.0
"""Seconds: what fires is claimed by nobody here, and is not to be sent again before the test is over."""


WAYS = pytest.mark.parametrize(
    ("condition", "place_of_b"),
    [
        (lambda n: all_of(f"a{n}", f"b{n}"), WORKFLOW),
        (lambda n: all_of(f"a{n}", key(f"b{n}") > 0), WORKFLOW),
        (lambda n: all_of(f"a{n}", in_workflow(OTHER, f"b{n}")), OTHER),
    ],
    ids=["one workflow", "a value", "two workflows"],
)


@WAYS
def test_each_time_it_fires_once(place: Place, condition: Callable[[int], Condition], place_of_b: str) -> None:
    assert fired_in(place, condition, place_of_b, range(ROUNDS)) == ROUNDS


@pytest.mark.long
@pytest.mark.timeout(3_600)
@WAYS
def test_each_of_10000_times_it_fires_once(
    place: Place, condition: Callable[[int], Condition], place_of_b: str
) -> None:
    batches = [range(first, first + BATCH) for first in range(0, ROUNDS_LONG, BATCH)]
    assert sum(fired_in(place, condition, place_of_b, batch) for batch in batches) == ROUNDS_LONG


def fired_in(place: Place, condition: Callable[[int], Condition], place_of_b: str, numbers: range) -> int:
    """Arm a trigger a number, bring its keys at the same moment, and return how many fired; each once."""
    with connect(place.url) as manager:
        for name in (WORKFLOW, OTHER):
            manager.workflow(name).open()
    arming = Arming(place.url, lease=LEASE)
    armed = [arming.wf.when(condition(number)).then(b"canvas").id for number in numbers]
    together = threading.Barrier(2, timeout=60)

    def write(workflow_id: str, letter: str) -> int:
        fired = 0
        with SharedContextManager(place.url, {"lease": LEASE}) as manager:
            wf = manager.workflow(workflow_id, agent_id=f"writer_{letter}")
            for number in numbers:
                together.wait()
                fired += wf.update({f"{letter}{number}": 1}).fired
        return fired

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write, WORKFLOW, "a"), threads.submit(write, place_of_b, "b")]
        fired = sum(writer.result() for writer in writers)
    assert sorted(arming.released()) == sorted(f"{trigger_id} launch".encode() for trigger_id in armed)
    for name in (WORKFLOW, OTHER):
        arming.manager.workflow(name).remove()  # what has fired is known by its ids alone: the next batch has room
    arming.manager.close()
    return fired
