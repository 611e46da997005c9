"""Erasing what an agent or about a user was written: values everywhere they stand, history included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctxqueue.codec import unpack
from ctxqueue.effects import (
    Batch,
    Doomed,
    DropMemories,
    EndTrigger,
    Flow,
    Forget,
    Load,
    LoadCatalogue,
    LoadHistory,
    LoadHistoryAddresses,
    LoadMemories,
    LoadOwners,
    LoadPage,
    LoadTriggers,
    LoadUpdates,
    Measure,
    Revive,
    Settled,
    do,
    family_of,
)
from ctxqueue.errors import InvalidInput, UpdateAbandoned, VersionConflict, WorkflowNotFound
from ctxqueue.flows import ending, inbox, looking, stored, subscriptions
from ctxqueue.flows.refusals import SettledAlready
from ctxqueue.flows.signatures import TRIGGERS_A_PAGE, kept_subscription, kept_trigger
from ctxqueue.flows.writing import delete
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Address, ContextScope, EraseReport, Put, checked_name
from ctxqueue.records import HEADER, decode_header, meta_of
from ctxqueue.remembered import REQUESTS, Owner, body_of
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from ctxqueue.effects import StoredUpdate
    from ctxqueue.flows.terms import Terms
    from ctxqueue.remembered import Said


SHARDS_A_BATCH = 256
MEMORIES_A_STEP = 50
UPDATES_A_STEP = 25


class Subject:
    """Whose traces go."""

    def __init__(self, agent_id: str | None, user_id: str | None, *, everything: bool = False) -> None:
        """Raise InvalidInput unless one of them is named, InvalidName if it is none."""
        if (agent_id is not None) + (user_id is not None) + everything != 1:
            raise InvalidInput("erase takes an agent_id, a user_id or a namespace")
        self.everything = everything
        self.agent_id = None if agent_id is None else checked_name(agent_id, "agent_id")
        self.user_id = None if user_id is None else checked_name(user_id, "user_id")

    def left(self, address: Address, record: bytes) -> bool:
        """Whether the record is one of theirs: in the agent's private scope or written by it, about the user."""
        header = decode_header(record)
        meta = meta_of(record, header)
        if self.agent_id is not None:
            writer = record[HEADER.size : header.agent_end].decode()
            private = address.scope is ContextScope.PRIVATE and address.owner == self.agent_id
            return private or writer == self.agent_id
        metadata = unpack(meta.metadata) if meta.metadata else {}
        return metadata.get("user_id") == self.user_id

    def remembers(self, owner: Owner, said: Said) -> bool:
        """Whether a memory is one of theirs."""
        if self.everything:
            return True
        if self.agent_id is not None:
            own = owner.scope is ContextScope.PRIVATE and owner.agent == self.agent_id
            return own or said.agent_id == self.agent_id
        metadata = unpack(said.metadata) if said.metadata else {}
        return self.user_id in (owner.user, said.user_id, metadata.get("user_id"))

    def asked_for(self, ref: stored.UpdateRef, payload: bytes) -> bool:
        """Whether a stored update is one of theirs; raises RecordTooNew, RecordDamaged, DecryptionError."""
        if self.agent_id is not None:
            return ref.agent_id == self.agent_id
        _, _, _, updates = stored.unpacked(ref, payload, None)
        about = (put.metadata or {} for put in updates.values() if isinstance(put, Put))
        return any(metadata.get("user_id") == self.user_id for metadata in about)


@dataclass(slots=True)
class _Counts:
    workflows: int = 0
    entries: int = 0
    values: int = 0
    updates: int = 0
    triggers: int = 0


def erase(terms: Terms, subject: Subject) -> Flow[EraseReport]:
    """Go through all workflows of the namespace and the global context. A call that was cut off is made again.

    Where everything goes, workflows are removed: tasks that are parked there fail with WorkflowClosed.
    """
    counts = _Counts()
    for first in range(0, len(terms.shards), SHARDS_A_BATCH):
        places = [(shard, "") for shard in terms.shards[first : first + SHARDS_A_BATCH]]
        while places:
            pages = yield from do(Batch(tuple(LoadCatalogue(shard, after, MAX_PAGE) for shard, after in places)))
            for workflow_id in (workflow_id for page in pages for workflow_id in page):
                yield from _of_workflow(terms, workflow_id, subject, counts)
                counts.workflows += 1
            ends = zip(places, pages, strict=True)
            places = [(shard, page[-1]) for (shard, _), page in ends if len(page) == MAX_PAGE]
    yield from _of_workflow(terms, GLOBAL_WORKFLOW, subject, counts)
    memories = yield from _of_memories(subject)
    return EraseReport(
        counts.workflows, counts.entries, counts.values, memories, updates=counts.updates, triggers=counts.triggers
    )


def _of_memories(subject: Subject) -> Flow[int]:
    """Remove memories that are the agent's or user's own, of its making or about the user; archives are files.

    What they have asked workers for goes too, and does not count.
    """
    removed = 0
    look: LoadOwners | None = LoadOwners()
    while look is not None:
        owners = yield from do(look)
        look = owners.following
        for owner in map(Owner.parse, owners.names):
            removed += yield from _of_owner(owner, subject)
    for owner in REQUESTS:
        yield from _of_owner(owner, subject)
    return removed


def _of_owner(owner: Owner, subject: Subject) -> Flow[int]:
    removed = 0
    incarnation, after, more = "", 0, True
    while more:
        page = yield from do(LoadMemories(owner.digest, incarnation, after, MEMORIES_A_STEP))
        incarnation, after, more = page.incarnation, page.upto, page.more
        doomed = tuple(Doomed(row.memory_id) for row in page.rows if subject.remembers(owner, body_of(row.body).said))
        removed += (yield from do(DropMemories(owner.digest, doomed))) if doomed else 0
    return removed


def _of_workflow(terms: Terms, workflow_id: str, subject: Subject, counts: _Counts) -> Flow[None]:
    if subject.everything:
        measured = yield from do(Measure(workflow_id))
        if measured is not None:
            counts.entries, counts.updates = counts.entries + measured.entries, counts.updates + measured.updates
            counts.triggers += measured.triggers
        yield from ending.remove(terms, workflow_id)
        return
    # First what would write entries, then entries: what was done meanwhile goes with them.
    counts.updates += yield from _of_inbox(terms, workflow_id, subject)
    counts.triggers += yield from _of_triggers(workflow_id, subject)
    after: str | None = ""
    of_global = workflow_id == GLOBAL_WORKFLOW
    while after is not None:
        head, pairs, after = yield from do(LoadPage(workflow_id, "", after, MAX_PAGE))
        if head is None:
            return
        for encoded, record in pairs:
            address = Address.decode(encoded, of_global=of_global)
            counts.entries += yield from _of_entry(terms, workflow_id, address, record, subject)
    counts.values += yield from _of_history(workflow_id, subject)


def _of_inbox(terms: Terms, workflow_id: str, subject: Subject) -> Flow[int]:
    removed = 0
    cursor, more = "", True
    while more:
        updates, cursor = yield from do(LoadUpdates(workflow_id, cursor, UPDATES_A_STEP))
        for update in updates:
            ref = stored.UpdateRef.of(workflow_id, update.update_id)
            if subject.asked_for(ref, update.payload):
                removed += yield from _of_update(terms, ref, update)
        more = cursor != ""
    return removed


def _of_update(terms: Terms, ref: stored.UpdateRef, update: StoredUpdate) -> Flow[bool]:
    """Take out an update before it is done; who waits for it is told. False: it was done, or is gone."""
    if (yield from do(Revive(ref.home, ref.update_id, ref.owner, drop=True))):
        return True
    error = UpdateAbandoned(f"an update of workflow {ref.home!r} was erased before it was done")
    report = update.outgoing if update.outgoing.item_id else None
    settled = Settled(ref.update_id, ref.owner, "failed", failure=stored.packed_failure(error), report=report)
    try:
        yield from inbox.settle(terms, ref, settled)
    except (SettledAlready, WorkflowNotFound):
        return False
    return True


def _of_triggers(workflow_id: str, subject: Subject) -> Flow[int]:
    """Remove an agent's triggers and subscriptions with what they would send; nobody knows about whom those are."""
    removed = 0
    cursor, more = "", subject.agent_id is not None
    while more:
        page, cursor = yield from do(LoadTriggers(workflow_id, cursor, TRIGGERS_A_PAGE))
        for kept in page:
            judge = None
            if family_of(kept.trigger_id).startswith(subscriptions.FAMILY):
                agent_id = kept_subscription(kept.record).agent_id
            else:
                judge = kept_trigger(kept.record).judge
                agent_id = judge.agent_id
            if agent_id != subject.agent_id:
                continue
            removed += yield from do(EndTrigger(workflow_id, kept.trigger_id, "CANCELLED", forget=True))
            if judge is not None:
                afar = looking.afar_of(judge.condition, judge.agent)
                yield from looking.forget_afar(afar, workflow_id, kept.trigger_id)
        more = cursor != ""
    return removed


def _of_entry(terms: Terms, workflow_id: str, address: Address, record: bytes | None, subject: Subject) -> Flow[bool]:
    """Remove the entry if it is theirs, and still is: what others have written meanwhile stays."""
    while record is not None and subject.left(address, record):
        version = decode_header(record).stamp.version
        try:
            return (
                yield from delete(
                    terms,
                    workflow_id,
                    OPERATOR,
                    address,
                    expected_version=version,
                    purge=True,
                    even_closed=True,
                    of_run=False,  # what was written since it was erased first is to go, too
                )
            )
        except VersionConflict:
            _, records = yield from do(Load(workflow_id, (address.encode(),)))
            record = records.get(address.encode())
        except WorkflowNotFound:
            break  # removed meanwhile, with all that was in it
    return False


def _of_history(workflow_id: str, subject: Subject) -> Flow[int]:
    forgotten = 0
    after = ""
    while True:
        addresses = yield from do(LoadHistoryAddresses(workflow_id, after, MAX_PAGE))
        for encoded in addresses:
            forgotten += yield from _of_address(workflow_id, encoded, subject)
        if len(addresses) < MAX_PAGE:
            return forgotten
        after = addresses[-1]


def _of_address(workflow_id: str, encoded: str, subject: Subject) -> Flow[int]:
    address = Address.decode(encoded, of_global=workflow_id == GLOBAL_WORKFLOW)
    forgotten, skip, more = 0, 0, True
    while more:
        _, _, kept, more = yield from do(LoadHistory(workflow_id, encoded, skip))
        theirs = [decode_header(each.record).stamp.version for each in kept if subject.left(address, each.record)]
        skip += len(kept) - len(theirs)
        if theirs:
            forgotten += yield from do(Forget(workflow_id, encoded, tuple(theirs), skip))
    return forgotten
