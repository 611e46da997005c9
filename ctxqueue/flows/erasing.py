"""Erasing what an agent or about a user was written: values everywhere they stand, history included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.codec import unpack
from ctxqueue.effects import (
    Batch,
    Doomed,
    DropMemories,
    Flow,
    Forget,
    Load,
    LoadCatalogue,
    LoadHistory,
    LoadHistoryAddresses,
    LoadMemories,
    LoadOwners,
    LoadPage,
    do,
)
from ctxqueue.errors import InvalidInput, VersionConflict, WorkflowNotFound
from ctxqueue.flows.writing import delete
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Address, ContextScope, EraseReport, checked_name
from ctxqueue.records import HEADER, decode_header, meta_of
from ctxqueue.remembered import REQUESTS, Owner, body_of
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms
    from ctxqueue.remembered import Said


SHARDS_A_BATCH = 256
MEMORIES_A_STEP = 50


class Subject:
    """Whose traces go."""

    def __init__(self, agent_id: str | None, user_id: str | None) -> None:
        """Raise InvalidInput unless one of them is named, InvalidName if it is none."""
        if (agent_id is None) == (user_id is None):
            raise InvalidInput("erase takes an agent_id or a user_id")
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
        if self.agent_id is not None:
            own = owner.scope is ContextScope.PRIVATE and owner.agent == self.agent_id
            return own or said.agent_id == self.agent_id
        metadata = unpack(said.metadata) if said.metadata else {}
        return self.user_id in (owner.user, said.user_id, metadata.get("user_id"))


def erase(terms: Terms, subject: Subject) -> Flow[EraseReport]:
    """Go through all workflows of the namespace and the global context. A call that was cut off is made again."""
    workflows = entries = values = 0
    for first in range(0, len(terms.shards), SHARDS_A_BATCH):
        places = [(shard, "") for shard in terms.shards[first : first + SHARDS_A_BATCH]]
        while places:
            pages = yield from do(Batch(tuple(LoadCatalogue(shard, after, MAX_PAGE) for shard, after in places)))
            for workflow_id in (workflow_id for page in pages for workflow_id in page):
                removed, forgotten = yield from _of_workflow(terms, workflow_id, subject)
                workflows, entries, values = workflows + 1, entries + removed, values + forgotten
            ends = zip(places, pages, strict=True)
            places = [(shard, page[-1]) for (shard, _), page in ends if len(page) == MAX_PAGE]
    removed, forgotten = yield from _of_workflow(terms, GLOBAL_WORKFLOW, subject)
    memories = yield from _of_memories(subject)
    return EraseReport(workflows, entries + removed, values + forgotten, memories)


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


def _of_workflow(terms: Terms, workflow_id: str, subject: Subject) -> Flow[tuple[int, int]]:
    removed = 0
    after: str | None = ""
    of_global = workflow_id == GLOBAL_WORKFLOW
    while after is not None:
        head, pairs, after = yield from do(LoadPage(workflow_id, "", after, MAX_PAGE))
        if head is None:
            return 0, 0
        for encoded, record in pairs:
            address = Address.decode(encoded, of_global=of_global)
            removed += yield from _of_entry(terms, workflow_id, address, record, subject)
    return removed, (yield from _of_history(workflow_id, subject))


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
    versions: list[int] = []
    skip, more = 0, True
    while more:
        _, _, kept, more = yield from do(LoadHistory(workflow_id, encoded, skip))
        versions += [decode_header(each.record).stamp.version for each in kept if subject.left(address, each.record)]
        skip += len(kept)
    return (yield from do(Forget(workflow_id, encoded, tuple(versions)))) if versions else 0
