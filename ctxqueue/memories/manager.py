"""The blocking face of memories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from ctxqueue.drivers import Driver
from ctxqueue.flows import keeping
from ctxqueue.memories import experiences, insights
from ctxqueue.memories.managing import INDEX_FROM, MemoryBase
from ctxqueue.memories.working import MAX_BYTES, MAX_ITEMS, WorkingMemory
from ctxqueue.stores.base import open_store

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from os import PathLike

    from ctxqueue.context import SharedContextManager
    from ctxqueue.memories.weights import Weights
    from ctxqueue.models import Agent, ContextScope, Page
    from ctxqueue.remembered import MemoryEntry, Recalled, RetentionReport
    from ctxqueue.stores.base import Store


class VectorMemoryManager(MemoryBase):
    """Semantic, episodic and procedural memories of one namespace in one store. Thread-safe; no I/O before a call.

    A memory belongs to everybody (scope ``global``), to the agents of one type (``agent_group``) or to one agent, one
    user or both (``private``). With an ``agent_id`` or a ``user_id`` it is private unless a scope is named, else it is
    everybody's. A reader finds what is everybody's, its group's and its own; without both ids it is the operator, who
    finds all.
    """

    def __init__(
        self,
        storage: str | Store | SharedContextManager = "memory://",
        *,
        namespace: str | None = None,
        embedder: Any = None,
        weights: Weights | None = None,
        supersede_above: float | None = None,
        worth_keeping: Callable[[str, str, Mapping[str, Any]], bool] | None = None,
        cached: int = 4_096,
        retention: Mapping[str, Any] | None = None,
        index_from: int = INDEX_FROM,
    ) -> None:
        """Take a URL, an open store, or a manager whose store is shared.

        ``embedder``: an `Embedder`, a function from texts to vectors, or None for the offline one. ``supersede_above``:
        a cosine from which on a new memory takes the place of an older one of the same owner and type.
        ``worth_keeping(content, memory_type, metadata)`` says what is stored at all. ``cached``: texts whose vectors
        are kept. ``retention`` has a `Retention` for each memory type that is not to be kept as by default.
        ``index_from``: memories of one owner above which pgvector finds the candidates, where `ctx migrate` has made
        an index of it. Raises ConfigurationError, InvalidName.
        """
        self.store: Store = self._set(
            storage,
            namespace,
            open_store,
            embedder,
            weights,
            supersede_above,
            worth_keeping,
            cached,
            retention,
            index_from,
        )
        self.driver = Driver(self.store)

    def remember(
        self,
        content: str,
        memory_type: str = "semantic",
        *,
        metadata: Mapping[str, Any] | None = None,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        at: datetime | str | None = None,
        session: str | int | None = None,
        sequence: float | None = None,
        speaker: str | None = None,
        importance: float = 0.5,
        pinned: bool = False,
        ttl: float | timedelta | None = None,
    ) -> str:
        """Store a memory, and return its id; the same content again is the same memory, and stays as it is.

        ``at`` says when it happened, ``session``, ``sequence`` and ``speaker`` where in which conversation: recall
        makes use of them. ``importance`` is from 0 to 1, ``ttl`` in seconds. "" if `worth_keeping` says no. Raises
        InvalidInput, EmbedderError, DimensionMismatch, ModelMismatch.
        """
        options = {
            "metadata": metadata,
            "agent_id": agent_id,
            "user_id": user_id,
            "scope": scope,
            "at": at,
            "session": session,
            "sequence": sequence,
            "speaker": speaker,
            "importance": importance,
            "pinned": pinned,
            "ttl": ttl,
        }
        return self.driver.run(self._remember(content, memory_type, options))

    def remember_many(self, items: Iterable[str | Mapping[str, Any]]) -> builtins.list[str]:
        """Store many, embedded together, and return their ids.

        An item is a text, or a mapping of `remember`'s arguments. All are checked and embedded before any is stored.
        """
        return self.driver.run(self._remember_many(items))

    def recall(
        self,
        query: str,
        *,
        memory_types: Sequence[str] | None = None,
        limit: int = 5,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        where: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        min_score: float | Literal["default"] | None = None,
        explain: bool = False,
        reveal: bool = False,
    ) -> builtins.list[Recalled]:
        """Return the memories that answer a query best, best first; each counts as used.

        ``where`` is equality on metadata; ``since`` and ``until`` (not with) are about when it happened. All filters,
        and what the reader may see, narrow what is searched before it is ranked. ``min_score`` is a cosine,
        ``"default"`` the embedder's own. Raises InvalidInput, EmbedderError, DimensionMismatch, ModelMismatch.
        """
        reader = self._reader(agent_id, user_id)
        flow = self._recall(
            *(query, memory_types, limit, reader, scope, where, since, until, min_score), explain=explain, reveal=reveal
        )
        return self.driver.run(flow)

    def get(
        self,
        memory_id: str,
        *,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        reveal: bool = False,
    ) -> MemoryEntry | None:
        """Return a memory by its id, None if there is none that the reader may see; it does not count as used."""
        return self.driver.run(keeping.get(*self._of(agent_id, user_id), memory_id, reveal=reveal))

    def list(
        self,
        *,
        memory_types: Sequence[str] | None = None,
        agent_id: str | Agent | None = None,
        user_id: str | None = None,
        scope: str | ContextScope | None = None,
        where: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        reveal: bool = False,
    ) -> Page[MemoryEntry]:
        """Return live memories that the reader may see, at most 1,000 a page, those changed longest ago first."""
        reader = self._reader(agent_id, user_id)
        return self.driver.run(
            self._list(memory_types, reader, scope, where, since, until, limit, cursor, reveal=reveal)
        )

    def forget(self, memory_id: str, *, agent_id: str | Agent | None = None, user_id: str | None = None) -> bool:
        """Remove a memory; False if there is none that the reader may see."""
        return self.driver.run(keeping.forget(*self._of(agent_id, user_id), memory_id))

    def reinforce(
        self, memory_id: str, amount: float = 0.1, *, agent_id: str | Agent | None = None, user_id: str | None = None
    ) -> MemoryEntry:
        """Add to a memory's importance, which stays from 0 to 1; raises EntryNotFound."""
        return self.driver.run(keeping.reinforce(*self._of(agent_id, user_id), memory_id, amount))

    def pin(
        self, memory_id: str, *, pinned: bool = True, agent_id: str | Agent | None = None, user_id: str | None = None
    ) -> MemoryEntry:
        """Exempt a memory from retention, or no more; raises EntryNotFound."""
        return self.driver.run(keeping.pin(*self._of(agent_id, user_id), memory_id, pinned=pinned))

    def supersede(self, old: str, new: str, *, agent_id: str | Agent | None = None, user_id: str | None = None) -> None:
        """Let one memory take another's place: the old one is kept, and found no more. Raises EntryNotFound."""
        self.driver.run(keeping.supersede(*self._of(agent_id, user_id), old, new))

    def apply_retention(
        self, *, dry_run: bool = False, limit: int = 10_000, archive: str | PathLike[str] | None = None
    ) -> RetentionReport:
        """Remove what has expired, is too old for its type, or is over an owner's number: least used and oldest first.

        Pinned memories stay. At most ``limit`` go, in small batches; call again until the report is ``complete``.
        ``archive`` is a folder that gets a file with what goes, before it does. A dry run counts all of it, and
        removes nothing. Beat does it by itself; see `ctxqueue.memory_retention`. Raises InvalidInput.
        """
        with self._archive(archive, dry_run=dry_run) as file:
            return self.driver.run(self._retire(limit, file, dry_run=dry_run))

    def refresh_index(self, *, limit: int = 10_000) -> int:
        """Enter what the store's index of vectors lacks, at most so many rows; return how many were entered.

        That is done with PostgreSQL and pgvector, for owners of more than ``index_from`` memories, once ``ctx migrate``
        has made the index. Recalls enter up to 1,000 rows themselves, and beat's task the rest. Raises InvalidInput.
        """
        return self.driver.run(self._refresh_index(limit))

    def working(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        ttl: float | timedelta | None = None,
    ) -> WorkingMemory:
        """Return an agent's working memory in a workflow of the same store, without I/O. Raises InvalidInput."""
        made = WorkingMemory(self.context_terms, workflow_id, agent_id, max_items, max_bytes, ttl)
        made._run = self.driver.run  # noqa: SLF001 - its own
        return made

    def consolidate(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        summariser: Callable[[builtins.list[str]], str | Sequence[str]] | None = None,
        *,
        memory_type: str = "episodic",
    ) -> builtins.list[str]:
        """Turn what is worth keeping of a working memory into the agent's long-term memories; return their ids.

        ``summariser`` gets the items' texts and returns what to remember; without one the texts are kept that say most
        of the others. The items leave working memory. Raises WorkflowNotFound, InvalidInput, and what `remember` does.
        """
        working = self.working(workflow_id, agent_id)
        return self.driver.run(self._consolidate(working, summariser, memory_type))

    def reembed(self, embedder: Any) -> int:
        """Move all memories to another model, and go on with that one; return how many were moved.

        One that is cut off is called again, and goes on. Meanwhile processes with the former model recall what is
        moved as before, but get ModelMismatch when they remember: start them anew with the new one. Raises
        EmbedderError, DimensionMismatch.
        """
        return self.driver.run(self._reembed(embedder))

    # As the reference document names them ----------------------------------------------------------------------------

    def store_memory(self, content: str, memory_type: str, metadata: Mapping[str, Any] | None = None) -> str:
        """Store everybody's memory; see `remember`."""
        return self.driver.run(self._remember(content, memory_type, {"metadata": metadata}))

    def retrieve_relevant_memories(
        self, query: str, memory_types: Sequence[str] | None = None, max_results: int = 5
    ) -> builtins.list[MemoryEntry]:
        """Return the best memories, their ``relevance_score`` set to the cosine; see `recall`."""
        return self.driver.run(self._retrieve(query, memory_types, max_results))

    def store_semantic_knowledge(
        self, concept: str, definition: str, related_concepts: Sequence[str] | None = None
    ) -> str:
        """Store what a concept means, and which others it is related to."""
        knowledge = experiences.semantic_knowledge(concept, definition, related_concepts)
        return self.driver.run(self._store(knowledge))

    def store_workflow_experience(
        self,
        workflow_id: str,
        agents_used: Sequence[str],
        success: bool,  # noqa: FBT001 - as the reference document has it
        execution_time: float,
        insights: str,
        *,
        task: str = "",
    ) -> str:
        """Store how a workflow went, and at what task; ``execution_time`` is in seconds."""
        experience = experiences.workflow_experience(workflow_id, agents_used, success, execution_time, insights, task)
        return self.driver.run(self._store(experience))

    def store_procedural_skill(
        self, skill_name: str, steps: Sequence[str], success_rate: float, contexts: Sequence[str]
    ) -> str:
        """Store how something is done, where, and how often that is said to succeed: executions then outweigh it."""
        return self.driver.run(self._skill(skill_name, steps, success_rate, contexts))

    def practise_skill(
        self,
        skill_name: str,
        success: bool,  # noqa: FBT001 - an outcome, said first of all
        *,
        steps: Sequence[str] = (),
        contexts: Sequence[str] = (),
        create: bool = True,
        operation_id: str | None = None,
    ) -> MemoryEntry | None:
        """Count an execution of a skill; return it, with ``attempts``, ``successes`` and the rate in its metadata.

        ``success_rate`` is an estimate, between ``success_rate_low`` and ``_high`` nineteen times in twenty. None if
        there is no such skill, and none is to be created. An ``operation_id`` that was among the last 32 of the skill
        counts no more.
        """
        return self.driver.run(
            self._practise(skill_name, success, steps, contexts, create=create, operation_id=operation_id)
        )

    def learn_from_execution(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        result: Mapping[str, Any],
        execution_time: float,
        *,
        operation_id: str | None = None,
    ) -> builtins.list[str]:
        """Store how an execution went, and the skill that it showed; return the ids of both.

        ``result``: ``status`` ("success" or else), ``processing_time`` in seconds, ``confidence``, ``error``, and
        ``learned_pattern`` with ``skill_name`` and ``steps``. A success makes the skill ``{agent_id}_{skill_name}`` or
        raises its rate, a failure lowers that of one that is there; told again under the same ``operation_id`` it
        counts once. Raises InvalidInput.
        """
        lesson = insights.lesson_of(result)
        return self.driver.run(self._learn(workflow_id, agent_id, task, lesson, execution_time, operation_id))

    def close(self) -> None:
        """Close the connections."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
