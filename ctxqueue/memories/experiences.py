"""The reference document's three ways to put what happened, what is known and what is mastered into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence


class Experience(NamedTuple):
    """A memory in words, with the same as metadata."""

    content: str
    memory_type: str
    metadata: Mapping[str, Any]


def workflow_experience(
    workflow_id: str,
    agents_used: Sequence[str],
    success: bool,  # noqa: FBT001 - as the reference document has it
    execution_time: float,
    insights: str,
    task: str = "",
) -> Experience:
    """Put one run of a workflow into words."""
    agents = names(agents_used, "agents_used")
    if isinstance(execution_time, bool) or not isinstance(execution_time, int | float) or execution_time < 0:
        raise InvalidInput(f"execution_time is {execution_time!r:.80}: give seconds")
    content = "\n".join(
        [
            "Workflow Execution Experience:",
            f"- Workflow: {workflow_id}",
            *([f"- Task: {task}"] if task else []),
            f"- Agents: {', '.join(agents)}",
            f"- Success: {bool(success)}",
            f"- Duration: {execution_time:.2f}s",
            f"- Key Insights: {insights}",
        ]
    )
    metadata = {
        "workflow_id": workflow_id,
        "agents_used": agents,
        "success": bool(success),
        "execution_time": execution_time,
        "insights": insights,
        "pattern_type": "workflow_execution",
        **({"task": task} if task else {}),
    }
    return Experience(content, "episodic", metadata)


def semantic_knowledge(concept: str, definition: str, related_concepts: Sequence[str] | None = None) -> Experience:
    """Put a concept into words."""
    related = names([] if related_concepts is None else related_concepts, "related_concepts")
    lines = [f"Concept: {text(concept, 'concept')}", f"Definition: {text(definition, 'definition')}"]
    if related:
        lines.append(f"Related: {', '.join(related)}")
    metadata = {
        "concept": concept,
        "definition": definition,
        "related_concepts": related,
        "knowledge_type": "concept_definition",
    }
    return Experience("\n".join(lines), "semantic", metadata)


def names(given: Sequence[str], what: str) -> list[str]:
    """Return names as a list; raises InvalidInput for what is no list of texts, as one text in its place."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(f"{what} is a {_kind(given)}: give a list of texts")
    found = list(given)
    if wrong := [name for name in found if not isinstance(name, str)]:
        raise InvalidInput(f"{what} holds a {_kind(wrong[0])}: give texts")
    return found


def text(given: str, what: str) -> str:
    """Return what was given as a text; raises InvalidInput for anything else, and for an empty one."""
    if not isinstance(given, str):
        raise InvalidInput(f"{what} is a {_kind(given)}: give a text")
    if not given.strip():
        raise InvalidInput(f"{what} is empty: give a text")
    return given


def _kind(given: object) -> str:
    return "text" if isinstance(given, str) else type(given).__name__
