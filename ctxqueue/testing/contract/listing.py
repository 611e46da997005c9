"""Lists: pages, cursors, prefixes, scopes and limits."""
# ruff: noqa: D102, S101 - tests: a name is a sentence, a bare number the expected value

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest

from ctxqueue.errors import InvalidInput, UnknownScope
from ctxqueue.testing.contract.base import Contract

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle


def keys_by_page(handle: WorkflowHandle, **arguments: Any) -> list[list[str]]:
    """Go through all pages; return the keys of each."""
    pages = []
    cursor = None
    while True:
        page = handle.list(cursor=cursor, **arguments)
        pages.append([entry.key for entry in page])
        cursor = page.next_cursor
        if cursor is None:
            return pages


class Listing(Contract):
    """list()."""

    def test_entries_come_in_the_order_of_their_keys(self, wf: WorkflowHandle) -> None:
        keys = ["b", "a", "Z", "ä", "a.b", "a b", "zz", "😀", "z", "\ue000", "0"]
        wf.update(dict.fromkeys(keys, 1))
        assert [entry.key for entry in wf.list()] == sorted(keys)
        assert keys_by_page(wf, limit=1) == [[key] for key in sorted(keys)]

    def test_pages_neither_repeat_nor_leave_out(self, wf: WorkflowHandle) -> None:
        keys = [f"k{number:03}" for number in range(200)]
        wf.update(dict.fromkeys(keys, 1))
        assert keys_by_page(wf, limit=70) == [keys[:70], keys[70:140], keys[140:]]
        assert keys_by_page(wf, limit=100) == [keys[:100], keys[100:]]
        assert keys_by_page(wf, limit=200) == [keys]
        assert keys_by_page(wf) == [keys[:100], keys[100:]]

    def test_an_empty_workflow_has_one_empty_page(self, wf: WorkflowHandle) -> None:
        page = wf.list()
        assert (page.items, page.next_cursor, len(page)) == ((), None, 0)

    def test_pages_end_early_when_values_are_large(self, wf: WorkflowHandle) -> None:
        keys = [f"k{number:02}" for number in range(14)]
        for key in keys:
            wf.put(key, "x" * 200_000)
        assert keys_by_page(wf, limit=1_000) == [keys]
        assert keys_by_page(wf, limit=5) == [keys[:5], keys[5:10], keys[10:]]
        assert list(wf.view()) == keys[::-1]

    def test_a_prefix(self, wf: WorkflowHandle) -> None:
        wf.update(dict.fromkeys(["a", "ab", "abc", "b", "a%", "aé", "private_a"], 1))
        wf.put("ab", 1, scope="private")
        assert [entry.key for entry in wf.list(prefix="ab")] == ["ab", "ab", "abc"]
        assert keys_by_page(wf, prefix="a", limit=2) == [["ab", "a"], ["a%", "ab"], ["abc", "aé"]]
        assert wf.list(prefix="nothing").items == ()
        assert [entry.key for entry in wf.list(prefix="private_")] == ["private_a"]

    def test_scopes_come_from_the_innermost_out(self, manager: SharedContextManager, operator: WorkflowHandle) -> None:
        wf = manager.workflow(operator.workflow_id, agent_id="analyst_001", groups=["audit", "risk"])
        wf.put("k", 1)
        wf.put("k", 2, scope="private")
        wf.put("k", 3, group="risk")
        wf.put("k", 4, group="audit")
        wf.put("k", 5, scope="global")
        assert [entry.value for entry in wf.list()] == [2, 4, 3, 1, 5]
        assert [entry.value for entry in wf.list(limit=2, cursor=wf.list(limit=2).next_cursor)] == [3, 1]
        for scope, values in {"private": [2], "agent_group": [4, 3], "workflow": [1], "global": [5]}.items():
            assert [entry.value for entry in wf.list(scope=scope)] == values
        assert [len(page) for page in keys_by_page(wf, limit=1)] == [1] * 5

    def test_what_the_agent_may_not_see_takes_no_room(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.update({f"k{number}": number for number in range(6)})
        wf.update({f"k{number}_password": "x" for number in range(6)})
        other = manager.workflow(wf.workflow_id, agent_id="other_1", groups=["theirs"])
        other.put("k0", 1, scope="private")
        other.put("k0", 1, group="theirs")
        assert keys_by_page(wf, limit=3) == [["k0", "k1", "k2"], ["k3", "k4", "k5"]]
        assert wf.list(limit=6).next_cursor is None

    def test_the_operator_lists_everyones(self, wf: WorkflowHandle, manager: SharedContextManager) -> None:
        wf.put("k", 1)
        for agent in ("a_1", "b_2"):
            handle = manager.workflow(wf.workflow_id, agent_id=agent, groups=["g"])
            handle.put("k", agent, scope="private")
            handle.put(f"of_{agent}", 1, group="g")
        operator = manager.workflow(wf.workflow_id)
        owners = [(entry.scope.value, entry.owner, entry.key) for entry in operator.list()]
        assert owners == [
            *(("private", "a_1", "k"), ("private", "b_2", "k")),
            *(("agent_group", "g", "of_a_1"), ("agent_group", "g", "of_b_2")),
            ("workflow", "", "k"),
        ]
        assert [len(page) for page in keys_by_page(operator, limit=1, prefix="k")] == [1, 1, 1]

    def test_an_entry_that_went_meanwhile_does_not_stop_the_list(self, wf: WorkflowHandle) -> None:
        wf.update(dict.fromkeys("abcdef", 1))
        page = wf.list(limit=2)
        for key in "bc":
            wf.delete(key)
        assert [entry.key for entry in wf.list(limit=2, cursor=page.next_cursor)] == ["d", "e"]

    @pytest.mark.parametrize("limit", [0, -1, 1_001, 1.5, True, "10", None])
    def test_a_bad_limit(self, wf: WorkflowHandle, limit: Any) -> None:
        with pytest.raises(InvalidInput, match="from 1 to 1000"):
            wf.list(limit=limit)

    @pytest.mark.parametrize(
        "cursor",
        ["", "nonsense", "é", 5, b"x", *(urlsafe_b64encode(raw).decode() for raw in (
            b"0", b"9\0w\0\0a", b"-1\0w\0\0a", b"x\0w\0\0a", b"1\0a", b"1\0p\0other_1\0k", b"\xff\xfe", b"1\0",
        ))],
    )  # fmt: skip
    def test_a_foreign_cursor(self, wf: WorkflowHandle, cursor: Any) -> None:
        wf.update(dict.fromkeys("abcdef", 1))
        with pytest.raises(InvalidInput, match="cursor"):
            wf.list(cursor=cursor)

    def test_a_cursor_of_another_prefix(self, wf: WorkflowHandle) -> None:
        wf.update(dict.fromkeys(["a1", "a2", "b1", "b2"], 1))
        with pytest.raises(InvalidInput, match="cursor"):
            wf.list(prefix="b", cursor=wf.list(prefix="a", limit=1).next_cursor)

    @pytest.mark.parametrize("prefix", [None, 5, b"a", "\ud800", "a\0", "x" * 257])
    def test_a_bad_prefix(self, wf: WorkflowHandle, prefix: Any) -> None:
        with pytest.raises(InvalidInput, match="prefix"):
            wf.list(prefix=prefix)

    @pytest.mark.parametrize("scope", ["", "Workflow", "everywhere", 5, ["workflow"]])
    def test_an_unknown_scope(self, wf: WorkflowHandle, scope: Any) -> None:
        with pytest.raises(UnknownScope, match="is none of global, workflow, agent_group, private"):
            wf.list(scope=scope)
