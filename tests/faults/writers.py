"""What each of many writers does at once, in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Barrier

    from ctxqueue.context import WorkflowHandle

WORKFLOW = "q3-close"


def append(wf: WorkflowHandle, writer: int, number: int) -> None:
    wf.update({"appended": [[writer, number]]}, merge_strategy="append")


def merge(wf: WorkflowHandle, writer: int, number: int) -> None:
    wf.update({"merged": {f"{writer}.{number}": number, "of": {str(writer): number}}})


def unite(wf: WorkflowHandle, writer: int, number: int) -> None:
    wf.update({"united": [[writer, number]]})


def spread(wf: WorkflowHandle, writer: int, number: int) -> None:
    wf.put(f"{writer}.{number:03}", [writer, number])


WORK: dict[str, Callable[[WorkflowHandle, int, int], None]] = {
    "append": append,
    "merge": merge,
    "unite": unite,
    "spread": spread,
}


def write(url: str, writer: int, each: int, start: Barrier) -> None:
    """Add so many items in each way, each way together with the other writers."""
    with connect(url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id=f"writer_{writer}")
        for add in WORK.values():
            start.wait()
            for number in range(each):
                add(wf, writer, number)
