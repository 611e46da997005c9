"""What an execution teaches, and how memories are laid beside a context: words only, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue.errors import InvalidInput
from ctxqueue.memories.experiences import names
from ctxqueue.rendering import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.remembered import Recalled

SUCCESS = "success"
MOST_OF_AN_ERROR = 4_000
"""Characters: some errors quote all that they were given."""


class Lesson(NamedTuple):
    """What is to be learned of one execution."""

    success: bool
    insights: str
    skill_name: str | None
    """Of the pattern that it showed, without the agent."""
    steps: tuple[str, ...]


def lesson_of(result: Mapping[str, Any]) -> Lesson:
    """Return it; raises InvalidInput for what is no result."""
    if not isinstance(result, Mapping):
        raise InvalidInput(f"the result of an execution is a {type(result).__name__}: give a mapping with a status")
    success = result.get("status") == SUCCESS
    told = ["Execution completed successfully"] if success else []
    if success:
        if (seconds := _number(result, "processing_time")) is not None:
            told.append(f"Processing took {seconds:.2f}s")
        if (confidence := _number(result, "confidence")) is not None:
            told.append(f"Result confidence: {confidence:.2%}")
    else:
        told.append(f"Execution failed: {_shortened(str(result.get('error', 'Unknown error')))}")
    pattern = result.get("learned_pattern")
    if pattern is None:
        return Lesson(success, "; ".join(told), None, ())
    if not isinstance(pattern, Mapping):
        raise InvalidInput(f"learned_pattern is a {type(pattern).__name__}: give skill_name and steps")
    steps = tuple(names(pattern.get("steps", []), "steps"))
    return Lesson(success, "; ".join(told), str(pattern.get("skill_name", "task_execution")), steps)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_OF_AN_ERROR else f"{text[:MOST_OF_AN_ERROR]} ..."


def _number(result: Mapping[str, Any], name: str) -> float | None:
    value = result.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def seconds_of(result: Mapping[str, Any], measured: float) -> float:
    """Return how long an execution took: as it says, else as it was measured."""
    said = _number(result, "execution_time")
    return measured if said is None or said < 0 else said


def with_insights(context: dict[str, Any], found: Sequence[Recalled]) -> dict[str, Any]:
    """Lay memories beside a context, as the reference document has it."""
    return {**context, **beside(found)}


def nothing_known(workflow_id: str, agent_id: str) -> dict[str, Any]:
    """Return the context of a workflow that is not there."""
    return {
        "workflow_id": workflow_id,
        "agent_id": agent_id,
        "context_data": {},
        "metadata": {},
        "dependencies": [],
    }
