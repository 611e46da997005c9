"""The reference document's three ways to put what happened, what is known and what is mastered into words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
) -> Experience:
    """Put one run of a workflow into words."""
    agents = _names(agents_used, "agents_used")
    if isinstance(execution_time, bool) or not isinstance(execution_time, int | float) or execution_time < 0:
        raise InvalidInput(f"execution_time is {execution_time!r:.80}: give seconds")
    content = "\n".join(
        [
            "Workflow Execution Experience:",
            f"- Workflow: {workflow_id}",
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
    }
    return Experience(content, "episodic", metadata)


def semantic_knowledge(concept: str, definition: str, related_concepts: Sequence[str] | None = None) -> Experience:
    """Put a concept into words."""
    related = _names(related_concepts or [], "related_concepts")
    lines = [f"Concept: {concept}", f"Definition: {definition}"]
    if related:
        lines.append(f"Related: {', '.join(related)}")
    metadata = {
        "concept": concept,
        "definition": definition,
        "related_concepts": related,
        "knowledge_type": "concept_definition",
    }
    return Experience("\n".join(lines), "semantic", metadata)


def procedural_skill(skill_name: str, steps: Sequence[str], success_rate: float, contexts: Sequence[str]) -> Experience:
    """Put a skill into words; the rate is not among them, as it moves."""
    done, used_in = _names(steps, "steps"), _names(contexts, "contexts")
    if isinstance(success_rate, bool) or not isinstance(success_rate, int | float) or not 0 <= success_rate <= 1:
        raise InvalidInput(f"success_rate is {success_rate!r:.80}: give a number from 0 to 1")
    lines = [f"Skill: {skill_name}", f"Steps: {' → '.join(done)}", f"Contexts: {', '.join(used_in)}"]
    metadata = {
        "skill_name": skill_name,
        "steps": done,
        "success_rate": success_rate,
        "applicable_contexts": used_in,
        "skill_type": "learned_procedure",
    }
    return Experience("\n".join(lines), "procedural", metadata)


def _names(names: Sequence[str], what: str) -> list[str]:
    if isinstance(names, str):
        raise InvalidInput(f"{what} is a text: give a list of texts")
    return [str(name) for name in names]
