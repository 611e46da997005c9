"""Agents that read a secret and do with it all that there is to do, well and badly; they return lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.agents import ContextAwareAgent
from ctxqueue.models import Put
from ctxqueue.rules.conditions import key
from tests.integration.apps.common import RETRY_PAUSE, hold, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ctxqueue.integration.install import ContextQueue

AGENT = "web_extractor_001"
"""Of a type that may read credentials."""
SECRET = "site_credential"
OPTIONS: dict[str, Any] = {"agent_type": "web_extractor", "agent_id": AGENT}


class Careless(ContextAwareAgent):
    """Does its task, or fails with the secret in its hands."""

    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        secret = context["context_data"][SECRET].reveal()
        if task == "fail":
            raise LookupError(f"nothing of {len(secret)} characters")
        return {"seen": len(secret), "context_updates": {"agents_findings": {"text": secret}}}


def revealed(task: Any) -> str:
    entry = task.context.get(SECRET, reveal=True)
    assert entry is not None
    return str(entry.value)


def write(task: Any, secret: str) -> None:
    context = task.context
    context.put("notes", {"text": secret, "more": []})
    context.update({"notes": {"more": [secret]}, "lines": [secret]}, merge_strategy="smart_merge")
    context.update({"lines": [secret]}, merge_strategy="append")
    context.put("lines", [secret], ttl=3_600)
    context.delete("lines")
    context.put("given", secret, sensitive=True)
    context.put("mine", secret, scope="private")
    context.put("site_password", secret)  # which it may not read itself
    context.put("global_notes", [secret])
    context.set_agent_state(mood=secret)
    drawn = task.once("draw", lambda: [secret])
    with context.transaction():
        context.put("staged", drawn)
        context.update({"notes": {"staged": secret}})
    view = context.view()
    assert view.readable()["notes"].value["text"] == secret
    assert context.at(view.revision).readable()["notes"].value["text"] == context.history("notes")[-1].value["text"]


def remember(queue: ContextQueue, task: Any, secret: str) -> None:
    memory, workflow_id = queue.memory, task.context.workflow_id
    memory.remember(f"The password is {secret}", agent_id=AGENT, metadata={"text": secret})
    memory.enqueue_remember(f"It is {secret}", "episodic", agent_id=AGENT)
    assert memory.recall(f"what about {secret}", agent_id=AGENT)
    memory.working(workflow_id, AGENT).add(f"keep in mind {secret}", metadata={"text": secret})
    memory.consolidate(workflow_id, AGENT)
    memory.working(workflow_id, AGENT).add(f"and this {secret}")


def leave_behind(queue: ContextQueue, task: Any, secret: str) -> None:
    """Leave in the store what is sent once something comes, and updates for others to do."""
    context, read = task.context, queue.app.tasks["read"]
    context.when("never").then(read.s(secret))
    context.when(key(SECRET) == secret).then(read.s(secret))
    context.when(key("never_credential") == secret).then(read.s(secret), every=True)
    context.subscribe("others_*", read.s(secret))
    workflow_id = context.workflow_id
    queue.enqueue_update(workflow_id, AGENT, {"queued": secret})
    queue.enqueue_update(workflow_id, AGENT, {"coalesced": [secret]}, merge_strategy="append", coalesce=True)
    queue.enqueue_update(workflow_id, AGENT, {"notes": Put(secret, expected_version=99)})
    queue.enqueue_update(workflow_id, AGENT, {"notes": 1}, merge_strategy="increment", coalesce=True, as_task=True)


def fail_in_transaction(context: Any, secret: str) -> None:
    with context.transaction():
        context.put("text", secret)
        context.put("text", secret, expected_version=99)


def fail_by_itself(secret: str) -> None:
    raise LookupError(f"nothing of {len(secret)} characters")


FAILURES: dict[str, Callable[[ContextQueue, Any, str], Any]] = {
    "conflict": lambda _, task, secret: task.context.put(SECRET, secret, expected_version=99),
    "exists": lambda _, task, secret: task.context.create(SECRET, secret),
    "too large": lambda _, task, secret: task.context.put("large", secret * 100_000),
    "unserialisable": lambda _, task, secret: task.context.put("odd", {secret: object(), "text": secret}),
    "odd key": lambda _, task, secret: task.context.put("odd", {(secret,): 1}),
    "wrong type": lambda _, task, _secret: task.context.get(SECRET, type=int),
    "no number": lambda _, task, _secret: task.context.update({SECRET: 1}, merge_strategy="increment"),
    "not a list": lambda _, task, secret: task.context.update({SECRET: [secret]}, merge_strategy="append"),
    "mixed": lambda _, task, secret: task.context.update({"global_text": secret, "text": secret}),
    "in transaction": lambda _, task, secret: fail_in_transaction(task.context, secret),
    "in once": lambda _, task, secret: task.once("odd", lambda: {secret: object()}),
    "no memory": lambda queue, _, secret: queue.memory.remember(secret, metadata={"text": object(), secret: 1}),
    "too much in mind": lambda queue, task, secret: queue.memory.working(task.context.workflow_id, AGENT).add(
        secret * 3_000
    ),
    "unmet": lambda _, task, secret: task.context.wait_for(key(SECRET) == f"not {secret}", timeout=0.01),
    "its own": lambda _queue, _task, secret: fail_by_itself(secret),
}


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("canary", settings)

    @ctx.task(name="read", **OPTIONS)
    def read(_self: Any, secret: str) -> int:
        return len(secret)

    @ctx.task(name="work", **OPTIONS)
    def work(self: Any) -> int:
        secret = revealed(self)
        write(self, secret)
        remember(ctx, self, secret)
        leave_behind(ctx, self, secret)
        return len(secret)

    @ctx.task(name="fail", **OPTIONS)
    def fail(self: Any, how: str) -> None:
        FAILURES[how](ctx, self, revealed(self))

    @ctx.task(name="again", **OPTIONS)
    def again(self: Any, *_secret: Any) -> int:
        secret = revealed(self)
        if self.request.retries < 1:
            raise self.retry(countdown=RETRY_PAUSE)
        return len(secret)

    @ctx.task(name="wait", needs="key", durable=True, **OPTIONS)
    def wait(_self: Any, secret: str, *, also: str) -> list[int]:
        return [len(secret), len(also)]

    @ctx.task(name="waits_inside", **OPTIONS)
    def waits_inside(self: Any, _secret: str) -> int:
        secret: str = self.once("first", lambda: revealed(self))
        self.wait_for("other_key", timeout=60)
        return len(secret)

    @ctx.task(name="held", **OPTIONS)
    def held(self: Any, _secret: str) -> int:
        secret = revealed(self)
        hold(ctx.app, "held")
        return len(secret)

    ctx.register_agent(Careless(AGENT, context_manager=ctx.manager))
    return ctx
