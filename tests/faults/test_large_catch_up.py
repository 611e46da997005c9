"""A view that has much to catch up with reads it by pages: no script holds the server for all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import connect
from ctxqueue.effects import LoadSince

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager

LARGE = "x" * 600_000


def caught_up(manager: SharedContextManager, keys: int) -> str:
    """Let some keys of a large workflow change; return the answer to a view that knows it as it was."""
    wf = manager.workflow("w", agent_id="ann_1")
    incarnation, revision, commit_id = wf.etag.split(".")
    for number in range(keys):
        wf.put(f"k{number}", LARGE)
    since = LoadSince("w", incarnation, int(revision), bytes.fromhex(commit_id), 100)
    return manager.store.perform(since).answer


def test_what_is_large_is_read_by_pages(redis_url: str) -> None:
    with connect(redis_url) as manager:
        wf = manager.workflow("w", agent_id="ann_1")
        wf.open()
        for number in range(3):
            wf.put(f"k{number}", LARGE)
        wf.view()
        assert caught_up(manager, keys=1) == "changed"
        assert caught_up(manager, keys=3) == "reload"
        assert {len(value) for value in wf.view().values()} == {len(LARGE)}
