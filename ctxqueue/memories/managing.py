"""What the blocking and the async memory manager have in common: everything but how a flow is carried out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from ctxqueue.errors import ConfigurationError, InvalidInput
from ctxqueue.flows import (
    consolidating,
    keeping,
    learning,
    nearing,
    practising,
    recalling,
    reembedding,
    remembering,
    retiring,
)
from ctxqueue.flows.memory_terms import MemoryTerms, Wanted
from ctxqueue.flows.terms import Terms
from ctxqueue.handles import opened, remembering_as
from ctxqueue.identity import operation_here
from ctxqueue.memories import experiences
from ctxqueue.memories.archives import Archive
from ctxqueue.memories.extracting import extract
from ctxqueue.memories.loading import Loading
from ctxqueue.models import ContextScope
from ctxqueue.remembered import KINDS, Owner, Reader, RetentionReport, told_of
from ctxqueue.rules.remembering import hold
from ctxqueue.rules.retention import retention_of
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from os import PathLike

    from ctxqueue.effects import Flow
    from ctxqueue.memories.insights import Lesson
    from ctxqueue.memories.weights import Weights
    from ctxqueue.memories.working import _Working
    from ctxqueue.models import Agent, Page
    from ctxqueue.remembered import MemoryEntry, Recalled
    from ctxqueue.rules.policy import Policy
    from ctxqueue.rules.retention import Retention

S = TypeVar("S")

INDEX_FROM = 100_000
"""Memories of one owner above which a store's index is used, where there is one: so many are ranked in the process in
the time that their product with a vector takes."""


class MemoryBase:
    """All memories of one namespace in one store."""

    def _set(
        self,
        storage: Any,
        namespace: str | None,
        open_by_url: Callable[[str, str], S],
        embedder: Any,
        weights: Weights | None,
        supersede_above: float | None,
        worth_keeping: Callable[[str, str, Mapping[str, Any]], bool] | None,
        cached: int,
        retention: Mapping[str, Any] | None,
        index_from: int,
    ) -> S:
        """Keep what a manager is made with; return its store."""
        theirs = getattr(getattr(storage, "terms", None), "namespace", None)
        if theirs is not None and namespace not in (None, theirs):
            raise ConfigurationError(f"the storage has namespace {theirs!r}, the memories {namespace!r}: give one")
        if supersede_above is not None and not 0 < supersede_above <= 1:
            raise ConfigurationError(f"supersede_above is {supersede_above!r}: give a cosine above 0, up to 1")
        if isinstance(index_from, bool) or not isinstance(index_from, int) or index_from < 0:
            raise ConfigurationError(f"index_from is {index_from!r:.40}: give a number of memories")
        self.retention: dict[str, Retention] = dict(retention_of(retention).items())
        self.namespace = namespace or theirs or "default"
        self.loading = Loading(embedder, weights, cached)
        if isinstance(storage, str):
            store: Any = open_by_url(storage, self.namespace)
        else:
            store = opened(getattr(storage, "store", storage), self.namespace, open_by_url)
        given = getattr(storage, "terms", None)
        self.context_terms = given if given is not None else Terms(self.namespace, store.shards, store.shard_of)
        policy = self.context_terms.policy
        self.memory_terms = MemoryTerms(self.loading.library, supersede_above, worth_keeping, policy)
        # With a keyring there is none: vectors would tell in clear what is encrypted.
        self.memory_terms.index_from = index_from if getattr(store, "may_index", False) else None
        made: S = store
        return made

    @property
    def embedder(self) -> Any:
        """What embeds, as it was given; None: the default one."""
        return self.loading.embedder

    @property
    def weights(self) -> Weights | None:
        """How much each part of a score counts, as it was given; None: the defaults."""
        return self.loading.weights

    def share(self, other: MemoryBase) -> None:
        """Embed and search with another manager's library, and by its rules."""
        self.loading, self.memory_terms = other.loading, other.memory_terms

    def _reader(self, agent_id: str | Agent | None, user_id: str | None) -> Reader:
        """Return who remembers or recalls; raises InvalidName, IdentityMismatch."""
        return remembering_as(self.memory_terms.policy, agent_id, user_id)

    def _of(self, agent_id: str | Agent | None, user_id: str | None) -> tuple[Policy, Reader]:
        """Return by what policy, and as whom, one memory is looked at."""
        return self.memory_terms.policy, self._reader(agent_id, user_id)

    def _reader_of(self, item: remembering.Item) -> Reader:
        """Return who remembers something; raises IdentityMismatch."""
        return self._reader(item.agent or item.said.agent_id or None, item.said.user_id or None)

    def _may_store(self, item: remembering.Item) -> remembering.Item:
        """Return what may be stored by whom it names, or by the task's agent; raises AccessDenied, IdentityMismatch."""
        reader = self._reader_of(item)
        if item.owner.scope is ContextScope.AGENT_GROUP:
            item = item._replace(owner=reader.owner(ContextScope.AGENT_GROUP))  # of the type that it was declared for
        hold(self.memory_terms.policy, reader, item.owner, item.kind, "write")
        return item

    # Flows ---------------------------------------------------------------------------------------------------------

    def _remember(self, content: str, memory_type: str, options: Mapping[str, Any]) -> Flow[str]:
        item = self._may_store(remembering.checked(content, memory_type, **options))
        (memory_id,) = yield from remembering.remember(self.memory_terms, [item])
        return memory_id

    def _remember_many(self, items: Iterable[Any]) -> Flow[list[str]]:
        return (yield from remembering.remember(self.memory_terms, self._checked_items(items)))

    def _checked_items(self, items: Iterable[Any]) -> list[remembering.Item]:
        if isinstance(items, str | Mapping) or not isinstance(items, Iterable):
            raise InvalidInput(f"items is a {type(items).__name__}: give a list of texts, or of mappings")
        return [self._may_store(remembering.checked_item(item)) for item in items]

    def _recall(
        self,
        query: str,
        memory_types: Sequence[str] | str | None,
        limit: int,
        reader: Reader,
        scope: str | ContextScope | None,
        where: Mapping[str, Any] | None,
        since: datetime | str | None,
        until: datetime | str | None,
        min_score: float | str | None,
        *,
        explain: bool,
        reveal: bool = False,
        touch_id: bytes | None = None,
    ) -> Flow[list[Recalled]]:
        text = remembering.checked_text(query, "query")
        wanted = _wanted(text, memory_types, limit, where, since, until)
        wanted = wanted._replace(min_score=self._least(min_score))
        how = {"explain": explain, "reveal": reveal}
        return (yield from recalling.recall(self.memory_terms, reader, scope, wanted, **how, touch_id=touch_id))

    def _request(
        self,
        query: str,
        memory_types: Sequence[str] | str | None,
        limit: int,
        reader: Reader,
        scope: str | ContextScope | None,
        where: Mapping[str, Any] | None,
        since: datetime | str | None,
        until: datetime | str | None,
        min_score: float | str | None,
        *,
        explain: bool,
    ) -> dict[str, Any]:
        """Return `_recall`'s arguments, checked, for another process: no model is loaded for it."""
        wanted = _wanted(remembering.checked_text(query, "query"), memory_types, limit, where, since, until)
        agent = reader.agent
        if scope is not None:
            reader.visible(scope)  # raises for one that is none
        return {
            "query": query,
            "memory_types": list(wanted.kinds),
            "limit": limit,
            "agent_id": reader.agent_id,
            "user_id": reader.user_id,
            "scope": scope and str(getattr(scope, "value", scope)),
            "where": dict(wanted.where),
            "since": since,
            "until": until,
            "min_score": min_score if min_score == "default" else self._least(min_score),
            "explain": bool(explain),
            "agent": None if agent is None else told_of(agent),
        }

    def _least(self, min_score: float | str | None) -> float | None:
        if min_score == "default":
            from ctxqueue.memories.embedders import resolved  # noqa: PLC0415

            return float(getattr(resolved(self.embedder), "min_score", 0.0))
        if min_score is None:
            return None
        if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not math.isfinite(min_score):
            raise InvalidInput(f"min_score is {min_score!r:.80}: give a cosine, or 'default'")
        return float(min_score)

    def _insights(self, agent: Agent, task: str, limit: int) -> Flow[list[Recalled]]:
        """Return what an agent knows that is like a task at all."""
        reader = Reader(agent.agent_id, None, agent)
        return self._recall(task, None, limit, reader, None, None, None, None, "default", explain=False)

    def _retrieve(self, query: str, memory_types: Sequence[str] | None, max_results: int) -> Flow[list[MemoryEntry]]:
        found = yield from self._recall(
            *(query, memory_types, max_results, self._reader(None, None), None, None, None, None, None), explain=False
        )
        return [each.memory for each in found]

    def _list(
        self,
        memory_types: Sequence[str] | str | None,
        reader: Reader,
        scope: str | ContextScope | None,
        where: Mapping[str, Any] | None,
        since: datetime | str | None,
        until: datetime | str | None,
        limit: int,
        cursor: str | None,
        *,
        reveal: bool = False,
    ) -> Flow[Page[MemoryEntry]]:
        wanted = _wanted("", memory_types, limit, where, since, until)
        return (yield from keeping.list_memories(self.memory_terms, reader, scope, wanted, cursor, reveal=reveal))

    def _retire(self, limit: int, archive: Archive | None, *, dry_run: bool) -> Flow[RetentionReport]:
        begun = time.monotonic()
        rules = retiring.Retiring(self.retention, limit, archive.write if archive else None)
        outcome = yield from retiring.retire(rules, dry_run=dry_run)
        removed = {
            kind: {why: outcome.counts.get((kind, why), 0) for why in ("expired", "aged", "surplus")} for kind in KINDS
        }
        return RetentionReport(
            owners=outcome.owners,
            removed=removed,
            dry_run=dry_run,
            complete=outcome.complete,
            archive=str(archive.path) if archive and archive.path.exists() else None,
            seconds=time.monotonic() - begun,
        )

    def _refresh_index(self, limit: int) -> Flow[int]:
        return nearing.refresh(self.memory_terms, limit)

    def _archive(self, folder: str | PathLike[str] | None, *, dry_run: bool) -> AbstractContextManager[Archive | None]:
        if folder is None or dry_run:
            return nullcontext()
        store: Any = getattr(self, "store", None)
        sealing = getattr(store, "sealing", None)
        return Archive(str(folder), self.namespace, getattr(sealing, "keyring", None))

    def _consolidate(
        self, working: _Working, summariser: Callable[[list[str]], Any] | None, memory_type: str
    ) -> Flow[list[str]]:
        summarise = extract if summariser is None else summariser
        if not callable(summarise):
            raise InvalidInput(f"the summariser is a {type(summarise).__name__}: give a function of a list of texts")
        kind = remembering.checked_kind(memory_type)
        return (
            yield from consolidating.consolidate(
                *(self.context_terms, self.memory_terms, working.workflow_id, working.agent, working.bounds),
                *(summarise, kind),
            )
        )

    def _reembed(self, embedder: Any) -> Flow[int]:
        library = self.loading.of(embedder)
        moved = yield from reembedding.reembed(library)
        self.loading.go_on_with(embedder, library)
        return moved

    def _skill(self, skill_name: str, steps: Sequence[str], success_rate: float, contexts: Sequence[str]) -> Flow[str]:
        rate = practising.checked_rate(success_rate)
        done, used_in = experiences.names(steps, "steps"), experiences.names(contexts, "contexts")
        reader = self._reader(None, None)
        entry = yield from practising.practise(
            self.memory_terms, reader, skill_name, done, used_in, success=None, stated=rate
        )
        return entry.id if entry else practising.skill_id(self.memory_terms.policy, skill_name, done, used_in)

    def _practise(
        self,
        skill_name: str,
        success: bool,  # noqa: FBT001 - as its public call
        steps: Sequence[str],
        contexts: Sequence[str],
        *,
        create: bool,
        operation_id: str | None,
        reader: Reader | None = None,
    ) -> Flow[MemoryEntry | None]:
        done, used_in = experiences.names(steps, "steps"), experiences.names(contexts, "contexts")
        operation = operation_here("practise", "", skill_name) if operation_id is None else operation_id
        return (
            yield from practising.practise(
                *(self.memory_terms, reader or self._reader(None, None), skill_name, done, used_in),
                success=bool(success),
                create=create,
                operation_id=operation,
            )
        )

    def _learn(
        self,
        workflow_id: str,
        agent_id: str | Agent,
        task: str,
        lesson: Lesson,
        execution_time: float,
        operation_id: str | None,
    ) -> Flow[list[str]]:
        reader = self._reader(agent_id, None)  # raises for another one than the task's own
        experience = experiences.workflow_experience(
            workflow_id, [str(reader.agent_id)], lesson.success, execution_time, lesson.insights, task
        )
        for kind in ("episodic",) if lesson.skill_name is None else ("episodic", "procedural"):
            hold(self.memory_terms.policy, reader, Owner(ContextScope.GLOBAL), kind, "write")
        skill_name = None if lesson.skill_name is None else f"{reader.agent_id}_{lesson.skill_name}"

        def practised(operation: str | None) -> Flow[MemoryEntry | None]:
            return self._practise(
                *(f"{skill_name}", lesson.success, lesson.steps, [task]),
                create=lesson.success,
                operation_id=operation,
                reader=reader,
            )

        episode = self._may_store(
            remembering.checked(experience.content, experience.memory_type, metadata=experience.metadata)
        )
        occasion = (workflow_id, str(reader.agent_id), task)
        skill_id = skill_name and practising.skill_id(self.memory_terms.policy, skill_name, lesson.steps, [task])
        return (yield from learning.learn(self.memory_terms, episode, skill_id, practised, operation_id, occasion))

    def _store(self, experience: experiences.Experience) -> Flow[str]:
        return self._remember(experience.content, experience.memory_type, {"metadata": experience.metadata})


def _wanted(
    text: str,
    memory_types: Sequence[str] | str | None,
    limit: int,
    where: Mapping[str, Any] | None,
    since: datetime | str | None,
    until: datetime | str | None,
) -> Wanted:
    """Return what is looked for, checked; raises InvalidInput."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit is {limit!r:.80}: give a whole number from 1 to {MAX_PAGE}")
    if where is not None and not isinstance(where, Mapping):
        raise InvalidInput(f"where is a {type(where).__name__}: give a mapping of metadata")
    kinds: tuple[str, ...] = KINDS
    if memory_types is not None:
        if not isinstance(memory_types, Iterable):
            raise InvalidInput(f"memory_types is a {type(memory_types).__name__}: give a name, or a list of names")
        named = [memory_types] if isinstance(memory_types, str) else list(memory_types)
        # A working memory is of no long-term type: asking for it too finds none, and is no mistake.
        kinds = tuple(remembering.checked_kind(kind) for kind in named if kind != "working")
    return Wanted(
        text=text,
        kinds=kinds,
        limit=limit,
        where=dict(where or {}),
        since_us=None if since is None else remembering.checked_instant(since, "since"),
        until_us=None if until is None else remembering.checked_instant(until, "until"),
    )
