"""How workers answer what was asked of memories: with ids and numbers, which hold no text."""

from __future__ import annotations

import hashlib
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore
from celery.states import READY_STATES

from ctxqueue.clock import microseconds
from ctxqueue.errors import IdentityMismatch, InvalidInput, StaleOperation, StoreUnavailable
from ctxqueue.flows import asking
from ctxqueue.identity import declared_agent
from ctxqueue.integration.memory_requests import LEARN, checked, published
from ctxqueue.memories.insights import Lesson
from ctxqueue.remembered import MARK, Reader, agent_told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Task

    from ctxqueue.integration.install import ContextQueue
    from ctxqueue.memories.manager import VectorMemoryManager

OVERDUE: Final = 600.0
"""Seconds after which a message that would have let learn is taken to be lost, and sent again."""

logger = logging.getLogger(__name__)


@contextmanager
def acting_as(told: Sequence[Any] | None) -> Iterator[None]:
    """Act as the agent for which something was asked, as a task that was declared for it does."""
    token = declared_agent.set(declared_agent.get() if told is None else agent_told(told))
    try:
        yield
    finally:
        declared_agent.reset(token)


@contextmanager
def one_thread() -> Iterator[None]:
    """Embed and rank with one BLAS thread: a worker process has its neighbours."""
    from ctxqueue.memories.blas import one_thread as limited  # noqa: PLC0415 - it loads numpy, which producers do not

    with limited():
        yield


def request_of(task: Task[..., Any], memory: VectorMemoryManager, request_id: str) -> dict[str, Any]:
    """Return what was asked for; raises Ignore if it was answered already, StaleOperation if it has expired."""
    try:
        request = memory.driver.run(asking.asked(request_id))
    except StaleOperation:
        backend: Any = task.backend
        if isinstance(backend, DisabledBackend) or backend.get_state(task.request.id) in READY_STATES:
            raise Ignore from None
        raise
    return request


def forget(queue: ContextQueue, task: Task[..., Any], told: tuple[Any, ...]) -> None:
    """Let go of what was asked for, once the answer stands in the result backend."""
    arguments = told[2]  # of Celery's handlers: what came of it, the task's id, its arguments
    try:
        queue.memory.driver.run(asking.answered(arguments[0]))
    except StoreUnavailable as error:
        logger.warning("what %s[%s] was asked for stays until it expires: %s", task.name, task.request.id, error)


def recalled(memory: VectorMemoryManager, request: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Answer a recall; made again it counts as the same use."""
    whose = request.pop("agent", None)
    agent = None if whose is None else agent_told(whose)
    # Whoever asked was held to its task's agent then; here nobody's body runs.
    reader = Reader(request.pop("agent_id"), request.pop("user_id"), agent)
    touch_id = hashlib.blake2b(request_id.encode(), digest_size=MARK).digest()
    found = memory.driver.run(memory._recall(reader=reader, touch_id=touch_id, **request))  # noqa: SLF001 - the app's own
    return {
        "found": [
            [each.memory.id, float(each.score), float(each.memory.relevance_score), dict(each.parts)] for each in found
        ]
    }


def learned(memory: VectorMemoryManager, request: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Learn what an execution teaches; told again it counts once."""
    success, told, skill_name, steps = request["lesson"]
    lesson = Lesson(success, told, skill_name, tuple(steps))
    # One that was asked for by an earlier version names no more than the id.
    agent = agent_told(request["agent"]) if "agent" in request else request["agent_id"]
    flow = memory._learn(  # noqa: SLF001 - the app's own
        *(request["workflow_id"], agent, request["task"], lesson, request["execution_time"]), request_id
    )
    return {"memory_ids": memory.driver.run(flow)}


def with_options(value: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `remember`'s arguments of what a task has returned; raises IdentityMismatch, InvalidInput.

    A model may have written that: as which agent it is remembered is said where the signature is made, and so is
    about which user, if that is said there at all.
    """
    if isinstance(value, str):
        return {**options, "content": value}
    if isinstance(value, dict):
        given = {**options, **value}
        if given.get("agent_id") != options.get("agent_id") or given.get("user_id") != options.get(
            "user_id", given.get("user_id")
        ):
            raise IdentityMismatch(
                "the task before returned an agent_id or a user_id of its own: say whose it is in remember_result(...)"
            )
        return given
    raise InvalidInput(f"the task before returned a {type(value).__name__}: a text, a mapping or a list is remembered")


def ask_again(queue: ContextQueue) -> int:
    """Send the messages anew of what was to be learned so long ago that they may be lost; return how many."""
    memory = queue.memory
    overdue = memory.driver.run(asking.overdue(LEARN, microseconds(OVERDUE)))
    for request_id in overdue:
        try:
            options = memory.driver.run(asking.asked(request_id))["options"]
        except StaleOperation:
            continue  # it has been learned meanwhile
        published(queue.app, LEARN, (request_id,), checked(options))
    return len(overdue)
