"""A process forked from one that has been at work: it has connections and lanes of its own."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

import pytest

from ctxqueue import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle
    from tests.faults.places import Place

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CHILDREN = 4
EACH = 50


@pytest.fixture
def wf(place: Place) -> Iterator[WorkflowHandle]:
    with connect(place.url) as manager:
        handle = manager.workflow("q3-close", agent_id="analyst_001")
        handle.open()
        handle.put("k", ["parent"])
        yield handle


def forked(work: Callable[[], None]) -> int:
    """Do some work in a fork of this process; return its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may get out of the child
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def add(wf: WorkflowHandle, writer: int) -> None:
    for number in range(EACH):
        wf.update({"appended": [[writer, number]]}, merge_strategy="append")
        wf.update({"merged": {f"{writer}.{number}": number}})
        assert wf["k"] == ["parent"]


def test_parent_and_children_write_at_once(wf: WorkflowHandle) -> None:
    children = [forked(lambda writer=writer: add(wf, writer)) for writer in range(1, CHILDREN + 1)]  # type: ignore[misc]
    add(wf, 0)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * CHILDREN
    add(wf, CHILDREN + 1)
    items = wf["appended"]
    for writer in range(CHILDREN + 2):
        assert [number for who, number in items if who == writer] == list(range(EACH))
    assert len(wf["merged"]) == len(items) == (CHILDREN + 2) * EACH


def test_the_childs_end_does_not_close_the_parents_connection(wf: WorkflowHandle) -> None:
    for _ in range(3):
        child = forked(lambda: wf["k"])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert wf["k"] == ["parent"]
