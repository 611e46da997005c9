"""What a process keeps for its next views and updates stays within bounds, however many workflows it sees."""

from __future__ import annotations

import gc
import uuid
from typing import TYPE_CHECKING

import pytest

from ctxqueue import connect
from ctxqueue.flows import terms, viewing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.context import SharedContextManager

WORKFLOWS = 600
BOUND = 100_000


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedContextManager]:
    for module, name in ((viewing, "KEPT_BYTES"), (viewing, "KEPT_SIGHTS_BYTES"), (terms, "SEEN_BYTES")):
        monkeypatch.setattr(module, name, BOUND)
    with connect(f"memory://{uuid.uuid4().hex}") as manager:
        yield manager


def alive(kind: type) -> int:
    """How many objects of a kind there are in the process."""
    gc.collect()
    # By its type: isinstance() would ask objects that stand for others, as Django's settings do.
    return sum(issubclass(type(each), kind) for each in gc.get_objects())


def test_views_of_many_small_workflows(manager: SharedContextManager) -> None:
    before = alive(viewing.Snapshot), alive(viewing.Seen)
    for number in range(WORKFLOWS):
        wf = manager.workflow(f"w{number}", agent_id="ann_1")
        wf.open()
        wf.view()
    most = BOUND // viewing.SNAPSHOT_OVERHEAD
    assert alive(viewing.Snapshot) - before[0] <= 2 * most
    assert alive(viewing.Seen) - before[1] <= most


def test_views_of_many_agents_do_not_keep_every_snapshot_that_one_of_them_saw(manager: SharedContextManager) -> None:
    before = alive(viewing.Snapshot)
    writer = manager.workflow("w", agent_id="ann_1")
    writer.open()
    for number in range(WORKFLOWS):
        writer.put("k", "x" * 4_000)
        manager.workflow("w", agent_id=f"agent_{number}").view()
    assert alive(viewing.Snapshot) - before <= BOUND // 4_000 + 2


def test_the_workflow_looked_at_most_lately_is_kept(manager: SharedContextManager) -> None:
    often = manager.workflow("often", agent_id="ann_1")
    often.open()
    often.view()
    kept = manager.terms.views.snapshot("often")
    for number in range(WORKFLOWS):
        wf = manager.workflow(f"w{number}")
        wf.open()
        wf.view()
        often.view()
    assert manager.terms.views.snapshot("often") is kept
    assert manager.terms.views.snapshot("w0") is None


def test_small_records_of_many_updates(manager: SharedContextManager) -> None:
    wf = manager.workflow("w", agent_id="ann_1")
    wf.open()
    for number in range(WORKFLOWS):
        wf.put(f"k{number}", 1)
    seen = manager.terms.seen
    found = [number for number in range(WORKFLOWS) if seen.get(("w", f"w\0\0k{number}")) is not None]
    assert found == list(range(WORKFLOWS - len(found), WORKFLOWS))
    assert 0 < len(found) <= BOUND // terms.OVERHEAD
