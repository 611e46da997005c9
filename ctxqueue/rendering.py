"""A context and the memories beside it: as the reference document has them, and in words for a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ctxqueue.remembered import Recalled

INSIGHTS = 3
"""Memories that a context carries."""


def beside(found: Sequence[Recalled]) -> dict[str, Any]:
    """Return what memories add to a context: ``has_relevant_experience``, and ``memory_insights`` if there are any."""
    insights = [
        {
            "type": each.memory.memory_type,
            "relevance": each.memory.relevance_score,
            "content": each.memory.content,
            "metadata": dict(each.memory.metadata),
        }
        for each in found
    ]
    return {"has_relevant_experience": bool(found), **({"memory_insights": insights} if found else {})}


def render(context: Mapping[str, Any], *, max_chars: int = 8_000, include_memories: int = INSIGHTS) -> str:
    """Put a context and its memories into words for a prompt, in at most ``max_chars`` characters.

    The entries come first, in their order, then as many memories as there is room for; what does not fit is left out
    whole, and the last line says how much that was. Raises InvalidInput.
    """
    if isinstance(max_chars, bool) or not isinstance(max_chars, int) or max_chars < 1:
        raise InvalidInput(f"max_chars is {max_chars!r}: give a whole number above 0")
    lines = [f"{key}: {value}" for key, value in context.get("context_data", {}).items()]
    if isinstance(include_memories, bool) or not isinstance(include_memories, int) or include_memories < 0:
        raise InvalidInput(f"include_memories is {include_memories!r}: give a whole number, at least 0")
    insights = list(context.get("memory_insights", []))[:include_memories]
    lines += [f"[{each['type']} memory] {each['content']}" for each in insights]
    note = "({} more left out)"
    budget = max_chars - len(note.format(len(lines))) - 1
    kept: list[str] = []
    room = budget
    for line in lines:
        if len(line) + 1 <= room:
            kept.append(line)
            room -= len(line) + 1
    if len(kept) < len(lines):
        kept.append(note.format(len(lines) - len(kept)))
    text = "\n".join(kept)
    return text if len(text) <= max_chars else ""
