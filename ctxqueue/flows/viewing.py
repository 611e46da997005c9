"""Views: what one agent sees of a workflow, kept from one look to the next and brought up to date from the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from ctxqueue.clock import since_epoch
from ctxqueue.effects import Batch, Flow, Head, LoadPage, LoadSince, Since, do
from ctxqueue.flows import auditing
from ctxqueue.flows.reading import reader, workflow_context
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import current_attempt
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Agent, ContextEntry, is_reserved
from ctxqueue.records import decode_header
from ctxqueue.rules.visibility import inner_addresses, nested
from ctxqueue.settings import MAX_PAGE
from ctxqueue.views import AgentContext, Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.policy import Policy

EVERYTHING = 2**31
"""Entries, or bytes: more than any workflow's. Another process may have let it grow beyond our own settings."""
ROUNDS = 3
"""How often a read of many pages is tried again because of commits in between, before one large read."""
CATCH_UP = 100
"""Revisions that a kept snapshot may lie behind; beyond, it is read anew."""
KEPT_BYTES = 32 * 1024 * 1024
"""What a manager keeps of snapshots at most."""
LARGEST_KEPT = KEPT_BYTES // 4
KEPT_SIGHTS_BYTES = 64 * 1024 * 1024
"""What a manager keeps at most of what agents saw, unpacked, and of the snapshots that they saw it in."""
LARGEST_SIGHT = KEPT_SIGHTS_BYTES // 4
SNAPSHOT_OVERHEAD = 1_000
RECORD_OVERHEAD = 200
ENTRY_OVERHEAD = 1_000
"""Bytes of memory, about, beside those that are stored."""
NEVER_US = 2**62


@dataclass(slots=True, eq=False)
class Snapshot:
    """All records of a workflow at one revision, fresh and expired ones. It is never changed, only replaced."""

    head: Head
    records: dict[str, bytes]
    size: int
    """Bytes of memory that it takes, about."""
    changed: frozenset[str]
    """The addresses in which it differs from ``before``."""
    before: Snapshot | None
    """The one that it was made from, as long as some sight may be made from a sight of that."""
    held: dict[str, Any] | None = None
    """What `quotas` has counted in it, where there are some."""


@dataclass(slots=True)
class Seen:
    """What one agent saw in two snapshots."""

    inner: Snapshot
    outer: Snapshot | None
    generation: int
    """Of the filters."""
    by_key: dict[str, list[ContextEntry]]
    sight: Sight
    until_us: int
    """From then on some of it has expired."""

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about, with its snapshots, which nobody else may keep any more."""
        return (
            self.inner.size
            + (self.outer.size if self.outer else 0)
            + SNAPSHOT_OVERHEAD
            + ENTRY_OVERHEAD * len(self.by_key)
        )


@dataclass(slots=True)
class Views:
    """One manager's snapshots and what was seen in them, the least recently used go first."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _snapshots: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _seen: OrderedDict[tuple[object, ...], Seen] = field(default_factory=OrderedDict)
    _seen_bytes: int = 0

    def snapshot(self, workflow_id: str) -> Snapshot | None:
        """Return the newest one of a workflow that is kept."""
        with self._lock:
            if workflow_id in self._snapshots:
                self._snapshots.move_to_end(workflow_id)
            return self._snapshots.get(workflow_id)

    def keep(self, workflow_id: str, snapshot: Snapshot | None) -> None:
        """Replace a workflow's snapshot; None: it is gone."""
        with self._lock:
            old = self._snapshots.pop(workflow_id, None)
            self._bytes -= old.size if old else 0
            if snapshot is not None and snapshot.size <= LARGEST_KEPT:
                self._snapshots[workflow_id] = snapshot
                self._bytes += snapshot.size
            while self._bytes > KEPT_BYTES:
                _, oldest = self._snapshots.popitem(last=False)
                self._bytes -= oldest.size

    def seen(self, place: tuple[object, ...]) -> Seen | None:
        """Return what was seen last in (workflow, agent, keys needed, reveal)."""
        return self._seen.get(place)

    def note(self, place: tuple[object, ...], seen: Seen) -> None:
        """Keep what was seen."""
        with self._lock:
            old = self._seen.pop(place, None)
            self._seen_bytes -= old.size if old else 0
            if seen.size <= LARGEST_SIGHT:
                self._seen[place] = seen
                self._seen_bytes += seen.size
            while self._seen_bytes > KEPT_SIGHTS_BYTES:
                _, oldest = self._seen.popitem(last=False)
                self._seen_bytes -= oldest.size


def view(terms: Terms, workflow_id: str, agent: Agent, *, reveal: bool = False) -> Flow[AgentContext]:
    """Return what the agent sees: nested scopes, permission, then relevance. One revision of each workflow.

    The sensitive entries in it are recorded before it is handed out.
    """
    seen, secrets = yield from _view(terms, workflow_id, agent, reveal=reveal)
    if secrets:
        yield from auditing.handed_out(terms, workflow_id, agent, secrets, "view")
    return seen


def look(terms: Terms, workflow_id: str, agent: Agent) -> Flow[AgentContext]:
    """Return the same, for what hands out no value of it."""
    seen, _ = yield from _view(terms, workflow_id, agent, reveal=False)
    return seen


def _view(
    terms: Terms, workflow_id: str, agent: Agent, *, reveal: bool
) -> Flow[tuple[AgentContext, tuple[ContextEntry, ...]]]:
    inner, outer = yield from snapshots(terms, workflow_id)
    attempt = current_attempt.get()
    needed = attempt.needed if attempt else frozenset()
    place = (workflow_id, agent, needed, reveal)
    now_us = max(inner.head.now_us, outer.head.now_us if outer else 0)
    seen = terms.views.seen(place)
    if seen is None or seen.until_us <= now_us or seen.generation != terms.filters.generation:
        seen = _looked(terms, agent, inner, outer, needed, reveal=reveal)
    elif seen.inner is not inner or seen.outer is not outer:
        seen = _looked_again(terms, agent, inner, outer, needed, seen, reveal=reveal)
    terms.views.note(place, seen)
    context = AgentContext(
        workflow_context(workflow_id, inner.head),
        agent,
        seen.sight,
        global_revision=outer.head.revision if outer else 0,
    )
    return context, seen.sight.secrets


def visible(
    policy: Policy,
    agent: Agent,
    inner: Mapping[str, bytes],
    outer: Mapping[str, bytes],
    now_us: int,
    *,
    reveal: bool = False,
) -> dict[str, list[ContextEntry]]:
    """Return the fresh entries that the agent may read, by key, innermost first."""
    own = _entries(policy, agent, inner, now_us, of_global=False, reveal=reveal)
    everyones = _entries(policy, agent, outer, now_us, of_global=True, reveal=reveal)
    return nested(agent, chain(own, everyones))


def _entries(
    policy: Policy, agent: Agent, records: Mapping[str, bytes], now_us: int, *, of_global: bool, reveal: bool
) -> Iterable[ContextEntry]:
    read = reader(policy, agent, reveal=reveal)
    for encoded, record in records.items():
        expires_us = decode_header(record).expires_us
        if not expires_us or expires_us > now_us:
            entry = read(Address.decode(encoded, of_global=of_global), record)
            if entry is not None:
                yield entry


# --- what an agent sees ----------------------------------------------------------------------------------------


def _looked(
    terms: Terms, agent: Agent, inner: Snapshot, outer: Snapshot | None, needed: frozenset[str], *, reveal: bool
) -> Seen:
    now_us = max(inner.head.now_us, outer.head.now_us if outer else 0)
    by_key = visible(terms.policy, agent, inner.records, outer.records if outer else {}, now_us, reveal=reveal)
    return _judged(terms, agent, inner, outer, needed, by_key)


def _looked_again(
    terms: Terms,
    agent: Agent,
    inner: Snapshot,
    outer: Snapshot | None,
    needed: frozenset[str],
    seen: Seen,
    *,
    reveal: bool,
) -> Seen:
    """Look again at the keys that have changed since what was seen, if that is known."""
    changes = _changes(inner, seen.inner), _changes(outer, seen.outer)
    if changes[0] is None or changes[1] is None:
        return _looked(terms, agent, inner, outer, needed, reveal=reveal)
    now_us = max(inner.head.now_us, outer.head.now_us if outer else 0)
    by_key = dict(seen.by_key)
    keys = {address.rpartition("\0")[2] for addresses in changes for address in addresses or ()}
    for key in keys:
        within = [address.encode() for address in inner_addresses(agent, key)]
        found = visible(
            terms.policy,
            agent,
            {address: inner.records[address] for address in within if address in inner.records},
            {address: outer.records[address] for address in within[-1:] if outer and address in outer.records},
            now_us,
            reveal=reveal,
        )
        by_key.pop(key, None)
        by_key.update(found)
    if terms.filters.narrows(agent) or seen.sight.hidden:
        return _judged(terms, agent, inner, outer, needed, by_key)
    # All that it may read is relevant, so only what has changed needs a look.
    entries = dict(seen.sight.entries)
    until_us = seen.until_us
    for key in keys:
        entries.pop(key, None)
        if key in by_key and not is_reserved(key):
            entries[key] = by_key[key][0]
            until_us = min(until_us, _until(by_key[key]))
    sight = Sight(entries=entries, hidden=seen.sight.hidden, by_key=by_key)
    return Seen(inner, outer, terms.filters.generation, by_key, sight, until_us)


def _until(standing: Iterable[ContextEntry]) -> int:
    """Return when the first of some entries has expired."""
    expiries = [entry.expires_at for entry in standing if entry.expires_at]
    return since_epoch(min(expiries)) if expiries else NEVER_US


def _changes(now: Snapshot | None, then: Snapshot | None) -> frozenset[str] | None:
    """Return the addresses in which two snapshots differ; None if that is not known."""
    if now is then:
        return frozenset()
    if now is None or then is None or now.before is not then:
        return None
    return now.changed


def _judged(
    terms: Terms,
    agent: Agent,
    inner: Snapshot,
    outer: Snapshot | None,
    needed: frozenset[str],
    by_key: dict[str, list[ContextEntry]],
) -> Seen:
    innermost = {key: standing[0] for key, standing in by_key.items() if not is_reserved(key)}
    relevant = terms.filters.relevant_keys(list(innermost.values()), agent, needed=needed)
    sight = Sight(
        entries={key: innermost[key] for key in innermost if key in relevant},
        hidden=innermost.keys() - relevant,
        by_key=by_key,
    )
    until_us = _until(chain.from_iterable(by_key.values()))
    return Seen(inner, outer, terms.filters.generation, by_key, sight, until_us)


# --- all records of a workflow ---------------------------------------------------------------------------------


def snapshots(terms: Terms, workflow_id: str) -> Flow[tuple[Snapshot, Snapshot | None]]:
    """Return the workflow's snapshot and the global context's (None: there is none); raises WorkflowNotFound.

    One round trip if both are kept or small.
    """
    kept = {home: terms.views.snapshot(home) for home in (workflow_id, GLOBAL_WORKFLOW)}
    answers = yield from do(Batch(tuple(_question(home, snapshot) for home, snapshot in kept.items())))
    found = []
    for (home, snapshot), answer in zip(kept.items(), answers, strict=True):
        now = yield from _answered(home, snapshot, answer)
        if now is not snapshot:
            terms.views.keep(home, now)
        found.append(now)
    inner, outer = found
    if inner is None:
        raise unknown_workflow(workflow_id)
    return inner, outer


def snapshot(terms: Terms, workflow_id: str) -> Flow[Snapshot | None]:
    """Return one workflow's snapshot, the global context's too by its name; None: there is no such workflow."""
    kept = terms.views.snapshot(workflow_id)
    (answer,) = yield from do(Batch((_question(workflow_id, kept),)))
    now = yield from _answered(workflow_id, kept, answer)
    if now is not kept:
        terms.views.keep(workflow_id, now)
    return now


def _question(workflow_id: str, kept: Snapshot | None) -> LoadSince | LoadPage:
    if kept is None:
        return LoadPage(workflow_id, "", "", MAX_PAGE)
    head = kept.head
    return LoadSince(workflow_id, head.incarnation, head.revision, head.commit_id, CATCH_UP)


def _answered(workflow_id: str, kept: Snapshot | None, answer: object) -> Flow[Snapshot | None]:
    if kept is not None and isinstance(answer, Since):
        if answer.head is None:
            return None
        if answer.answer == "same":
            # The clock goes on, also by what another thread has read meanwhile; a new head in a new snapshot would have
            # all looked at again.
            if answer.head.now_us > kept.head.now_us:
                kept.head = answer.head
            return kept
        if answer.answer == "changed":
            return _updated(kept, answer.head, answer.records)
        return (yield from _all(workflow_id, None))
    return (yield from _all(workflow_id, answer))


def _updated(kept: Snapshot, head: Head, changed: Mapping[str, bytes | None]) -> Snapshot:
    records = kept.records | {address: record for address, record in changed.items() if record is not None}
    for address, record in changed.items():
        if record is None:
            records.pop(address, None)
    size = kept.size
    for address, record in changed.items():
        size += _size(record) - _size(kept.records.get(address))
    kept.before = None  # one step back is enough; a chain of them would keep every value that ever stood there
    return Snapshot(head, records, size, frozenset(changed), kept)


def _all(workflow_id: str, first_page: object) -> Flow[Snapshot | None]:
    """Read all entries of a workflow at one revision: by pages, and in one piece if commits keep coming between."""
    page = first_page
    for _ in range(ROUNDS):
        if not isinstance(page, tuple):
            page = yield from do(LoadPage(workflow_id, "", "", MAX_PAGE))
        head, pairs, after = page
        records = dict(pairs)
        first = head
        while after is not None and _same(first, head):
            head, pairs, after = yield from do(LoadPage(workflow_id, "", after, MAX_PAGE))
            records.update(pairs)
        if _same(first, head):
            return _snapshot(head, records)
        page = None
    head, pairs, _ = yield from do(LoadPage(workflow_id, "", "", EVERYTHING, EVERYTHING))
    return _snapshot(head, dict(pairs))


def _snapshot(head: Head | None, records: dict[str, bytes]) -> Snapshot | None:
    size = SNAPSHOT_OVERHEAD + sum(map(_size, records.values()))
    return Snapshot(head, records, size, frozenset(), None) if head else None


def _size(record: bytes | None) -> int:
    return 0 if record is None else len(record) + RECORD_OVERHEAD


def _same(first: Head | None, now: Head | None) -> bool:
    if first is None or now is None:
        return first is now
    return (first.incarnation, first.revision, first.commit_id) == (now.incarnation, now.revision, now.commit_id)
