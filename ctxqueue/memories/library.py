"""All memories that this process has read, by owner, and the embedder they are searched with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

from ctxqueue.flows.memory_terms import Found, Wanted
from ctxqueue.memories.blas import one_thread
from ctxqueue.memories.encoding import CACHED, Encoder
from ctxqueue.memories.filtering import Query
from ctxqueue.memories.searching import search
from ctxqueue.memories.shelf import Shelf, indexed_text
from ctxqueue.memories.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.effects import MemoryPage, StoredMemory
    from ctxqueue.memories.embedders import Embedder
    from ctxqueue.remembered import Owner, Said

MOST_ROWS = 500_000
"""Rows kept in a process; owners that were searched longest ago go first."""


class Library:
    """Shelves by owner. Thread-safe: one search or change at a time."""

    def __init__(
        self, embedder: Embedder, weights: Weights | None = None, *, cached: int = CACHED, most_rows: int = MOST_ROWS
    ) -> None:
        self.encoder = Encoder(embedder, cached=cached)
        self.weights = weights or Weights()
        self._most_rows = most_rows
        self._shelves: OrderedDict[Owner, Shelf] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def model(self) -> str:
        """The embedder's name and dimension."""
        return self.encoder.model

    def encode(self, saids: Sequence[Said]) -> list[bytes]:
        """Return what rows keep of vectors; raises EmbedderError, DimensionMismatch."""
        return self.encoder.encode([indexed_text(said) for said in saids])

    def _shelf(self, owner: Owner) -> Shelf:
        shelf = self._shelves.get(owner)
        if shelf is None:
            shelf = self._shelves[owner] = Shelf(owner, self.encoder)
        self._shelves.move_to_end(owner)
        return shelf

    def standing(self, owner: Owner) -> tuple[str, int]:
        """Return up to where an owner's memories are known."""
        with self._lock:
            shelf = self._shelves.get(owner)
            return (shelf.incarnation, shelf.upto) if shelf else ("", 0)

    def apply(self, owner: Owner, page: MemoryPage, after: int) -> None:
        """Take in what has changed."""
        with self._lock:
            self._shelf(owner).apply(page, after)

    def search(self, owners: Sequence[Owner], wanted: Wanted, now_us: int) -> list[Found]:
        """Return the best, best first; raises EmbedderError, DimensionMismatch, ModelMismatch."""
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
            shelves = [self._shelf(owner) for owner in owners if owner in self._shelves]
            for hit in search(shelves, query, self.weights):
                row, body = hit.shelf.rows[hit.slot], hit.shelf.bodies[hit.slot]
                if row is not None and body is not None:
                    found.append(Found(hit.shelf.owner, row, body, hit.score, hit.cosine, hit.parts))
            self._make_room(set(owners))
        return found

    def _make_room(self, in_use: set[Owner]) -> None:
        rows = sum(len(shelf.rows) for shelf in self._shelves.values())
        for owner in list(self._shelves):
            if rows <= self._most_rows:
                return
            if owner not in in_use:
                rows -= len(self._shelves.pop(owner).rows)

    def waiting(self, owner: Owner, now_us: int, most: int) -> list[StoredMemory]:
        """Return some of the owner's rows that have no vector yet, but not expired ones."""
        with self._lock:
            shelf = self._shelves.get(owner)
            rows = shelf.waiting.values() if shelf else ()
            return list(islice((row for row in rows if not row.expires_us or row.expires_us > now_us), most))

    def near(self, owner: Owner, memory_id: str, above: float) -> list[StoredMemory]:
        """Return the owner's memories whose vectors are alike, the one itself among them."""
        with self._lock, one_thread():
            shelf = self._shelf(owner)
            slot = shelf.slots.get(memory_id)
            if slot is None:
                return []
            shelf.check_model()
            alike = (shelf.vectors.between(slot) >= above) & shelf.column("live")
            kind = shelf.column("kind") == shelf.column("kind")[slot]
            return [row for place in (alike & kind).nonzero()[0] if (row := shelf.rows[place]) is not None]

    def used(self, owner: Owner, memory_id: str, accesses: int) -> None:
        """Note how often a memory was used."""
        with self._lock:
            shelf = self._shelves.get(owner)
            if shelf is not None:
                shelf.used(memory_id, accesses)
