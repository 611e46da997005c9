"""``ctxqueue.context_update`` and ``ctxqueue.update_with_result``: an update done by a worker, with its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.errors import StoreUnavailable
from ctxqueue.flows import inbox
from ctxqueue.flows.stored import UpdateRef
from ctxqueue.handles import acting_on_record, whom
from ctxqueue.integration.enqueuing import CONTEXT_UPDATE, REPORT, shown
from ctxqueue.models import Agent, checked_name
from ctxqueue.tasks.options import again, with_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery import Task
    from celery.canvas import Signature

    from ctxqueue.integration.install import ContextQueue

NAME = CONTEXT_UPDATE
WITH_RESULT = "ctxqueue.update_with_result"

OPTIONS = with_result(60, 90)


def register(queue: ContextQueue) -> None:
    """Add the tasks to the queue's app."""

    @queue.app.task(name=NAME, base=queue.PlainTask, **OPTIONS)
    def context_update(
        self: Task[..., Any], home: str, agent_id: str, update_id: str, purpose: str = ""
    ) -> dict[str, Any]:
        """Do one stored update; or, as a report, say what its drain has done."""
        manager = queue.manager
        attempts = inbox.ATTEMPTS + self.request.retries
        try:
            result = manager.driver.run(inbox.carry_out(manager.terms, UpdateRef(home, agent_id, update_id), attempts))
        except StoreUnavailable as error:
            again(self, error)
        return shown(result, replayed=result.replayed and purpose != REPORT)

    @queue.app.task(name=WITH_RESULT, base=queue.PlainTask, **OPTIONS)
    def update_with_result(
        self: Task[..., Any],
        value: Any,
        workflow_id: str,
        agent_id: str,
        key: str,
        merge_strategy: str,
        agent: Sequence[Any] = ("", None, ()),
    ) -> dict[str, Any]:
        """Update one key with what the task before has returned, as the agent of the type, role and groups told."""
        # One message is one operation, however often it is delivered or retried.
        operation = f"update:{self.request.get('ctxqueue_run') or self.request.id}"
        # Whoever made the signature was asked whether it may act so.
        handle = queue.handle(workflow_id, Agent(agent_id, agent[0], agent[1], tuple(agent[2])))
        try:
            result = handle.update({key: value}, merge_strategy=merge_strategy, operation_id=operation)
        except StoreUnavailable as error:
            again(self, error)
        return shown(result, replayed=result.replayed)


class UpdateSignatures:
    """Makes signatures that update a key with the result of the task before them: ``ctx.update.s(...)``."""

    def __init__(self, queue: ContextQueue) -> None:
        self._queue = queue

    def s(
        self, workflow_id: str, *, key: str, agent_id: str | Agent, merge_strategy: str = "smart_merge"
    ) -> Signature[dict[str, Any]]:
        """Return a signature for chains, chord bodies and callbacks; raises InvalidName, UnknownStrategy.

        Its value is the previous task's result; its own is ``{"revision", "versions", "replayed"}``.
        """
        checked_name(workflow_id, "workflow_id")
        terms = self._queue.manager.terms
        agent = acting_on_record(terms, **whom(agent_id))
        inbox.checked_place(terms, agent, key, merge_strategy)
        task: Task[..., Any] = self._queue.app.tasks[WITH_RESULT]
        given = {"workflow_id": workflow_id, "agent_id": agent.agent_id, "key": key, "merge_strategy": merge_strategy}
        # It is held to the policy again when it runs, by the role in which it was asked for.
        whose = (
            {"agent": [agent.agent_type, agent.agent_role, list(agent.groups)]}
            if agent != Agent(agent.agent_id)
            else {}
        )
        signature: Signature[dict[str, Any]] = task.signature(kwargs={**given, **whose})
        # The value is nobody's business who watches messages go by.
        signature.options.update(argsrepr="(<result>,)", kwargsrepr=repr({**given, "key": "<key>"}))
        return signature
