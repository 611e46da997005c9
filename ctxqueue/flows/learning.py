"""What an execution teaches: its skill is counted, then what happened is stored, each once however often it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ctxqueue.effects import Flow, GetMemories, do
from ctxqueue.flows import remembering
from ctxqueue.identity import operation_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.remembered import MemoryEntry


def learn(
    terms: MemoryTerms,
    episode: remembering.Item,
    skill_id: str | None,
    practised: Callable[[str | None], Flow[MemoryEntry | None]],
    operation_id: str | None,
    occasion: tuple[str, ...],
) -> Flow[list[str]]:
    """Learn of one execution; return the ids of its episode and of its skill, if it has one.

    ``practised`` counts the skill, under the operation that it is given. In a task that runs again it is the same
    execution, on the same ``occasion``: the episode is stored last, so where it is there all has been counted, though
    the skill no longer had this one's mark.
    """
    operation = operation_here("learn", *occasion) if operation_id is None else operation_id
    if operation is not None:
        episode = episode._replace(said=replace(episode.said, key=f"execution {operation}"))
        known = episode.memory_id(terms.policy)
        ids = (known, *([] if skill_id is None else [skill_id]))
        rows, _now = yield from do(GetMemories(episode.owner.digest, ids))
        if known in rows:
            return [memory_id for memory_id in ids if memory_id in rows]
    skill = None if skill_id is None else (yield from practised(operation))
    (stored,) = yield from remembering.remember(terms, [episode])
    return [stored, *([] if skill is None else [skill.id])]
