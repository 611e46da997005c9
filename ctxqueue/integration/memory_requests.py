"""What producers ask workers for: messages that name memories and requests, and hold no text of either."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from celery.backends.base import DisabledBackend
from celery.utils import uuid
from kombu.exceptions import OperationalError

from ctxqueue.clock import microseconds
from ctxqueue.errors import ConfigurationError, InvalidInput
from ctxqueue.flows import asking, remembering
from ctxqueue.integration.options import ROUTING
from ctxqueue.memories.experiences import workflow_experience
from ctxqueue.memories.insights import lesson_of
from ctxqueue.models import Agent, ContextScope, checked_name
from ctxqueue.remembered import told_of
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Celery
    from celery.canvas import Signature
    from celery.result import AsyncResult

    from ctxqueue.effects import Flow
    from ctxqueue.memories.managing import MemoryBase
    from ctxqueue.remembered import Reader

EMBED, REMEMBER, RECALL = "ctxqueue.embed", "ctxqueue.remember", "ctxqueue.recall"
CONSOLIDATE, REEMBED, LEARN = "ctxqueue.consolidate", "ctxqueue.reembed", "ctxqueue.memory_learning"

RECALL_LIFE: Final = 600.0
"""Seconds that a recall waits for a worker: nobody waits longer for its answer."""
LEARNING_LIFE: Final = 24 * 3_600.0

logger = logging.getLogger(__name__)


class Message(NamedTuple):
    """What goes to a worker: its arguments come of what has to be in the store before."""

    task: str
    arguments: Flow[tuple[Any, ...]]
    options: dict[str, Any]


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return a message's options with its id; raises InvalidInput."""
    if mistaken := options.keys() & {"args", "kwargs"}:
        raise InvalidInput(f"{', '.join(sorted(mistaken))}: the message's arguments are ctxqueue's")
    return {"task_id": uuid(), "kwargsrepr": "{}", **options}


def to_embed(memory: MemoryBase, items: Sequence[remembering.Item], options: dict[str, Any]) -> Message:
    """Store memories without vectors, and let a worker make these."""
    options = checked(options)
    if len(items) > MAX_PAGE:
        raise InvalidInput(f"{len(items)} memories in one message: at most {MAX_PAGE}")

    def stored() -> Flow[tuple[Any, ...]]:
        ids = yield from remembering.remember(memory.memory_terms, items, embedded=False)
        kept = list(dict.fromkeys(memory_id for memory_id in ids if memory_id))
        options.setdefault("argsrepr", f"(<{len(kept)} memories>,)")
        return (kept,)

    return Message(EMBED, stored(), options)


def to_recall(reader: Reader, wanted: Mapping[str, Any], options: dict[str, Any]) -> Message:
    """Store a query, and let a worker answer it."""
    options = {"expires": RECALL_LIFE, **checked(options)}
    life_us = microseconds(RECALL_LIFE)
    return Message(RECALL, _asked(RECALL, wanted, life_us, reader.agent_id, reader.user_id), options)


def to_learn(
    workflow_id: str,
    reader: Reader,
    task: str,
    result: Mapping[str, Any],
    execution_time: float,
    options: dict[str, Any],
) -> Message:
    """Store what an execution teaches, and let a worker learn it; raises InvalidInput."""
    lesson = lesson_of(result)
    agent_id = str(reader.agent_id)
    workflow_experience(workflow_id, [agent_id], lesson.success, execution_time, lesson.insights, task)
    options = checked(options)
    payload = {
        "workflow_id": checked_name(workflow_id, "workflow_id"),
        "agent_id": agent_id,
        "agent": told_of(reader.agent or Agent(agent_id)),
        "task": remembering.checked_text(task, "task"),
        "lesson": list(lesson),
        "execution_time": execution_time,
        "options": {"task_id": options["task_id"], **{name: options[name] for name in ROUTING & options.keys()}},
    }
    return Message(LEARN, _asked(LEARN, payload, microseconds(LEARNING_LIFE), agent_id), options)


def _asked(
    task: str, payload: Mapping[str, Any], life_us: int, agent_id: str | None, user_id: str | None = None
) -> Flow[tuple[Any, ...]]:
    return ((yield from asking.ask(task, payload, life_us, agent_id, user_id)),)


def named(task: str, *arguments: Any, options: dict[str, Any]) -> Message:
    """Let a worker do what its arguments name already."""

    def known() -> Flow[tuple[Any, ...]]:
        yield from ()
        return arguments

    return Message(task, known(), checked(options))


def published(
    app: Celery, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> AsyncResult[dict[str, Any]]:
    """Publish it; where the message is no more than a reminder, a broker that is away is no error."""
    task: Any = app.tasks[name]
    options = {"argsrepr": repr(arguments), **options}
    try:
        result: AsyncResult[dict[str, Any]] = task.apply_async(arguments, **options)
    except OperationalError as error:
        if name not in (EMBED, LEARN):
            raise
        logger.warning("the broker did not take a message of %s, which is done without it: %s", name, error)
        return app.AsyncResult(options["task_id"])
    return result


def check_results(app: Celery) -> None:
    """Raise ConfigurationError if nobody could answer."""
    if isinstance(app.backend, DisabledBackend) and not app.conf.task_always_eager:
        raise ConfigurationError("a recall by a worker answers by Celery's result backend: set result_backend")


def remembering_signature(app: Celery, options: dict[str, Any], agent: Agent | None) -> Signature[dict[str, Any]]:
    """Return what remembers the result of the task before it, as an agent if one is given."""
    plain = {name: str(value) if isinstance(value, ContextScope) else value for name, value in options.items()}
    if isinstance(named_by := options.get("agent_id"), Agent):
        plain["agent_id"] = named_by.agent_id
    given: dict[str, Any] = {"options": plain} | ({} if agent is None else {"agent": told_of(agent)})
    signature: Signature[dict[str, Any]] = app.tasks[REMEMBER].signature(kwargs=given)
    # What comes in is nobody's business who watches messages go by.
    signature.options.update(argsrepr="(<result>,)", kwargsrepr="{'options': ...}")
    return signature
