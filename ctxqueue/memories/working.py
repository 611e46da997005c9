"""An agent's working memory in one workflow: the blocking and the async hold on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ctxqueue.errors import InvalidInput
from ctxqueue.flows import remembering, working
from ctxqueue.handles import acting_on_record, whom
from ctxqueue.models import checked_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import timedelta

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent

T = TypeVar("T")

MAX_ITEMS, MAX_BYTES = 50, 64 * 1024


class _Working:
    """Whose it is, where, and within which bounds."""

    def __init__(
        self,
        terms: Terms,
        workflow_id: str,
        agent_id: str | Agent,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        ttl: float | timedelta | None = None,
    ) -> None:
        self._terms = terms
        self.workflow_id = checked_name(workflow_id, "workflow_id")
        self.agent = acting_on_record(terms, **whom(agent_id))
        self.bounds = working.Bounds(max_items, max_bytes, ttl)

    def _add(self, content: str, importance: float, metadata: Mapping[str, Any] | None) -> Flow[str]:
        text = remembering.checked_text(content, "content")
        if isinstance(importance, bool) or not isinstance(importance, int | float) or not 0 <= importance <= 1:
            raise InvalidInput(f"importance is {importance!r:.80}: give a number from 0 to 1")
        return (
            yield from working.add(
                *(self._terms, self.workflow_id, self.agent, self.bounds, text, float(importance), metadata)
            )
        )

    def _items(self) -> Flow[list[dict[str, Any]]]:
        return working.items(self._terms.policy, self.workflow_id, self.agent)

    def _clear(self) -> Flow[None]:
        items = yield from self._items()
        yield from working.remove(
            self._terms, self.workflow_id, self.agent, self.bounds, [item["id"] for item in items]
        )


class WorkingMemory(_Working):
    """What an agent keeps in mind in one workflow; it ends with the workflow, or ``ttl`` seconds after its last change.

    Over ``max_items`` or ``max_bytes`` what matters least goes, of such the oldest.
    """

    _run: Callable[[Flow[Any]], Any]

    def add(self, content: str, *, importance: float = 0.5, metadata: Mapping[str, Any] | None = None) -> str:
        """Keep one more item in mind, and return its id; raises WorkflowNotFound, InvalidInput, ValueTooLarge."""
        added: str = self._run(self._add(content, importance, metadata))
        return added

    def items(self) -> list[dict[str, Any]]:
        """Return the items, oldest first: ``id``, ``content``, ``importance``, ``metadata``."""
        kept: list[dict[str, Any]] = self._run(self._items())
        return kept

    def clear(self) -> None:
        """Let all of them go."""
        self._run(self._clear())


class AsyncWorkingMemory(_Working):
    """The same for event loops; see `WorkingMemory`."""

    _run: Callable[[Flow[Any]], Awaitable[Any]]

    async def add(self, content: str, *, importance: float = 0.5, metadata: Mapping[str, Any] | None = None) -> str:
        """Keep one more item in mind, and return its id; raises WorkflowNotFound, InvalidInput, ValueTooLarge."""
        added: str = await self._run(self._add(content, importance, metadata))
        return added

    async def items(self) -> list[dict[str, Any]]:
        """Return the items, oldest first: ``id``, ``content``, ``importance``, ``metadata``."""
        kept: list[dict[str, Any]] = await self._run(self._items())
        return kept

    async def clear(self) -> None:
        """Let all of them go."""
        await self._run(self._clear())
