"""Another key: values that stand in a store are encrypted anew, each in one step, and nothing else of them changes.

It reads what is stored as it is, beneath the encryption. What is under the newest key already is only looked at, so a
call that was cut off is made again; what others write meanwhile is not touched, and is under the newest key anyhow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctxqueue import envelopes
from ctxqueue.effects import (
    AmendMemory,
    Batch,
    Flow,
    LoadCatalogue,
    LoadHistory,
    LoadHistoryAddresses,
    LoadMemories,
    LoadOwners,
    LoadPage,
    LoadTriggers,
    Reseal,
    Swap,
    do,
)
from ctxqueue.errors import DecryptionError
from ctxqueue.models import GLOBAL_WORKFLOW, RotationReport
from ctxqueue.remembered import REQUESTS, Owner
from ctxqueue.settings import MAX_PAGE
from ctxqueue.stores.sealing import value_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import Head, StoredMemory
    from ctxqueue.stores.sealing import Sealing

SHARDS_A_BATCH = 256
MEMORIES_A_STEP = 50


@dataclass(slots=True)
class _Counts:
    workflows: int = 0
    values: int = 0
    memories: int = 0
    refused: int = 0
    left: int = 0


class Rotation:
    """One pass through a namespace."""

    def __init__(self, sealing: Sealing, shards: Sequence[int]) -> None:
        self._sealing = sealing
        self._shards = shards
        self._counts = _Counts()

    def run(self) -> Flow[RotationReport]:
        """Go through all workflows, the global context and all memories."""
        counts = self._counts
        for first in range(0, len(self._shards), SHARDS_A_BATCH):
            places = [(shard, "") for shard in self._shards[first : first + SHARDS_A_BATCH]]
            while places:
                pages = yield from do(Batch(tuple(LoadCatalogue(shard, after, MAX_PAGE) for shard, after in places)))
                for workflow_id in (workflow_id for page in pages for workflow_id in page):
                    yield from self._workflow(workflow_id)
                    counts.workflows += 1
                ends = zip(places, pages, strict=True)
                places = [(shard, page[-1]) for (shard, _), page in ends if len(page) == MAX_PAGE]
        yield from self._workflow(GLOBAL_WORKFLOW)
        look: LoadOwners | None = LoadOwners()
        while look is not None:
            owners = yield from do(look)
            look = owners.following
            for name in owners.names:
                yield from self._memories(Owner.parse(name).digest)
        for owner in REQUESTS:
            yield from self._memories(owner.digest)
        return RotationReport(counts.workflows, counts.values, counts.memories, counts.refused, counts.left)

    def _renewed(self, place: tuple[Any, ...], value: bytes, *, required: bool) -> bytes:
        """Return a value under the newest key; the same bytes if there is nothing to be done with it."""
        keyring = self._sealing.keyring
        if not value or (not required and not envelopes.code_of(value)):
            return value
        try:
            if envelopes.code_of(value) == envelopes.SEALED:
                return keyring.renewed(self._sealing.full(place), value)
            if keyring.accept_plaintext:
                return keyring.seal(self._sealing.full(place), value)
        except DecryptionError:  # counted: it stays as it is, and whoever reads it is told why
            pass
        self._counts.refused += 1
        return value

    def _workflow(self, workflow_id: str) -> Flow[None]:
        after: str | None = ""
        metadata = b""
        while after is not None:
            head, pairs, after = yield from do(LoadPage(workflow_id, "", after, MAX_PAGE))
            if head is None:
                return
            metadata = head.metadata
            for address, record in pairs:
                yield from self._swap(workflow_id, head, address, [(0, record)])
        self._counts.left += self._is_older(metadata)
        yield from self._history(workflow_id)
        cursor, more = "", True
        while more:
            triggers, cursor = yield from do(LoadTriggers(workflow_id, cursor, MAX_PAGE))
            self._counts.left += sum(
                trigger.state == "ARMED" and self._is_older(trigger.record) for trigger in triggers
            )
            more = bool(cursor)

    def _is_older(self, value: bytes) -> bool:
        return envelopes.code_of(value) == envelopes.SEALED and not self._sealing.keyring.is_newest(value)

    def _history(self, workflow_id: str) -> Flow[None]:
        after, more = "", True
        while more:
            addresses = yield from do(LoadHistoryAddresses(workflow_id, after, MAX_PAGE))
            for address in addresses:
                skip, more_kept = 0, True
                while more_kept:
                    head, _, kept, more_kept = yield from do(LoadHistory(workflow_id, address, skip))
                    if head is None:
                        return
                    yield from self._swap(workflow_id, head, address, [(each.until, each.record) for each in kept])
                    skip += len(kept)
            more = len(addresses) == MAX_PAGE
            after = addresses[-1] if more else ""

    def _swap(self, workflow_id: str, head: Head, address: str, records: list[tuple[int, bytes]]) -> Flow[None]:
        swaps = []
        for until, record in records:
            meta_end, sensitive = value_place(record)
            place = self._sealing.entry_place(workflow_id, head.incarnation, address, sensitive=sensitive)
            value = record[meta_end:]
            renewed = self._renewed(place, value, required=self._sealing.all or sensitive)
            if renewed is not value:
                swaps.append(Swap(until, record, record[:meta_end] + renewed))
        if swaps:
            self._counts.values += yield from do(Reseal(workflow_id, head.incarnation, address, tuple(swaps)))

    def _memories(self, owner: str) -> Flow[None]:
        incarnation, after, more = "", 0, True
        while more:
            page = yield from do(LoadMemories(owner, incarnation, after, MEMORIES_A_STEP))
            incarnation, after, more = page.incarnation, page.upto, page.more
            for row in page.rows:
                yield from self._memory(owner, row)

    def _memory(self, owner: str, row: StoredMemory) -> Flow[None]:
        renewed = self._renewed(("memory", owner, row.memory_id), row.body, required=True)
        if renewed is not row.body:
            amended = yield from do(
                AmendMemory(owner, row.memory_id, row.kind, row.number, renewed, row.pinned, row.superseded)
            )
            self._counts.memories += amended == "done"
