"""What the benchmarks store: entries of 200 bytes, and workflows that hold many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import codec

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle

SIZE = 200
"""Bytes of a packed value."""
MOST_A_COMMIT = 200


def value(number: int, size: int = SIZE) -> dict[str, Any]:
    """Return a value of so many bytes, packed, for any number up to a million."""
    parts: dict[str, Any] = {"number": 1_000_000 + number, "flag": True, "text": ""}
    text = size - len(codec.pack(parts)) - 1  # a text of over 31 bytes has one more in front
    return {**parts, "text": "x" * text}


def key(number: int) -> str:
    """Return the name of an entry."""
    return f"k{number:06}"


def filled(manager: SharedContextManager, entries: int, workflow_id: str = "") -> WorkflowHandle:
    """Return a workflow that holds so many entries."""
    wf = manager.workflow(workflow_id or f"w{entries}", agent_id="analyst_001")
    wf.open()
    for first in range(0, entries, MOST_A_COMMIT):
        wf.update({key(number): value(number) for number in range(first, min(first + MOST_A_COMMIT, entries))})
    return wf
