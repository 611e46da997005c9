"""Two commits bring one of two needed keys each at the same moment: each time one firing, in one workflow or in two."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ctxqueue import all_of, connect, in_workflow, key
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.triggers import Arming

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.rules.conditions import Condition
    from tests.faults.places import Place

ROUNDS = 60
OTHER = "other"


@pytest.mark.parametrize(
    ("condition", "place_of_b"),
    [
        (lambda n: all_of(f"a{n}", f"b{n}"), WORKFLOW),
        (lambda n: all_of(f"a{n}", key(f"b{n}") > 0), WORKFLOW),
        (lambda n: all_of(f"a{n}", in_workflow(OTHER, f"b{n}")), OTHER),
    ],
    ids=["one workflow", "a value", "two workflows"],
)
def test_each_time_it_fires_once(place: Place, condition: Callable[[int], Condition], place_of_b: str) -> None:
    with connect(place.url) as manager:
        for name in (WORKFLOW, OTHER):
            manager.workflow(name).open()
    arming = Arming(place.url)
    armed = [arming.wf.when(condition(number)).then(b"canvas").id for number in range(ROUNDS)]
    together = threading.Barrier(2, timeout=60)

    def write(workflow_id: str, letter: str) -> int:
        fired = 0
        with connect(place.url) as manager:
            wf = manager.workflow(workflow_id, agent_id=f"writer_{letter}")
            for number in range(ROUNDS):
                together.wait()
                fired += wf.update({f"{letter}{number}": 1}).fired
        return fired

    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(write, WORKFLOW, "a"), threads.submit(write, place_of_b, "b")]
        fired = [writer.result() for writer in writers]
    assert sum(fired) == ROUNDS
    assert sorted(arming.released()) == sorted(f"{trigger_id} launch".encode() for trigger_id in armed)
    arming.manager.close()
