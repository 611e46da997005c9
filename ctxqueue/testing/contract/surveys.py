"""What the operator sees at a glance: which workflows there are, and how much each holds."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import InvalidInput, WorkflowNotFound
from ctxqueue.models import Backlog
from ctxqueue.testing.contract.base import LIMIT, WORKFLOW, Contract, until

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


def ids_by_page(manager: SharedContextManager, **arguments: Any) -> list[list[str]]:
    """Go through all pages; return the ids of each."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while not pages or cursor is not None:
        page = manager.workflows(cursor=cursor, **arguments)
        pages.append([each.workflow_id for each in page])
        cursor = page.next_cursor
    return pages


class Surveys(Contract):
    """workflows(), summary()."""

    def test_pages_of_workflows_neither_repeat_nor_leave_out(self, manager: SharedContextManager) -> None:
        ids = [f"w{number}" for number in range(12)]
        for workflow_id in ids:
            manager.workflow(workflow_id).open()
        manager.workflow(ids[0]).put("everywhere", 1, scope="global")  # its context is none of them
        pages = ids_by_page(manager, limit=5)
        assert [len(page) for page in pages] == [5, 5, 2]
        assert sorted(chain(*pages)) == sorted(ids)
        assert list(chain(*ids_by_page(manager, limit=12))) == list(chain(*pages))

    def test_workflows_by_how_their_ids_begin(self, manager: SharedContextManager) -> None:
        for workflow_id in ("q", "q3", "q3-a", "q3-b", "q3é", "q30", "q4", "r"):
            manager.workflow(workflow_id).open()
        for prefix, ids in {"q3": ["q3", "q3-a", "q3-b", "q30", "q3é"], "q3-": ["q3-a", "q3-b"], "z": []}.items():
            assert sorted(chain(*ids_by_page(manager, prefix=prefix))) == ids
            assert sorted(chain(*ids_by_page(manager, prefix=prefix, limit=1))) == ids

    def test_a_summary_counts_what_a_workflow_holds(
        self, manager: SharedContextManager, operator: WorkflowHandle
    ) -> None:
        manager.create_workflow_context("other", {"owner": "finance"})
        manager.workflow("other").update({"a": 1, "b": "x" * 1_000})
        manager.workflow("other").delete("a")
        other = manager.summary("other")
        assert (other.revision, other.entries, other.log_records, other.triggers) == (2, 1, 2, 0)
        assert (other.stored_updates, other.dead_letters, other.closed_at) == (0, 0, None)
        assert other.metadata == {"owner": "finance"}
        assert 1_000 < other.bytes < 2_000  # noqa: PLR2004 - the value, and what is known of it
        operator.close()
        assert manager.summary(WORKFLOW).closed_at is not None
        assert {each.workflow_id: each for each in manager.workflows()} == {
            "other": other, WORKFLOW: manager.summary(WORKFLOW),
        }  # fmt: skip

    def test_what_is_overdue_is_counted_until_it_is_swept(
        self, manager: SharedContextManager, wf: WorkflowHandle
    ) -> None:
        assert manager.backlog() == Backlog(0, 0.0, 0, 0.0)
        wf.put("soon", 1, ttl=0.000_001)
        until(lambda: manager.backlog().overdue == 1, "it is overdue")
        assert 0 < manager.backlog().oldest_overdue < LIMIT
        manager.cleanup_expired_contexts()
        assert manager.backlog().overdue == 0

    def test_there_is_no_summary_of_what_is_not_there(self, manager: SharedContextManager) -> None:
        with pytest.raises(WorkflowNotFound, match="'nowhere'"):
            manager.summary("nowhere")
        assert manager.workflows().items == ()

    @pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": True}, {"cursor": "é"}, {"cursor": ""}, {"prefix": 5}])
    def test_wrong_arguments_are_refused(self, manager: SharedContextManager, wrong: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            manager.workflows(**wrong)
