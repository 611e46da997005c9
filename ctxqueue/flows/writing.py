"""Putting and deleting entries, and what every write has in common.

Long, as the common part is small steps that each kind of write combines in its own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from ctxqueue import codec
from ctxqueue.clock import microseconds
from ctxqueue.effects import Conflict, Flow, Load, LoadHistory, Operation, Write, do
from ctxqueue.errors import (
    AccessDenied,
    EntryExists,
    InvalidInput,
    NotSerializable,
    OperationDiverged,
    ValueTooLarge,
    VersionConflict,
)
from ctxqueue.flows.committing import commit
from ctxqueue.flows.guarding import looked_at
from ctxqueue.flows.reading import NOT_IN_GROUP, checked_group, shown
from ctxqueue.identity import Call, Identified, input_digest
from ctxqueue.models import (
    BY_RANK,
    GIVEN,
    GLOBAL_WORKFLOW,
    Address,
    Agent,
    ContextEntry,
    ContextPriority,
    ContextScope,
    Put,
    checked_name,
)
from ctxqueue.records import (
    Meta,
    Stamp,
    Standing,
    decode_header,
    encode_meta,
    written_entry,
)
from ctxqueue.rules.access import (
    NAMED,
    hold,
    is_sensitive_name,
    may_read,
    owns_scope,
    why_detected,
    why_named,
    why_sensitive,
)
from ctxqueue.rules.detectors import suspected
from ctxqueue.rules.placement import priority_of, scope_of

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.graph import Edges
    from ctxqueue.rules.policy import Policy


class Change(msgspec.Struct, frozen=True):
    """One key of a call, checked: where it goes, and its value's bytes."""

    address: Address
    encoded: str
    put: Put
    packed: bytes
    ttl_us: int | None
    bare: bool
    """Nothing is given but the value, and nothing is to be said of it that its name does not say."""
    why: str = ""
    """By what it is sensitive; empty: it is not."""


@lru_cache(maxsize=4_096)
def _by_rule(key: str) -> tuple[Address, str] | None:
    """Return the address, and its stored form, of a key that goes to the workflow's own scope by rule."""
    checked_name(key, "key")
    address = Address(scope_of(key), "", key)
    return (address, address.encode()) if address.scope is ContextScope.WORKFLOW else None


def target(agent: Agent, key: str, scope: str | ContextScope | None, group: str | None) -> Address:
    """Return where a write goes: the named scope, else by rule, else the workflow. It never searches."""
    checked_name(key, "key")
    if scope is not None:
        wanted = ContextScope.parse(scope)
    else:
        wanted = scope_of(key) if group is None else ContextScope.AGENT_GROUP
    checked_group(key, wanted, group)
    address = Address(wanted, group or (agent.agent_id if wanted is ContextScope.PRIVATE else ""), key)
    if not owns_scope(agent, address):
        error = AccessDenied(f"{agent.agent_id} is not in group {group!r}: it may not write there")
        error.denied = "write", address, NOT_IN_GROUP
        raise error
    return address


def deleted(
    terms: Terms, workflow_id: str, agent: Agent, key: str, scope: str | ContextScope | None, group: str | None
) -> Address:
    """Return where a deletion goes; raises AccessDenied, InvalidInput, GuardFailed."""
    address = target(agent, key, scope, group)
    hold(terms.policy, agent, address, "delete")
    if terms.guards:
        sensitive = is_sensitive_name(key)
        looked_at(*(terms, workflow_id, agent, address, b"", None), sensitive=sensitive, told=True, operation="delete")
    return address


def home_of(workflow_id: str, scope: ContextScope) -> str:
    """Return the workflow that holds a scope's entries."""
    return GLOBAL_WORKFLOW if scope is ContextScope.GLOBAL else workflow_id


def checked(terms: Terms, agent: Agent, key: str, put: Put) -> Change:
    """Return the change that a key and its options ask for; raises InvalidInput before anything is written."""
    if put.scope is None and put.group is None and type(key) is str:
        place = _by_rule(key)
        if place is not None:
            address, encoded = place
            hold(terms.policy, agent, address, "write")
            return checked_at(terms, address, put, encoded)
    address = target(agent, key, put.scope, put.group)
    hold(terms.policy, agent, address, "write")
    return checked_at(terms, address, put)


def checked_values(terms: Terms, agent: Agent, updates: Mapping[str, Any]) -> list[Change]:
    """Return the changes that keys and values ask for, in their order; raises InvalidInput.

    A value may be a `Put`, which says more; all others are searched for secrets together.
    """
    changes: list[Change] = []
    unsearched: list[int] = []
    policy = terms.policy
    for key, value in updates.items():
        place = None if isinstance(value, Put) or type(key) is not str else _by_rule(key)
        if place is None:
            changes.append(checked(terms, agent, key, value if isinstance(value, Put) else Put(value)))
            continue
        address, encoded = place
        hold(policy, agent, address, "write")
        packed = _packed(terms, key, value)
        why = why_named(policy, address)
        if not why:
            unsearched.append(len(changes))
        changes.append(Change(address, encoded, Put(value), packed, None, not why or why == NAMED, why))
    suspects = suspected(policy.detectors, b"\0".join([changes[ordinal].packed for ordinal in unsearched]))
    for ordinal in unsearched if suspects else ():
        why = why_detected(suspects, changes[ordinal].packed)
        if why:
            changes[ordinal] = msgspec.structs.replace(changes[ordinal], bare=False, why=why)
    return changes


def _packed(terms: Terms, key: str, value: Any) -> bytes:
    try:
        packed = codec.pack(value)
    except NotSerializable as error:
        raise NotSerializable(f"the value of {key!r} cannot be stored: {error}") from None
    if len(packed) > terms.settings.max_value:
        raise ValueTooLarge(
            f"the value of {key!r} takes {len(packed)} bytes: at most {terms.settings.max_value};"
            " split it over several keys, or raise ctxqueue_max_value"
        )
    return packed


def checked_at(terms: Terms, address: Address, put: Put, encoded: str = "") -> Change:
    """Return the change at an address that is settled; raises InvalidInput."""
    key = address.key
    packed = _packed(terms, key, put.value)
    encoded = encoded or address.encode()
    why = why_sensitive(terms.policy, address, put.sensitive, packed)
    if _is_bare(put):
        return Change(address, encoded, put, packed, None, bare=not why or why == NAMED, why=why)
    if put.priority is not None:
        ContextPriority.parse(put.priority)
    _check_flags(key, put)
    if put.metadata is not None and not isinstance(put.metadata, Mapping):
        raise InvalidInput(f"metadata of {key!r} is a {type(put.metadata).__name__}: give a mapping")
    _check_version(key, put.expected_version)
    ttl_us = None if put.ttl is None else microseconds(put.ttl, f"ttl of {key!r}")
    return Change(address, encoded, put, packed, ttl_us, bare=False, why=why)


def guarded(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    change: Change,
    packed: bytes,
    *,
    sensitive: bool = False,
    told: bool = True,
) -> tuple[Change, bytes]:
    """Return the change, and the value that it leaves, as the guards have it; raises WriteRefused, GuardFailed.

    ``packed`` is what it would leave, ``sensitive`` whether that stood there. What is given to a call stays what it is
    known by when it is made again.
    """
    if not terms.guards:
        return change, packed
    sensitive = sensitive or change.why != ""
    instead = looked_at(
        *(terms, workflow_id, agent, change.address, packed, change.put.metadata), sensitive=sensitive, told=told
    )
    if instead is None:
        return change, packed
    other = checked_at(terms, change.address, msgspec.structs.replace(change.put, value=instead.value), change.encoded)
    return other, other.packed


def _is_bare(put: Put) -> bool:
    return (
        put.expected_version is None
        and put.ttl is None
        and put.scope is None
        and put.group is None
        and put.pinned is None
        and put.depends_on is None
        and _says_nothing(put)
    )


def _check_flags(key: str, put: Put) -> None:
    if put.depends_on is not None:
        if isinstance(put.depends_on, str) or not isinstance(put.depends_on, Iterable):
            raise InvalidInput(f"depends_on of {key!r} is {put.depends_on!r:.60}: give a list of keys")
        for name in put.depends_on:
            checked_name(name, "depends_on")
    for option, given in (("pinned", put.pinned), ("sensitive", put.sensitive)):
        if given is not None and not isinstance(given, bool):
            raise InvalidInput(f"{option} of {key!r} is {given!r:.60}: give True or False")


def _check_version(key: str, expected: int | None) -> None:
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int) or expected < 0):
        raise InvalidInput(f"expected_version of {key!r} is {expected!r:.60}: give a version, or 0 for 'absent'")


class Described(NamedTuple):
    """What is written of an entry besides its value."""

    meta: bytes
    evictable: int
    sensitive: bool
    depends_on: tuple[str, ...]


def described(
    policy: Policy, agent: Agent, change: Change, existing: Meta | None = None, encoded: bytes = b""
) -> Described:
    """Return what was given, else what stands there (also in its ``encoded`` form), else as by rule."""
    put = change.put
    key = change.address.key
    if existing is not None and (change.bare or _keeps_what_is_known(change)):
        evictable = 0 if existing.pinned else EVICTABLE_BY_RANK.get(existing.rank, 0)
        return Described(encoded, evictable, existing.sensitive, existing.depends_on)
    if existing is None and _says_nothing(put):
        return _described_by_rule(agent.agent_id, key, change.why)
    if put.priority is not None:
        priority = ContextPriority.parse(put.priority)
    else:
        priority = BY_RANK[existing.rank] if existing else priority_of(key)
    metadata: Mapping[str, Any] | None = put.metadata
    if metadata is None:
        metadata = codec.unpack(existing.metadata) if existing and existing.metadata else None
    why = change.why
    if existing is not None and existing.sensitive and not why:
        # What is laid over a secret holds some of it: who may not read that cannot make it plain either.
        plain = put.sensitive is False and may_read(policy, agent, change.address, sensitive=True)
        why = "" if plain else existing.why or GIVEN
    elif existing is not None and why == NAMED:
        why = ""  # whoever wrote it first said that it is plain
    standing = existing.depends_on if existing else ()
    depends_on = standing if put.depends_on is None else tuple(put.depends_on)
    pinned = put.pinned if put.pinned is not None else bool(existing and existing.pinned)
    meta = encode_meta(
        existing.created_by if existing else agent.agent_id,
        priority,
        pinned=pinned,
        sensitive=why != "",
        depends_on=depends_on,
        metadata=metadata,
        why=why,
    )
    return Described(meta, 0 if pinned else EVICTABLE.get(priority, 0), why != "", depends_on)


def _keeps_what_is_known(change: Change) -> bool:
    """Whether an entry's priority and the like stay as they are: the options are of when, where and how long."""
    put = change.put
    says_nothing = put.pinned is None and put.depends_on is None and _says_nothing(put)
    return says_nothing and (not change.why or change.why == NAMED)


def _says_nothing(put: Put) -> bool:
    """Whether a new entry's priority and the like are as by rule."""
    return (
        put.priority is None
        and put.metadata is None
        and put.sensitive is None
        and not put.pinned
        and (put.depends_on is None or put.depends_on == ())
    )


@lru_cache(maxsize=4_096)
def _described_by_rule(agent_id: str, key: str, why: str) -> Described:
    priority = priority_of(key)
    meta = encode_meta(agent_id, priority, pinned=False, sensitive=why != "", depends_on=(), metadata=None, why=why)
    return Described(meta, EVICTABLE.get(priority, 0), why != "", ())


EVICTABLE = {ContextPriority.LOW: 1, ContextPriority.MEDIUM: 2}
EVICTABLE_BY_RANK = {priority.rank: evictable for priority, evictable in EVICTABLE.items()}


def written(
    operation: Operation,
    change: Change,
    value: bytes,
    what: Described,
    *,
    expected_version: int | None = None,
    expected_commit: bytes = b"",
    ttl_us: int | None = None,
    keep_expiry: bool = False,
) -> Write:
    """Return the write of a value at a change's address."""
    return Write(
        operation,
        change.encoded,
        value,
        what.meta,
        expected_version,
        expected_commit,
        ttl_us,
        keep_expiry,
        what.evictable,
        what.sensitive,
        what.depends_on,
    )


def new_edges(changes: list[Change]) -> Edges:
    """Return the dependencies that the changes bring."""
    return {change.encoded: tuple(put.depends_on) for change in changes if (put := change.put).depends_on}


def digest_of(call: Call, kind: str, changes: list[Change]) -> bytes:
    """Return the digest of what the caller gave, before any merging."""
    options = ", ".join(map(_given, changes))
    return input_digest(call.owner, [kind.encode(), f"[{options}]".encode(), *[change.packed for change in changes]])


def _given(change: Change) -> str:
    """Return the options in the form that journals have digests of: another one would look like another input."""
    if change.bare:
        return f"({change.encoded!r}, None, None, None, None, None, None, None)"
    put = change.put
    given = (
        change.encoded,
        change.ttl_us,
        put.priority and ContextPriority.parse(put.priority).value,
        put.pinned,
        put.sensitive,
        put.depends_on and tuple(put.depends_on),
        put.expected_version,
        put.metadata and codec.pack(dict(put.metadata)),
    )
    return repr(given)


def put(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    key: str,
    options: Put,
    *,
    operation_id: str | None = None,
    create: bool = False,
) -> Flow[ContextEntry]:
    """Write one entry whole; last write wins unless ``expected_version`` is given."""
    change = checked(terms, agent, key, options)
    workflow_id = home_of(workflow_id, change.address.scope)
    laid, value = guarded(terms, workflow_id, agent, change, change.packed)
    what = described(terms.policy, agent, laid)
    expected = 0 if create else options.expected_version
    write = written("put", change, value, what, expected_version=expected, ttl_us=change.ttl_us)
    with Identified("put", workflow_id, agent.agent_id, [change.encoded], operation_id) as call:
        digest = digest_of(call, "put", [change])
        edges = {change.encoded: tuple(options.depends_on)} if options.depends_on else None
        reply, _ = yield from commit(terms, workflow_id, agent, call, digest, (write,), edges)
    if isinstance(reply, Conflict):
        current = yield from _current(terms, workflow_id, agent, change, reply, 0)
        if create:
            raise EntryExists(f"{key!r} exists in workflow {workflow_id!r}: use put or update to change it")
        raise version_conflict(workflow_id, change, options.expected_version, current)
    stamp = Stamp(reply.versions[0], reply.commit_id)
    if reply.diverged:
        first = reply.addresses[0] if reply.addresses else change.encoded
        _, standing, kept, _ = yield from do(LoadHistory(workflow_id, first))
        address = Address.decode(first, of_global=workflow_id == GLOBAL_WORKFLOW)
        for record in (standing, *(each.record for each in kept)):
            if record is not None and decode_header(record).stamp == stamp:
                entry = shown(terms.policy, agent, address, record)
                if entry is not None:
                    return entry
        if address != change.address:
            raise OperationDiverged(
                f"operation {operation_id!r} in workflow {workflow_id!r} was made before, on another key than {key!r}"
            )
    expires_us = reply.now_us + change.ttl_us if change.ttl_us else 0
    if not reply.replayed:
        terms.seen.put(workflow_id, [(change.encoded, Standing(stamp, what.meta, value))])
    return written_entry(
        change.address, stamp, reply.revision, reply.now_us, expires_us, agent.agent_id, what.meta, value
    )


def delete(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    address: Address,
    *,
    expected_version: int | None = None,
    purge: bool = False,
    even_closed: bool = False,
    of_run: bool = True,
) -> Flow[bool]:
    """Remove one entry; False if it was not there. ``purge`` forgets its earlier values too."""
    _check_version(address.key, expected_version)
    workflow_id = home_of(workflow_id, address.scope)
    encoded = address.encode()
    change = Change(address, encoded, Put(None), b"", None, bare=True)
    operation: Literal["delete", "purge"] = "purge" if purge else "delete"
    with Identified(operation, workflow_id, agent.agent_id, [encoded], None, of_run=of_run) as call:
        digest = digest_of(call, operation, [change])
        marked = terms.policy.mark_of(address) != ""
        writes = (Write(operation, encoded, expected_version=expected_version, sensitive=marked),)
        reply, _ = yield from commit(terms, workflow_id, agent, call, digest, writes, even_closed=even_closed)
    if isinstance(reply, Conflict):
        current = yield from _current(terms, workflow_id, agent, change, reply, 0)
        raise version_conflict(workflow_id, change, expected_version, current)
    return reply.versions[0] > 0


def _current(
    terms: Terms, workflow_id: str, agent: Agent, change: Change, conflict: Conflict, ordinal: int
) -> Flow[ContextEntry | None]:
    record = conflict.records.get(ordinal)
    if ordinal in conflict.omitted:
        _, records = yield from do(Load(workflow_id, (change.encoded,)))
        record = records.get(change.encoded)
    return shown(terms.policy, agent, change.address, record)


def version_conflict(
    workflow_id: str, change: Change, expected: int | None, current: ContextEntry | None
) -> VersionConflict:
    """Return the error for an expected version that is not met, with what stands there."""
    found = f"it is at version {current.version}" if current else "it is not"
    return VersionConflict(
        f"{change.address.key!r} in workflow {workflow_id!r} was expected at version {expected}; {found}."
        " Read it again and decide",
        current,
    )
