"""The life of a workflow: opened, closed, removed. An end goes by steps; the sweep goes on where one was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import Close, End, Flow, Open, do
from ctxqueue.errors import WorkflowClosed
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.reading import workflow_context
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import new_run_id

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import WorkflowContext

STEP = 100
"""Parked runs, or addresses of earlier values, that one step of an end takes."""


def open_workflow(terms: Terms, workflow_id: str, metadata: bytes) -> Flow[tuple[bool, WorkflowContext]]:
    """Make a workflow if it is absent; return whether it was made. Raises WorkflowClosed."""
    incarnation = new_run_id()
    while True:
        made, head = yield from do(Open(workflow_id, incarnation, metadata, terms.idle_us))
        if head is None:
            yield from go_on_ending(terms, workflow_id)
        elif head.closed_us:
            raise WorkflowClosed(f"workflow {workflow_id!r} was closed: take another workflow id, or remove() it first")
        else:
            # Ours too if it was made, and the reply lost.
            return made or head.incarnation == incarnation, workflow_context(workflow_id, head)


def close(terms: Terms, workflow_id: str) -> Flow[None]:
    """Refuse further writes and let parked tasks fail; what stands there can be read until the horizon has passed."""
    if (yield from do(_close(terms, workflow_id, remove=False))) == "no_workflow":
        raise unknown_workflow(workflow_id)
    yield from go_on_ending(terms, workflow_id)


def remove(terms: Terms, workflow_id: str) -> Flow[bool]:
    """Remove a workflow with all that belongs to it; False if there is none."""
    if (yield from do(_close(terms, workflow_id, remove=True))) == "no_workflow":
        return False
    yield from go_on_ending(terms, workflow_id)
    return True


def remove_if_idle(terms: Terms, workflow_id: str) -> Flow[bool]:
    """Remove a workflow that has had no commit for its idle life and in which nothing waits; return whether it was."""
    answer = yield from do(_close(terms, workflow_id, remove=True, idle_us=terms.idle_us))
    if answer == "closed":
        yield from go_on_ending(terms, workflow_id)
    return answer == "closed"


def go_on_ending(terms: Terms, workflow_id: str) -> Flow[None]:
    """Do what is left of a closed workflow's end."""
    drop: tuple[str, ...] = ()
    while True:
        step = yield from do(
            End(workflow_id, STEP, drop, terms.app, terms.lease_us, terms.bounds.horizon_us),
        )
        yield from publish(terms, workflow_id, step.outgoing)
        if step.answer != "more":
            terms.views.keep(workflow_id, None)
            return
        drop = step.history


def _close(terms: Terms, workflow_id: str, *, remove: bool, idle_us: int | None = None) -> Close:
    return Close(workflow_id, remove=remove, idle_us=idle_us, horizon_us=terms.bounds.horizon_us)
