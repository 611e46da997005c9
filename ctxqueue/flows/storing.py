"""A workflow as one piece, which a `ContextStorage` reads and writes: in clear, for the trusted process itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.clock import instant, since_epoch
from ctxqueue.codec import pack
from ctxqueue.effects import Flow, Load, LoadLog, Write, do
from ctxqueue.errors import InvalidInput, ValueTooLarge, VersionConflict, WorkflowNotFound
from ctxqueue.flows.auditing import handed_out
from ctxqueue.flows.committing import commit
from ctxqueue.flows.ending import open_workflow
from ctxqueue.flows.reading import etag_of, workflow_context
from ctxqueue.flows.viewing import Snapshot, snapshots
from ctxqueue.flows.writing import EVICTABLE
from ctxqueue.identity import Identified, input_digest
from ctxqueue.models import (
    AGENT_STATE,
    OPERATOR,
    OPERATOR_ID,
    READS,
    WORKING_MEMORY,
    Address,
    Agent,
    ContextEntry,
    ContextScope,
    WorkflowContext,
)
from ctxqueue.records import decode_entry, decode_header, encode_meta

if TYPE_CHECKING:
    from ctxqueue.effects import Head
    from ctxqueue.flows.terms import Terms


def get_context(terms: Terms, workflow_id: str) -> Flow[WorkflowContext | None]:
    """Return a workflow with all its entries and agents' states, None if there is none."""
    try:
        snapshot, _ = yield from snapshots(terms, workflow_id)
    except WorkflowNotFound:
        return None
    head = snapshot.head
    _, _, log = yield from do(LoadLog(workflow_id, head.revision, 1))
    entries: dict[str, ContextEntry] = {}
    states: dict[str, dict[str, Any]] = {}
    for address, record in _fresh(snapshot):
        entry = decode_entry(address, record, "clear")
        if address.key == AGENT_STATE:
            states[address.owner] = entry.value
        else:
            entries[entry.place] = entry
    yield from handed_out(terms, workflow_id, OPERATOR, list(entries.values()), "storage")
    known = workflow_context(workflow_id, head)
    return WorkflowContext(
        workflow_id,
        known.revision,
        known.created_at,
        known.metadata,
        context_entries=entries,
        agent_states=states,
        updated_at=instant(log[-1].at_us if log else head.created_us),
        etag=etag_of(head),
    )


def _fresh(snapshot: Snapshot) -> list[tuple[Address, bytes]]:
    found = []
    for encoded, record in snapshot.records.items():
        expires_us = decode_header(record).expires_us
        if not expires_us or expires_us > snapshot.head.now_us:
            address = Address.decode(encoded, of_global=False)
            if address.key not in (WORKING_MEMORY, READS):  # no part of a context: neither read nor removed with one
                found.append((address, record))
    return found


def store_context(terms: Terms, workflow_id: str, context: WorkflowContext, metadata: bytes) -> Flow[bool]:
    """Write a workflow as it is given: what differs from what stands there, as one commit.

    Raises VersionConflict unless the workflow is as it was when ``context`` was read (not there, for a new one),
    CommitTooLarge if more than 200 entries differ.
    """
    if context.workflow_id != workflow_id:
        raise InvalidInput(f"the context is that of workflow {context.workflow_id!r}, not of {workflow_id!r}")
    wanted = _wanted(context)
    for entry in wanted.values():
        _check_size(terms, entry)
    if not context.etag:
        made, known = yield from open_workflow(terms, workflow_id, metadata)
        if not made and known.revision:  # an empty one may be what is left of a call that was cut off
            raise _not_read(workflow_id)
    snapshot, _ = yield from snapshots(terms, workflow_id)
    head = snapshot.head
    if not context.etag and head.revision:  # somebody has written since it was opened
        raise _not_read(workflow_id)
    if context.etag and dict(context.metadata) != dict(workflow_context(workflow_id, head).metadata):
        raise InvalidInput(f"the metadata of workflow {workflow_id!r} is fixed when it is made: keep it in an entry")
    if context.etag and context.etag != etag_of(head):
        raise VersionConflict(
            f"workflow {workflow_id!r} is at revision {head.revision} and has changed since revision"
            f" {context.revision}, which was read: nothing was written. Read it again and decide"
        )
    standing = {address.encode(): decode_entry(address, record, "clear") for address, record in _fresh(snapshot)}
    writes = [
        _write(address, entry, head) for address, entry in wanted.items() if _differs(entry, standing.get(address))
    ]
    writes += [Write("delete", address) for address in standing.keys() - wanted.keys()]
    if not writes:
        return True
    writes.sort(key=lambda write: write.address)
    addresses = [write.address for write in writes]
    with Identified("store", workflow_id, OPERATOR.agent_id, addresses, None) as call:
        digest = input_digest(call.owner, [context.etag.encode(), *(write.value for write in writes)])
        edges = {write.address: write.depends_on for write in writes if write.depends_on}
        yield from commit(
            terms, workflow_id, OPERATOR, call, digest, tuple(writes), edges, expected_head=head.commit_id
        )
    return True


def _not_read(workflow_id: str) -> VersionConflict:
    return VersionConflict(f"workflow {workflow_id!r} exists, and the context was not read from it: read it first")


def _wanted(context: WorkflowContext) -> dict[str, ContextEntry]:
    wanted = {}
    for entry in context.context_entries.values():
        wanted[_address(entry)] = entry
    for agent_id, state in context.agent_states.items():
        entry = ContextEntry.of("state", state, agent_id, "private", "high")
        wanted[Address(ContextScope.PRIVATE, agent_id, AGENT_STATE).encode()] = entry
    return wanted


def _address(entry: ContextEntry) -> str:
    if entry.scope is ContextScope.GLOBAL:
        raise InvalidInput(f"{entry.key!r} is of the global context: write it by a handle")
    return Address(entry.scope, entry.owner, entry.key).encode()


def _check_size(terms: Terms, entry: ContextEntry) -> None:
    if entry.sensitive and entry.disclosure == "concealed":
        raise InvalidInput(f"the value of {entry.key!r} is not in the entry: read it from a storage, or by reveal=True")
    if len(entry.packed_value()) > terms.settings.max_value:
        raise ValueTooLarge(
            f"the value of {entry.key!r} takes {len(entry.packed_value())} bytes: at most {terms.settings.max_value};"
            " split it over several keys, or raise ctxqueue_max_value"
        )


def _differs(wanted: ContextEntry, standing: ContextEntry | None) -> bool:
    return standing is None or _said(wanted) != _said(standing)


def _said(entry: ContextEntry) -> tuple[object, ...]:
    return (
        *(entry.packed_value(), entry.priority, entry.expires_at, entry.dependencies, entry.pinned, entry.sensitive),
        pack(dict(entry.metadata)),
    )


def _write(address: str, entry: ContextEntry, head: Head) -> Write:
    meta = encode_meta(
        entry.created_by,
        entry.priority,
        pinned=entry.pinned,
        sensitive=entry.sensitive,
        depends_on=entry.dependencies,
        metadata=entry.metadata,
    )
    return Write(
        "put",
        address,
        entry.packed_value(),
        meta,
        ttl_us=max(1, since_epoch(entry.expires_at) - head.now_us) if entry.expires_at else None,
        evictable=0 if entry.pinned else EVICTABLE.get(entry.priority, 0),
        sensitive=entry.sensitive,
        depends_on=entry.dependencies,
    )


def update_entry(terms: Terms, workflow_id: str, entry: ContextEntry) -> Flow[bool]:
    """Write one entry whole, in its own agent's name; False if there is no such workflow."""
    head, _ = yield from do(Load(workflow_id, ()))
    if head is None:
        return False
    _check_size(terms, entry)
    agent = OPERATOR if entry.agent_id == OPERATOR_ID else Agent(entry.agent_id)
    write = _write(_address(entry), entry, head)
    with Identified("put", workflow_id, entry.agent_id, [write.address], None) as call:
        digest = input_digest(call.owner, [write.meta, write.value])
        edges = {write.address: write.depends_on} if write.depends_on else None
        yield from commit(terms, workflow_id, agent, call, digest, (write,), edges)
    return True
