"""Why a commit was refused, as the error that its caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.errors import (
    AccessDenied,
    AttemptSuperseded,
    CapacityError,
    CtxqueueError,
    OperationDiverged,
    StaleOperation,
    VersionConflict,
    WorkflowClosed,
    WorkflowNotFound,
)
from ctxqueue.models import Address, ContextScope
from ctxqueue.settings import MAX_RUN_CALLS

if TYPE_CHECKING:
    from ctxqueue.effects import Refused
    from ctxqueue.identity import Call
    from ctxqueue.models import Agent


NOT_OPENED = ": open it first"
"""In what is said of an unknown workflow, before what a Python program does about it."""


class MergeInClient(Exception):
    """The store will not merge this value: it is too large for a script, or of another type than it knows."""

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal


class SettledAlready(Exception):
    """The stored update that a call carries out has come to an outcome meanwhile."""


def refusal(  # noqa: C901, PLR0911, PLR0912 - one answer a reason
    refused: Refused, workflow_id: str, call: Call
) -> CtxqueueError | MergeInClient | SettledAlready:
    """Return the error for a commit that was refused."""
    match refused.reason:
        case "no_workflow":
            return unknown_workflow(workflow_id)
        case "superseded":
            return AttemptSuperseded(
                f"run {call.run_id} in workflow {workflow_id!r}: attempt {call.epoch} was taken over by attempt"
                f" {refused.detail}; this one may not commit any more"
            )
        case "stale":
            return StaleOperation(f"call {call.call_id} of {call.owner} is older than one already answered")
        case "diverged":
            return OperationDiverged(
                f"call {call.call_id or call.owner} in workflow {workflow_id!r} was made before with another input"
            )
        case "calls":
            return CapacityError(f"run {call.run_id} has made {MAX_RUN_CALLS} calls: split the task")
        case "entries":
            return CapacityError(
                f"workflow {workflow_id!r} would hold more entries than are allowed and has none of low or"
                " medium priority to give up: delete some, or raise ctxqueue_max_entries"
            )
        case "bytes":
            return CapacityError(
                f"workflow {workflow_id!r} would hold more bytes than are allowed and has too little of low or medium"
                " priority to give up: delete some, or raise ctxqueue_max_bytes"
            )
        case "merge_outside" | "not_a_list":  # who may know what stands there is said where it is merged
            return MergeInClient(int(refused.detail))
        case "closed":
            return closed_workflow(workflow_id)
        case "moved":
            return VersionConflict(
                f"workflow {workflow_id!r} is at revision {refused.detail} and has changed since it was read: nothing"
                " was written. Read it again and decide"
            )
        case "not_the_drain":
            return AttemptSuperseded(f"another drain holds the inbox of workflow {workflow_id!r}")
        case "answered":
            return SettledAlready()
        case "graph_moved" | "reborn":
            raise AssertionError(f"{refused.reason} is looked at where it is asked for")


def closed_workflow(workflow_id: str) -> WorkflowClosed:
    """Return the error for a workflow that takes no writes any more."""
    return WorkflowClosed(f"workflow {workflow_id!r} is closed: nothing was written; take another workflow id")


def untold(agent: Agent, key: str) -> AccessDenied:
    """Return the error for a merge that fails over what its writer may not read: of size or type it says nothing."""
    error = AccessDenied(
        f"{key!r} cannot be merged with: {agent.agent_id} may not read what stands there,"
        " so why is not said; put it whole"
    )
    error.denied = "merge", Address(ContextScope.WORKFLOW, "", key), "it may not read what stands there"
    return error


def unknown_workflow(workflow_id: str) -> WorkflowNotFound:
    """Return the error for a workflow that was never opened."""
    return WorkflowNotFound(
        f"workflow {workflow_id!r} does not exist{NOT_OPENED} with workflow({workflow_id!r}).open()"
    )
