"""What nobody but its writer has read, as far as that was noted."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ctxqueue.errors import InvalidInput, WorkflowNotFound
from ctxqueue.flows import noting
from ctxqueue.testing.contract.base import WORKFLOW, Contract

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


class Readers(Contract):
    """unread()."""

    def test_what_others_read_or_depend_on_is_not_unread(
        self, manager: SharedContextManager, wf: WorkflowHandle
    ) -> None:
        wf.update({"read": 1, "needed": 1, "own": 1, "waste": 1})
        wf.put("diary", 1, scope="private")
        other = manager.workflow(WORKFLOW, agent_id="other_1")
        other.put("derived", 1, depends_on=["needed"])
        wf.put("everywhere", 1, scope="global")
        for handle, key in ((other, "read"), (wf, "own"), (wf, "derived")):
            entry = handle.get(key)
            assert entry is not None
            manager.driver.run(noting.note(manager.terms, WORKFLOW, handle.agent, [entry]))
        assert {entry.key for entry in manager.unread(WORKFLOW)} == {"own", "waste"}
        assert [entry.key for entry in wf.list(scope="private")] == ["diary"]  # what was noted is no entry
        assert not [change for change in wf.changes() if change.key.startswith("\x1f")]

    def test_pages_of_what_is_unread(self, manager: SharedContextManager, wf: WorkflowHandle) -> None:
        wf.update({f"k{number}": number for number in range(5)})
        found, cursor = list(manager.unread(WORKFLOW, limit=2)), manager.unread(WORKFLOW, limit=2).next_cursor
        while cursor is not None:
            page = manager.unread(WORKFLOW, limit=2, cursor=cursor)
            found, cursor = [*found, *page], page.next_cursor
        assert [entry.key for entry in found] == [f"k{number}" for number in range(5)]
        with pytest.raises(InvalidInput):
            manager.unread(WORKFLOW, limit=0)
        with pytest.raises(WorkflowNotFound):
            manager.unread("nowhere")
