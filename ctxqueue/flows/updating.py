"""Updates: merging values into what stands there, however many writers there are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctxqueue import codec
from ctxqueue.effects import Committed, Conflict, Flow, Load, Operation, Wait, Write, do
from ctxqueue.errors import (
    CommitTooLarge,
    GuardFailed,
    InvalidInput,
    MixedWorkflows,
    ValueTooLarge,
    VersionConflict,
    WriteRefused,
)
from ctxqueue.flows.committing import commit
from ctxqueue.flows.loading import load
from ctxqueue.flows.reading import shown
from ctxqueue.flows.refusals import MergeInClient, untold
from ctxqueue.flows.writing import (
    Change,
    checked_values,
    described,
    digest_of,
    guarded,
    home_of,
    new_edges,
    version_conflict,
    written,
)
from ctxqueue.identity import Identified
from ctxqueue.models import BY_RANK, Address, Agent, CommitResult
from ctxqueue.records import Stamp, Standing, decode_meta
from ctxqueue.rules import merging
from ctxqueue.rules.access import may_read

if TYPE_CHECKING:
    from ctxqueue.effects import Settling
    from ctxqueue.flows.terms import Terms
    from ctxqueue.records import Meta

MAX_ROUNDS = 1_000
FIRST_BACKOFF = 0.001
LONGEST_BACKOFF = 0.05
NEVER = 2**52
"""A version that nothing has: expecting it always brings a refusal, and with it what stands there."""
NO_COMMIT = bytes(8)
"""An id that no commit has: expecting it always brings a refusal, and with it what stands there."""


def update(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    updates: Mapping[str, Any],
    merge_strategy: str,
    operation_id: str | None = None,
    settling: Settling | None = None,
) -> Flow[CommitResult]:
    """Merge some values into what stands there, as one commit; concurrent updates all take effect.

    What must be merged here is first merged with what this process last wrote there, else with what it reads now. The
    commit refuses if something else stands there, and the refusal brings that. A call that was made before is
    recognised by the commit, whatever was merged. ``settling`` is what it does to its home's inbox.
    """
    changes = checked_changes(terms, workflow_id, agent, updates, merge_strategy)
    return (yield from merged(terms, workflow_id, agent, changes, merge_strategy, operation_id, settling))


def merged(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    changes: list[Change],
    merge_strategy: str,
    operation_id: str | None = None,
    settling: Settling | None = None,
) -> Flow[CommitResult]:
    """Merge changes that have been checked and stand in the caller's order."""
    keys = [change.address.key for change in changes]
    # In one order, whatever the caller's: a body that runs again may name its keys in another.
    changes = sorted(changes, key=lambda change: change.encoded)
    home = home_of_all(workflow_id, changes)
    addresses = [change.encoded for change in changes]
    with Identified(f"update:{merge_strategy}", home, agent.agent_id, addresses, operation_id) as call:
        digest = digest_of(call, merge_strategy, changes)
        edges = new_edges(changes)
        merge = _Merge(terms, agent, merge_strategy, changes)
        yield from merge.guess(home)
        rounds, attempts = 0, 1
        while True:
            rounds += 1
            try:
                writes = merge.writes(home)
                reply, fired = yield from commit(terms, home, agent, call, digest, writes, edges, settling=settling)
            except (MergeInClient, ValueTooLarge, CommitTooLarge) as refusal:
                if not merge.can_do_otherwise(refusal):
                    raise
                continue
            if isinstance(reply, Committed):
                merge.remember(reply, home)
                break
            lost = merge.lost(reply)
            attempts += lost
            yield from merge.learn(reply, home)
            if rounds == MAX_ROUNDS:
                raise VersionConflict(
                    f"update of {', '.join(map(repr, keys))} in workflow {home!r} lost the race {rounds} times:"
                    " nothing was written"
                )
            if lost and rounds > 1:
                yield from do(Wait(random.uniform(0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**rounds))))  # noqa: S311
    return CommitResult(reply.revision, _versions(keys, changes, reply), reply.replayed, attempts, fired)


def home_of_all(workflow_id: str, changes: list[Change]) -> str:
    """Return the workflow that holds all of them; raises MixedWorkflows."""
    homes = {home_of(workflow_id, change.address.scope) for change in changes}
    if len(homes) > 1:
        raise MixedWorkflows("one update addresses the global context or the workflow, not both: make two calls")
    return homes.pop()


def merged_onto(
    terms: Terms, workflow_id: str, agent: Agent, merge_strategy: str, changes: list[Change], known: Records
) -> tuple[Write, ...]:
    """Return what an update writes if this is what stands there; raises VersionConflict, InvalidInput."""
    merge = _Merge(terms, agent, merge_strategy, changes)
    merge.suppose(known)
    return merge.writes(workflow_id)


def checked_changes(
    terms: Terms, workflow_id: str, agent: Agent, updates: Mapping[str, Any], merge_strategy: str
) -> list[Change]:
    """Return the changes, in the caller's order; raises InvalidInput."""
    merging.strategy(merge_strategy)
    if not isinstance(updates, Mapping) or not updates:
        raise InvalidInput("updates must be a mapping of at least one key to its value")
    changes = checked_values(terms, agent, updates)
    _check_values(workflow_id, merge_strategy, changes)
    return changes


def _versions(keys: list[str], changes: list[Change], committed: Committed) -> dict[str, int]:
    """Return the versions by key, in the caller's order; those of the first call if that had other keys."""
    if committed.addresses:
        written = [Address.decode(address, of_global=False).key for address in committed.addresses]
        return dict(zip(written, committed.versions, strict=True))
    by_key = {change.address.key: version for change, version in zip(changes, committed.versions, strict=True)}
    return {key: by_key[key] for key in keys}


IN_STORE: dict[str, Operation] = {
    "append": "append",
    "increment": "increment",
    "maximum": "maximum",
    "minimum": "minimum",
    "keep": "keep",
}
"""Strategies that a store carries out by itself, and its name for them; what else it merges is replaced."""


Records = Mapping[str, bytes | None]
"""By address; None: nothing stands there."""


class _Merge:
    """One update on its way: which changes the server merges, and what is known of the others."""

    def __init__(self, terms: Terms, agent: Agent, strategy: str, changes: list[Change]) -> None:
        self._terms = terms
        self._agent = agent
        self._strategy = strategy
        self._merge = merging.strategy(strategy).merge
        self._changes = changes
        self._out_of_reach = strategy in IN_STORE and (not terms.merges_in_store or terms.settings.quota_bytes > 0)
        """What is encrypted no store can merge, and a quota counts the bytes of what would stand there."""
        self._here = {change.encoded for change in changes if not self._merges_in_server(change)}
        self._known: dict[str, bytes | None] = {}
        self._guessed: dict[str, Standing | None] = {}
        self._written: dict[str, Write] = {}

    def suppose(self, known: Records) -> None:
        """Take these records for what stands there, and merge all with them here, but what `keep` leaves alone."""
        for change in self._changes:
            record = known.get(change.encoded)
            self._known[change.encoded] = record
            if self._strategy != "keep" or record is None or not self._merges_in_server(change):
                self._here.add(change.encoded)

    def guess(self, workflow_id: str) -> Flow[None]:
        """Start from what this process last wrote, and read the rest; stamps that no longer hold are refused.

        A guess is not knowledge: the call may have been made before, which only the commit can tell.
        """
        unseen = []
        for change in self._changes:
            if change.encoded not in self._here:
                continue
            wanted = change.put.expected_version
            standing = self._terms.seen.get((workflow_id, change.encoded))
            if wanted is not None and (standing is None or standing.stamp.version != wanted):
                continue  # the commit's refusal brings what stands there
            if standing is None:
                unseen.append(change.encoded)
            self._guessed[change.encoded] = standing
        if unseen:
            _, records = yield from load(workflow_id, unseen)
            self._guessed.update((encoded, Standing.of(record)) for encoded, record in records.items())

    def can_do_otherwise(self, refusal: MergeInClient | ValueTooLarge | CommitTooLarge) -> bool:
        """Prepare another try; return False if it would be no other one."""
        if isinstance(refusal, MergeInClient):
            self._here.add(self._changes[refusal.ordinal].encoded)
            return True
        # What a guess makes too large need not be: the call may have been made before, or others have made room.
        guessed = any(self._guessed[encoded] is not None for encoded in self._guessed.keys() - self._known.keys())
        self._guessed.clear()
        return guessed

    def remember(self, committed: Committed, workflow_id: str) -> None:
        """Keep what was written, for the next guess."""
        if committed.replayed:
            return
        written = [
            (change.encoded, Standing(Stamp(version, committed.commit_id), write.meta, write.value))
            for change, version in zip(self._changes, committed.versions, strict=True)
            if (write := self._written.get(change.encoded)) is not None
        ]
        if written:
            self._terms.seen.put(workflow_id, written)

    def _merges_in_server(self, change: Change) -> bool:
        if not change.bare:
            return False  # options of its own are laid over those that stand there
        if self._strategy == "keep":
            return True
        if self._out_of_reach or (self._terms.guards and self._terms.guards.of(self._agent, change.address)):
            return False  # a guard is asked about what would stand there
        if self._strategy == "append":
            return True
        if self._strategy in ("increment", "maximum", "minimum"):
            return merging.is_exact_number(change.put.value)
        return merging.is_plain_replacement(self._strategy, change.put.value)

    def lost(self, conflict: Conflict) -> bool:
        """Whether another writer came first, rather than that this one had yet to learn what stands there."""
        refused = (self._changes[ordinal].encoded for ordinal in (*conflict.records, *conflict.omitted))
        return any(encoded in self._known or encoded in self._guessed for encoded in refused)

    def learn(self, conflict: Conflict, workflow_id: str) -> Flow[None]:
        """Take note of what a refusal brought, and read what was too large to come with it."""
        for ordinal, record in conflict.records.items():
            self._known[self._changes[ordinal].encoded] = record
            # Where others write, the next update does better to read.
            self._terms.seen.forget((workflow_id, self._changes[ordinal].encoded))
        for ordinal in conflict.omitted:
            encoded = self._changes[ordinal].encoded
            _, records = yield from do(Load(workflow_id, (encoded,)))
            self._known[encoded] = records.get(encoded)

    def writes(self, workflow_id: str) -> tuple[Write, ...]:
        """Return the commit's writes; raises VersionConflict where an ``expected_version`` is not met."""
        self._written = {
            change.encoded: self._merged(workflow_id, change)
            for change in self._changes
            if change.encoded in self._here
        }
        return tuple(
            self._written.get(change.encoded) or self._for_server(workflow_id, change) for change in self._changes
        )

    def _for_server(self, workflow_id: str, change: Change) -> Write:
        operation = IN_STORE.get(self._strategy, "set")
        laid, value = guarded(self._terms, workflow_id, self._agent, change, change.packed)
        return written(operation, change, value, described(self._terms.policy, self._agent, laid), keep_expiry=True)

    def _merged(self, workflow_id: str, change: Change) -> Write:
        known = change.encoded in self._known
        try:
            return self._laid(workflow_id, change, known=known)
        except (WriteRefused, GuardFailed):
            if known:
                raise
            # It is refused unless the call was made before, and brings what does stand there.
            return Write("delete", change.encoded, expected_version=NEVER)

    def _laid(self, workflow_id: str, change: Change, *, known: bool) -> Write:
        wanted = change.put.expected_version
        record = self._known.get(change.encoded)
        standing = Standing.of(record) if record is not None else None if known else self._guessed.get(change.encoded)
        if known and wanted is not None and wanted != (standing.stamp.version if standing else 0):
            raise version_conflict(
                workflow_id, change, wanted, shown(self._terms.policy, self._agent, change.address, record)
            )
        if standing is None:
            laid, value = guarded(self._terms, workflow_id, self._agent, change, change.packed, told=known)
            return written(
                "put",
                change,
                value,
                described(self._terms.policy, self._agent, laid),
                expected_version=wanted or 0,
                expected_commit=NO_COMMIT if wanted else b"",
                ttl_us=change.ttl_us,
            )
        existing = decode_meta(standing.meta)
        try:
            # Both sides in their stored form: the result does not depend on whether a value was read or given.
            merged = self._merge(codec.unpack(standing.value), codec.unpack(change.packed), BY_RANK[existing.rank])
            packed = codec.pack(merged)
        except Exception as error:
            if known:
                if self._is_hidden(change, existing):
                    raise untold(self._agent, change.address.key) from None
                if isinstance(error, InvalidInput):
                    raise _at_key(error, workflow_id, change) from error
                raise
            # What was guessed does not fit; whether what stands there does is still to be learnt.
            self._guessed[change.encoded] = None
            return self._laid(workflow_id, change, known=False)
        if len(packed) > self._terms.settings.max_value:
            if known and self._is_hidden(change, existing):
                raise untold(self._agent, change.address.key)
            raise ValueTooLarge(
                f"{change.address.key!r} in workflow {workflow_id!r} would take {len(packed)} bytes after merging:"
                f" at most {self._terms.settings.max_value}; nothing was written"
            )
        laid = change
        if self._terms.guards:
            laid, packed = self._guarded(workflow_id, change, packed, existing, known=known)
        return written(
            "put",
            change,
            packed,
            described(self._terms.policy, self._agent, laid, existing, standing.meta),
            expected_version=standing.stamp.version,
            expected_commit=standing.stamp.commit_id,
            ttl_us=change.ttl_us,
            keep_expiry=change.ttl_us is None,
        )

    def _guarded(
        self, workflow_id: str, change: Change, packed: bytes, existing: Meta, *, known: bool
    ) -> tuple[Change, bytes]:
        place, sensitive = (self._terms, workflow_id, self._agent), existing.sensitive
        try:
            return guarded(*place, change, packed, sensitive=sensitive, told=known)
        except (WriteRefused, GuardFailed):
            if known and self._is_hidden(change, existing):
                raise untold(self._agent, change.address.key) from None
            raise

    def _is_hidden(self, change: Change, existing: Meta) -> bool:
        return not may_read(self._terms.policy, self._agent, change.address, sensitive=existing.sensitive)


def _check_values(workflow_id: str, strategy: str, changes: list[Change]) -> None:
    check = merging.strategy(strategy).check
    if check is None:
        return
    for change in changes:
        try:
            check(strategy, change.put.value)
        except InvalidInput as error:
            raise _at_key(error, workflow_id, change) from error


def _at_key(error: InvalidInput, workflow_id: str, change: Change) -> InvalidInput:
    """Return what a strategy, which knows values only, found wrong, with the key that it is wrong with."""
    return type(error)(f"{change.address.key!r} in workflow {workflow_id!r}: {error}")
