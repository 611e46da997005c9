"""What the parts of the contract have in common."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

from ctxqueue.context import SharedContextManager, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import WorkflowHandle

T = TypeVar("T")

WORKFLOW = "q3-close"
LIMIT = 60.0
"""Seconds that `until` waits at most."""


class Contract:
    """Fixtures: the store's URL, a manager, and handles of an agent and of the operator on an open workflow."""

    @pytest.fixture
    def url(self) -> str:
        """Return the URL of an empty store; each back end supplies its own."""
        raise NotImplementedError

    @pytest.fixture
    def manager(self, url: str) -> Iterator[SharedContextManager]:
        """Open the store."""
        with connect(url) as manager:
            yield manager

    @pytest.fixture
    def operator(self, manager: SharedContextManager) -> WorkflowHandle:
        """Open the workflow as the operator."""
        handle = manager.workflow(WORKFLOW)
        handle.open()
        return handle

    @pytest.fixture
    def wf(self, manager: SharedContextManager, operator: WorkflowHandle) -> WorkflowHandle:
        """Return an agent's hold on the open workflow; no filter is registered for its type."""
        return manager.workflow(operator.workflow_id, agent_id="analyst_001")


class Standing(NamedTuple):
    """All that the operator sees of a workflow and of the global context."""

    revision: int
    global_revision: int
    entries: dict[tuple[str, str, str], tuple[int, int, bool]]


def standing(operator: WorkflowHandle) -> Standing:
    """Read it all."""
    entries = {}
    cursor = None
    while True:
        page = operator.list(limit=1_000, cursor=cursor)
        for entry in page:
            place = (entry.scope.value, entry.owner, entry.key)
            entries[place] = (entry.version, entry.revision, entry.expires_at is not None)
        cursor = page.next_cursor
        if cursor is None:
            view = operator.view()
            return Standing(view.revision, view.global_revision, entries)


@contextmanager
def nothing_written(operator: WorkflowHandle) -> Iterator[None]:
    """Check that what happens inside leaves every entry, version and revision as it was."""
    before = standing(operator)
    yield
    assert standing(operator) == before  # noqa: S101 - part of a test


def revision_of(handle: WorkflowHandle) -> int:
    """Return the workflow's revision."""
    return handle.open().revision


def until(predicate: Callable[[], T | None], description: str) -> T:
    """Call the predicate until what it returns is true, and return that; fails after ``LIMIT``."""
    deadline = time.monotonic() + LIMIT
    pause = threading.Event()
    while not (seen := predicate()):
        if time.monotonic() >= deadline:
            pytest.fail(f"not within {LIMIT} s: {description}; last saw {seen!r}")
        pause.wait(0.005)
    return seen
