"""Where tasks run at once, in the caller: what a commit has fired runs right after it, before the call returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.effects import Position
from ctxqueue.flows import attempts
from ctxqueue.flows.publishing import item_id
from ctxqueue.identity import Attempt, WorkflowRef, current_workflow
from ctxqueue.integration import headers
from ctxqueue.models import OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.integration.install import ContextQueue


def carry_out(queue: ContextQueue, content: dict[str, Any], message: bytes, apply: Callable[[], object]) -> None:
    """Carry out a stored message of ours, unless that was done before; what its tasks raise is raised."""
    carried = content["options"].get("headers") or {}
    workflow_id, run_id = carried.get(headers.WORKFLOW), carried.get(headers.RUN)
    if workflow_id is None or run_id is None:
        apply()
        return
    terms, run = queue.manager.terms, queue.manager.driver.run
    position = Position(0, 0)
    ticket = attempts.Ticket(workflow_id, run_id, position, item_id(terms.app, workflow_id, run_id, position))
    begun = run(attempts.claim(terms, ticket, OPERATOR, None, lambda: message))
    if begun.claimed.answer != "run":
        return
    token = current_workflow.set(WorkflowRef(terms.namespace, workflow_id, None))
    try:
        apply()
    finally:
        current_workflow.reset(token)
        # Also of one that has failed: whoever tests it has seen the error, and the clock is not to bring it again.
        run(attempts.finish(terms, Attempt(run_id, 0, workflow_id, begun.claimed.epoch), "done", b""))
