"""All memories that this process has read, by owner, and the embedder they are searched with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ctxqueue.flows.memory_terms import Asked, Found, Wanted
from ctxqueue.memories import nearest
from ctxqueue.memories.blas import one_thread
from ctxqueue.memories.encoding import CACHED, Encoder
from ctxqueue.memories.filtering import Query
from ctxqueue.memories.searching import search
from ctxqueue.memories.shelf import Shelf, indexed_text
from ctxqueue.memories.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ctxqueue.effects import Candidates, IndexedMemory, MemoryPage, Sample, StoredMemory
    from ctxqueue.memories.embedders import Embedder
    from ctxqueue.remembered import Owner, Said
    from ctxqueue.rules.remembering import Part

MOST_GROUNDS = 16
"""Owners whose memories a store's index searches, of which a sample is kept."""
MOST_ROWS = 500_000
"""Rows kept in a process; owners that were searched longest ago go first."""


class Library:
    """Shelves, by what a reader may see of an owner's memories. Thread-safe: one search or change at a time."""

    def __init__(
        self, embedder: Embedder, weights: Weights | None = None, *, cached: int = CACHED, most_rows: int = MOST_ROWS
    ) -> None:
        self.encoder = Encoder(embedder, cached=cached)
        self.weights = weights or Weights()
        self._most_rows = most_rows
        self._shelves: OrderedDict[Part, Shelf] = OrderedDict()
        self._parts: dict[Owner, set[Part]] = {}
        """Of each owner, those that have a shelf."""
        self._grounds: OrderedDict[Owner, nearest.Ground] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def model(self) -> str:
        """The embedder's name and dimension."""
        return self.encoder.model

    def encode(self, saids: Sequence[Said]) -> list[bytes]:
        """Return what rows keep of vectors; raises EmbedderError, DimensionMismatch."""
        return self.encoder.encode([indexed_text(said) for said in saids])

    def _shelf(self, part: Part) -> Shelf:
        shelf = self._shelves.get(part)
        if shelf is None:
            shelf = self._shelves[part] = Shelf(part, self.encoder)
            self._parts.setdefault(part.owner, set()).add(part)
        self._shelves.move_to_end(part)
        return shelf

    def standing(self, part: Part) -> tuple[str, int]:
        """Return up to where a part of an owner's memories is known."""
        with self._lock:
            shelf = self._shelves.get(part)
            return (shelf.incarnation, shelf.upto) if shelf else ("", 0)

    def apply(self, part: Part, page: MemoryPage, after: int) -> None:
        """Take in what has changed."""
        with self._lock:
            self._shelf(part).apply(page, after)

    def search(
        self,
        parts: Sequence[Part],
        wanted: Wanted,
        now_us: int,
        near: Mapping[Part, Candidates] = MappingProxyType({}),
    ) -> list[Found]:
        """Return the best, best first; raises EmbedderError, DimensionMismatch, ModelMismatch.

        Of the parts in ``near`` only those candidates are searched, which a store's index has found.
        """
        (vector,) = self.encoder.encode([wanted.text])
        query = Query(
            text=wanted.text,
            vector=vector,
            now_us=now_us,
            limit=wanted.limit,
            kinds=wanted.kinds,
            where=wanted.where,
            since_us=wanted.since_us,
            until_us=wanted.until_us,
            min_score=wanted.min_score,
        )
        found = []
        with self._lock, one_thread():
            shelves = [
                self._answered(part.owner, near[part], wanted) if part in near else self._shelf(part)
                for part in parts
                if part in near or part in self._shelves
            ]
            for hit in search(shelves, query, self.weights):
                row, body = hit.shelf.rows[hit.slot], hit.shelf.bodies[hit.slot]
                if row is not None and body is not None:
                    found.append(Found(hit.shelf.part, row, body, hit.score, hit.cosine, hit.parts))
            self._make_room(set(parts))
        return found

    # By a store's index --------------------------------------------------------------------------------------------

    def held(self, part: Part) -> int | None:
        """Return how many of its memories are kept here; None if they have not been read."""
        with self._lock:
            shelf = self._shelves.get(part)
            return shelf.alive if shelf else None

    def narrows(self, where: Mapping[str, Any]) -> bool:
        """Whether an index can apply a filter on metadata."""
        return nearest.narrows(where)

    def ground(self, owner: Owner, number: int) -> int | None:
        """Return about how many memories an owner has; None if what stands for them is to be laid, perhaps anew."""
        with self._lock:
            ground = self._grounds.get(owner)
            return ground.total if ground is not None and ground.serves(number) else None

    def lay_ground(self, owner: Owner, number: int, sample: Sample) -> None:
        """Keep what stands for all of an owner's memories when it is at a number."""
        laid = nearest.laid(owner, self.encoder, number, sample.rows, sample.total)
        with self._lock:
            self._grounds[owner] = laid
            self._grounds.move_to_end(owner)
            while len(self._grounds) > MOST_GROUNDS:
                self._grounds.popitem(last=False)

    def question(self, owner: Owner, wanted: Wanted) -> Asked:
        """Return what an index is asked; raises EmbedderError, DimensionMismatch."""
        with self._lock, one_thread():
            return nearest.question(self._grounds[owner], self.encoder, wanted)

    def indexed(self, owner: Owner, rows: Sequence[StoredMemory]) -> tuple[IndexedMemory, ...]:
        """Return what the index holds of rows."""
        with self._lock, one_thread():
            return nearest.indexed(self._grounds[owner], self.encoder, rows)

    def _answered(self, owner: Owner, found: Candidates, wanted: Wanted) -> Shelf:
        return nearest.answered(self._grounds[owner], self.encoder, wanted, found)

    def _make_room(self, in_use: set[Part]) -> None:
        rows = sum(len(shelf.rows) for shelf in self._shelves.values())
        for part in list(self._shelves):
            if rows <= self._most_rows:
                return
            if part not in in_use:
                rows -= len(self._shelves.pop(part).rows)
                self._parts[part.owner].discard(part)
                if not self._parts[part.owner]:
                    del self._parts[part.owner]

    def waiting(self, part: Part, now_us: int, most: int) -> list[StoredMemory]:
        """Return some of its rows that have no vector yet, but not expired ones."""
        with self._lock:
            shelf = self._shelves.get(part)
            rows = shelf.waiting.values() if shelf else ()
            return list(islice((row for row in rows if not row.expires_us or row.expires_us > now_us), most))

    def near(self, part: Part, memory_id: str, above: float) -> list[StoredMemory]:
        """Return its memories whose vectors are alike, the one itself among them."""
        with self._lock, one_thread():
            shelf = self._shelf(part)
            slot = shelf.slots.get(memory_id)
            if slot is None:
                return []
            shelf.check_model()
            alike = (shelf.vectors.between(slot) >= above) & shelf.column("live")
            kind = shelf.column("kind") == shelf.column("kind")[slot]
            return [row for place in (alike & kind).nonzero()[0] if (row := shelf.rows[place]) is not None]

    def used(self, owner: Owner, memory_id: str, accesses: int) -> None:
        """Note how often a memory was used, whoever saw it."""
        with self._lock:
            for part in self._parts.get(owner, ()):
                self._shelves[part].used(memory_id, accesses)
