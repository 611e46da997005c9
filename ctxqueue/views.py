"""What one agent sees of a workflow at one revision."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import EntryNotFound
from ctxqueue.identity import note_read
from ctxqueue.models import AGENT_STATE, Agent, ContextEntry, WorkflowContext, is_reserved
from ctxqueue.rendering import beside, render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from ctxqueue.remembered import Recalled


@dataclass(frozen=True)
class Sight:
    """What several views may share; nothing in it is handed out, only copies."""

    entries: Mapping[str, ContextEntry]
    """What is relevant, in no order."""
    hidden: AbstractSet[str]
    """Keys that the agent may read and that a filter left out."""
    by_key: Mapping[str, list[ContextEntry]]
    """All that the agent may read, innermost first."""

    @cached_property
    def secrets(self) -> tuple[ContextEntry, ...]:
        """The sensitive ones, of all that the agent may read."""
        return tuple(entry for standing in self.by_key.values() for entry in standing if entry.sensitive)


class AgentContext(Mapping[str, Any]):
    """What one agent sees of a workflow at one revision: a mapping of key to value, the weightiest and newest first."""

    def __init__(self, workflow: WorkflowContext, agent: Agent, sight: Sight, *, global_revision: int) -> None:
        self._workflow = workflow
        self._agent = agent
        self._sight = sight
        self._handed_out: dict[str, ContextEntry] = {}
        self._memories: tuple[Recalled, ...] | None = None
        self.revision = workflow.revision
        self.global_revision = global_revision

    def __getitem__(self, key: str) -> Any:
        return self.entry(key).value

    def __iter__(self) -> Iterator[str]:
        entries = self._sight.entries
        return iter(sorted(entries, key=lambda key: _weight(entries[key])))

    def __len__(self) -> int:
        return len(self._sight.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._sight.entries  # without unpacking the value

    def __repr__(self) -> str:
        return (
            f"<AgentContext of {self._agent.agent_id!r} in {self._workflow.workflow_id!r}"
            f" at revision {self.revision}: {len(self)} entries>"
        )

    def entry(self, key: str) -> ContextEntry:
        """Return one entry with its metadata; raises EntryNotFound."""
        handed_out = self._handed_out.get(key)
        if handed_out is not None:
            return handed_out
        try:
            entry = self._handed_out[key] = _own(self._sight.entries[key])
            note_read(self._workflow.workflow_id, entry)
        except KeyError:
            raise EntryNotFound(
                f"{self._agent.agent_id} sees no entry {key!r} in workflow {self._workflow.workflow_id!r}"
                f" at revision {self.revision}"
            ) from None
        return entry

    @property
    def shadowed(self) -> dict[str, tuple[ContextEntry, ...]]:
        """Entries that an inner scope hides, by key, innermost first."""
        return {
            key: tuple(_own(entry) for entry in standing[1:])
            for key, standing in self._sight.by_key.items()
            if len(standing) > 1 and key in self._sight.entries
        }

    def hidden_by_filter(self, key: str) -> bool:
        """Whether the agent may read this key but its type's or role's filter left it out as irrelevant."""
        return key in self._sight.hidden

    @property
    def agent_state(self) -> dict[str, Any]:
        """What the agent keeps for itself by ``set_agent_state``."""
        standing = self._sight.by_key.get(AGENT_STATE)
        return dict(_own(standing[0]).value) if standing else {}

    @property
    def dependencies(self) -> list[str]:
        """The keys that the seen entries depend on, each once, in order."""
        return list(dict.fromkeys(key for name in self for key in self._sight.entries[name].dependencies))

    def as_dict(self) -> dict[str, Any]:
        """Return the reference document's form: context_data, metadata, dependencies and who sees it."""
        state = self.agent_state
        return {
            "workflow_id": self._workflow.workflow_id,
            "agent_id": self._agent.agent_id,
            "context_data": dict(self.items()),
            "metadata": dict(self._workflow.metadata),
            "dependencies": self.dependencies,
            **({"agent_state": state} if state else {}),
            **({} if self._memories is None else beside(self._memories)),
        }

    def with_memories(self, found: Sequence[Recalled]) -> AgentContext:
        """Return the same view with what a recall has found: ``as_dict`` and ``render`` then have it too."""
        view = copy.copy(self)
        view._memories = tuple(found)  # noqa: SLF001 - its own kind
        return view

    def render(self, *, max_chars: int = 8_000, include_memories: int = 0) -> str:
        """Put the view into words for a prompt, in at most ``max_chars`` characters; see `ctxqueue.render`.

        Of the memories that `with_memories` gave it, the first ``include_memories``. Raises InvalidInput.
        """
        return render(self.as_dict(), max_chars=max_chars, include_memories=include_memories)

    def readable(self) -> dict[str, ContextEntry]:
        """Return the innermost entry of each key that the agent may read, also of those that a filter left out."""
        return {key: _own(standing[0]) for key, standing in self._sight.by_key.items() if not is_reserved(key)}


def _weight(entry: ContextEntry) -> tuple[int, float, str]:
    return -entry.priority.rank, -entry.timestamp.timestamp(), entry.key


def _own(entry: ContextEntry) -> ContextEntry:
    """Return a copy whose value and metadata nobody else holds."""
    own = object.__new__(ContextEntry)
    vars(own).update(vars(entry))
    vars(own).pop("value", None)
    if entry.metadata:
        vars(own)["metadata"] = copy.deepcopy(entry.metadata)
    return own
