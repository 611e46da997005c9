"""Tasks with effects that must take place once, whatever happens to the messages and processes around them."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

from celery.signals import after_task_publish, before_task_publish, task_postrun

from tests.integration.apps.common import RETRY_PAUSE, TaskClass, hold, note, queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.integration.install import ContextQueue


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("effects", settings)
    _writers(ctx)
    _lasting(ctx)
    _stepwise(ctx)
    _transacting(ctx)
    _held(ctx)
    _held_while_publishing(ctx)
    _held_while_parking(ctx)
    return ctx


def _writers(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="extract", agent_type="extractor")
    def extract(self: Any, what: str) -> list[str]:
        """Does as a model: its answer is another one each time."""
        note(app, f"ran:{self.request.id}", what)
        answer = f"{what}-{uuid.uuid4()}"
        self.context.update({"log": [answer]}, merge_strategy="append")
        return [answer, *(["again"] if self.request.retries else [])]

    @ctx.task(name="extend", agent_type="extractor")
    def extend(self: Any, given: list[str]) -> int:
        note(app, f"ran:{self.request.id}", given)
        self.context.update({"log": [f"extended {given[0]}"]}, merge_strategy="append")
        return len(self.context["log"])

    @ctx.task(name="persist", agent_type="extractor", max_retries=2)
    def persist(self: Any) -> int:
        self.context.update({"log": [f"try {self.request.retries}"]}, merge_strategy="append")
        if self.request.retries < 2:
            raise self.retry(countdown=RETRY_PAUSE)
        return int(self.request.retries)

    @ctx.task(name="stumble", agent_type="extractor")
    def stumble(self: Any, what: str) -> None:
        note(app, f"ran:{self.request.id}", what)
        self.context.update({"log": [what]}, merge_strategy="append")
        raise LookupError(f"{what} {uuid.uuid4()}")

    @ctx.task(name="gather", agent_type="extractor")
    def gather(self: Any, answers: list[list[str]]) -> list[str]:
        note(app, f"ran:{self.request.id}", answers)
        return sorted(answer for each in answers for answer in each)

    @ctx.task(name="delegate", agent_type="extractor")
    def delegate(self: Any, what: str) -> None:
        raise self.replace(extract.s(what))

    @ctx.task(name="await_key", agent_type="extractor", needs="key")
    def await_key(self: Any) -> str:
        note(app, f"ran:{self.request.id}", 1)
        self.context.update({"log": ["resumed"]}, merge_strategy="append")
        return str(self.context["key"])


def _lasting(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="lasting", agent_type="extractor", durable=True, max_retries=3)
    def lasting(self: Any, *given: Any, retry_in: str = "", what: str = "lasting") -> list[Any]:
        note(app, f"ran:{self.request.id}", given)
        if retry_in and not self.request.retries:
            raise self.retry(countdown=RETRY_PAUSE, queue=retry_in)
        if self.request.get("ctxqueue_workflow"):
            self.context.update({"log": [what]}, merge_strategy="append")
        return [*given, what]


def _stepwise(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="stepwise", agent_type="extractor")
    def stepwise(self: Any, name: str, times: int = 0) -> list[str]:
        """Draws by a step; is held, and retries ``times`` times."""

        def drawn() -> str:
            note(app, f"drawn:{self.request.id}", 1)
            return str(uuid.uuid4())

        draw = self.once("draw", drawn)
        note(app, f"ran:{self.request.id}", os.getpid())
        hold(app, name)
        if self.request.retries < times:
            raise self.retry(countdown=RETRY_PAUSE)
        return [draw, self.once("draw", drawn)]


def _transacting(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="stage", agent_type="extractor")
    def stage(self: Any, name: str, end: str = "returns") -> str:
        """Stages under keys that are others each time; is held with all staged, then ends as told."""
        note(app, f"ran:{self.request.id}", os.getpid())
        drawn = str(uuid.uuid4())
        with self.context.transaction():
            self.context.put(f"key-{drawn}", 1)
            self.context.update({"log": [drawn]}, merge_strategy="append")
        note(app, f"staged:{self.request.id}", self.context.get("log") is None)
        hold(app, name)
        if end == "raises":
            raise LookupError(drawn)
        if end == "retries" and not self.request.retries:
            raise self.retry(countdown=RETRY_PAUSE)
        return drawn

    @ctx.task(name="stage_awaiting", agent_type="extractor")
    async def stage_awaiting(self: Any, end: str = "returns") -> list[bool]:
        async with self.acontext.transaction():
            await self.acontext.put("awaited", 1)
        if end == "raises":
            raise LookupError
        return [await self.acontext.get("awaited") is None]


def _held(ctx: ContextQueue) -> None:
    @ctx.task(name="halfway", agent_type="extractor")
    def halfway(self: Any, name: str) -> list[str]:
        """Stops between two writes; says which process it is in."""
        note(ctx.app, f"ran:{self.request.id}", os.getpid())
        first, second = f"first-{uuid.uuid4()}", f"second-{uuid.uuid4()}"
        self.context.update({"log": [first]}, merge_strategy="append")
        hold(ctx.app, name)
        self.context.update({"log": [second]}, merge_strategy="append")
        return [first, second]

    @ctx.task(name="insistent", agent_type="extractor", autoretry_for=(Exception,), retry_kwargs={"countdown": 0.05})
    def insistent(self: Any, name: str) -> str:
        """Tries again whatever has happened, as many do."""
        note(ctx.app, f"ran:{self.request.id}", os.getpid())
        self.context.update({"log": [f"first {self.request.retries}"]}, merge_strategy="append")
        hold(ctx.app, name)
        self.context.update({"log": [f"second {self.request.retries}"]}, merge_strategy="append")
        return "done"

    @ctx.task(name="unbound", agent_type="extractor")
    def unbound(self: Any, workflow_id: str, name: str) -> str:
        """Belongs to no workflow, and writes to one all the same."""
        note(ctx.app, f"ran:{self.request.id}", os.getpid())
        answer = str(uuid.uuid4())
        ctx.workflow(workflow_id, agent_id="extractor").update({"log": [answer]}, merge_strategy="append")
        hold(ctx.app, name)
        return answer


def _held_while_publishing(ctx: ContextQueue) -> None:
    app = ctx.app

    @ctx.task(name="next_before", agent_type="extractor")
    def next_before(self: Any, given: list[str]) -> list[str]:
        """Is held before the task ahead of it in its chain, which has ended, sends it."""
        note(app, f"ran:{self.request.id}", given)
        self.context.update({"log": [f"after {given[0]}"]}, merge_strategy="append")
        return given

    @ctx.task(name="next_after", agent_type="extractor")
    def next_after(self: Any, given: list[str]) -> list[str]:
        """Is held once it has been sent, before the task ahead of it has its result stored."""
        note(app, f"ran:{self.request.id}", given)
        self.context.update({"log": [f"after {given[0]}"]}, merge_strategy="append")
        return given

    @ctx.task(name="body_before", agent_type="extractor")
    def body_before(self: Any, given: list[list[str]]) -> list[str]:
        """Is held before the last member of its chord, which has ended, sends it."""
        note(app, f"ran:{self.request.id}", given)
        answers = sorted(answer for each in given for answer in each)
        self.context.update({"log": ["body"]}, merge_strategy="append")
        return answers

    @before_task_publish.connect(weak=False)
    def before(sender: str, headers: dict[str, Any], **_signal: Any) -> None:
        if sender == "next_before":
            hold(app, headers["root_id"])
        elif sender == "body_before":
            note(app, f"sends:{headers['id']}", os.getpid())
            hold(app, headers["id"])

    @after_task_publish.connect(weak=False)
    def after(sender: str, headers: dict[str, Any], **_signal: Any) -> None:
        if sender == "next_after":
            hold(app, headers["root_id"])


def _held_while_parking(ctx: ContextQueue) -> None:
    app = ctx.app

    class Held(TaskClass):
        """Is held once it has said that it waits, before it is parked."""

        abstract = True

        def update_state(self, *args: Any, **kwargs: Any) -> None:
            super().update_state(*args, **kwargs)
            hold(app, self.request.id)

    @ctx.task(name="not_yet_parked", agent_type="extractor", needs="key", base=Held)
    def not_yet_parked(self: Any) -> str:
        note(app, f"ran:{self.request.id}", 1)
        return str(self.context["key"])

    @ctx.task(name="just_parked", agent_type="extractor", needs="key")
    def just_parked(self: Any) -> str:
        note(app, f"ran:{self.request.id}", 1)
        return str(self.context["key"])

    @task_postrun.connect(sender=just_parked, weak=False)
    def after_parking(task_id: str, state: str, **_signal: Any) -> None:
        if state == "IGNORED":
            hold(app, task_id)
