"""A part of an owner's memories in this process: rows, words, vectors, and what filters and signals look at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ctxqueue import codec
from ctxqueue.clock import instant
from ctxqueue.errors import ModelMismatch
from ctxqueue.memories.postings import Postings
from ctxqueue.memories.transcripts import placed
from ctxqueue.memories.vectors import PlainVectors, PooledVectors, Vectors
from ctxqueue.memories.words import stems
from ctxqueue.remembered import KINDS, NO_MODEL, body_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ctxqueue.effects import MemoryPage, StoredMemory
    from ctxqueue.memories.encoding import Encoder
    from ctxqueue.remembered import Body, Said
    from ctxqueue.rules.remembering import Part

COLUMNS: Final[dict[str, Any]] = {
    "live": np.bool_,
    "kind": np.int8,
    "at_us": np.int64,
    "expires_us": np.int64,
    "importance": np.float32,
    "accesses": np.float32,
    "session": np.int32,
    "sequence": np.float64,
    "speaker": np.int32,
    "asks": np.bool_,
    "fits": np.bool_,
}
NONE: Final = -1
MOST_DEAD: Final = 0.5
"""Share of slots without a live row at which the shelf is laid out anew."""


def indexed_text(said: Said) -> str:
    """Return what is searched of a memory: when and by whom something was said is part of it, if that was told."""
    before = [f"{instant(said.at_us):%-d %B %Y}"] if said.at_us is not None else []
    if said.speaker:
        before.append(f"{said.speaker}:")
    return " ".join([*before, said.content])


class Shelf:
    """Rows by slot, in the order they came; a row that has changed takes a new slot. Not thread-safe."""

    def __init__(self, part: Part, encoder: Encoder) -> None:
        self.part = part
        self.owner = part.owner
        self._encoder = encoder
        self.incarnation, self.upto = "", 0
        self.waiting: dict[str, StoredMemory] = {}
        """Rows that have no vector yet: they are not found until one is made."""
        self.ground: Shelf | None = None
        """If this has only candidates: rows that stand for all, which scores are measured against."""
        self.times = 1.0
        """How many each of those stands for."""
        self._clear()

    def _clear(self) -> None:
        self.rows: list[StoredMemory | None] = []
        self.bodies: list[Body | None] = []
        self.slots: dict[str, int] = {}
        self.words = Postings()
        self.vectors: Vectors = _vectors_for(self._encoder)
        self._columns = {name: np.zeros(16, dtype=kind) for name, kind in COLUMNS.items()}
        self._codes: dict[tuple[str, Any], int] = {}
        self.speakers: dict[int, str] = {}
        self._facets: dict[tuple[str, Any], list[int]] = {}
        self.related: dict[int, tuple[str, ...]] = {}
        """The concepts that a row names as related to its own, by slot."""
        self.alive = 0
        self.foreign: dict[str, int] = {}
        """How many live rows have only a vector of another model."""
        self.sequenced = 0
        """Live rows with a session and a place in it."""
        self.in_sessions = False
        """Whether there was one with a session."""
        self.expiring = False
        """Whether there was one that expires."""

    def column(self, name: str) -> NDArray[Any]:
        """Return one column, by slot."""
        return self._columns[name][: len(self.rows)]

    def apply(self, page: MemoryPage, after: int) -> None:
        """Take in what has changed since ``after``; without effect if another reader has been faster."""
        if page.anew or page.incarnation != self.incarnation:
            if not page.anew and self.incarnation:
                return
            if page.anew:
                self.waiting.clear()
                self._clear()
            self.incarnation, self.upto = page.incarnation, 0
        elif after != self.upto:
            return
        for memory_id in page.gone:
            self._remove(memory_id)
        for row in page.rows:
            self._remove(row.memory_id)
            if not row.superseded:
                self._add(row)
        self.upto = page.upto
        if len(self.rows) > 100 and self.alive < len(self.rows) * (1 - MOST_DEAD):  # noqa: PLR2004 - not worth it below
            standing = [row for row in self.rows if row is not None]
            self._clear()
            for row in standing:
                self._add(row)

    def _add(self, row: StoredMemory) -> None:
        body = body_of(row.body)
        if not self.part.holds(row.kind, body):
            return
        if body.model == NO_MODEL:
            self.waiting[row.memory_id] = row
            return
        said = body.said
        slot = len(self.rows)
        if slot == len(self._columns["live"]):
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.zeros_like(column)])
        vector = next((vector for model, vector in body.vectors if model == self._encoder.model), None)
        if vector is None:
            self.foreign[body.model] = self.foreign.get(body.model, 0) + 1
        self.rows.append(row)
        self.bodies.append(body)
        self.slots[row.memory_id] = slot
        self.words.add(slot, stems(indexed_text(said)))
        self.vectors.add(_no_vector(self._encoder) if vector is None else vector)
        session, sequence, by = placed(said, row.born)
        in_order = session is not None and sequence is not None
        speaker = self._code("speaker", by) if by else NONE
        values: dict[str, Any] = {
            "live": True,
            "kind": KINDS.index(row.kind),
            "at_us": row.created_us if said.at_us is None else said.at_us,
            "expires_us": row.expires_us,
            "importance": body.importance,
            "accesses": row.accesses,
            "session": NONE if session is None else self._code("session", session),
            "sequence": sequence if in_order else math.nan,
            "speaker": speaker,
            "asks": "?" in said.content,
            "fits": vector is not None,
        }
        for name, value in values.items():
            self._columns[name][slot] = value
        if by:
            self.speakers[speaker] = by
        self.sequenced += in_order
        self.in_sessions |= session is not None
        self.expiring |= row.expires_us > 0
        metadata = codec.unpack(said.metadata) if said.metadata else {}
        for facet in facets(metadata):
            self._facets.setdefault(facet, []).append(slot)
        related = metadata.get("related_concepts")
        if isinstance(related, list | tuple) and related:
            self.related[slot] = tuple(name for name in related if isinstance(name, str))
        self.alive += 1

    def _remove(self, memory_id: str) -> None:
        self.waiting.pop(memory_id, None)
        slot = self.slots.pop(memory_id, None)
        if slot is None:
            return
        body = self.bodies[slot]
        if body is None:
            return
        self.words.remove(stems(indexed_text(body.said)))
        self.sequenced -= not math.isnan(self._columns["sequence"][slot])
        if not self._columns["fits"][slot]:
            self.foreign[body.model] -= 1
        self.rows[slot] = self.bodies[slot] = None
        self.related.pop(slot, None)
        self._columns["live"][slot] = False
        self.alive -= 1

    def _code(self, what: str, value: Any) -> int:
        return self._codes.setdefault((what, value), len(self._codes))

    def having(self, facet: tuple[str, Any]) -> list[int]:
        """Return the slots whose metadata has a plain value under a key; gone ones too."""
        return self._facets.get(facet, [])

    def metadata_of(self, slot: int) -> Mapping[str, Any]:
        """Return a row's metadata."""
        body = self.bodies[slot]
        packed = body.said.metadata if body else b""
        return codec.unpack(packed) if packed else {}

    def used(self, memory_id: str, accesses: int) -> None:
        """Note how often a row was used."""
        slot = self.slots.get(memory_id)
        if slot is not None:
            self._columns["accesses"][slot] = accesses

    def check_model(self) -> None:
        """Raise ModelMismatch if a row has no vector of our model."""
        others = [model for model, rows in self.foreign.items() if rows]
        if others:
            raise ModelMismatch(
                f"memories of {self.owner.agent or self.owner.user or 'everybody'} have vectors of {others[0]}, this"
                f" process embeds with {self._encoder.model}: call reembed(embedder), or use that model"
            )


def facets(metadata: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the items whose values are plain: those that are looked up, where others must be compared."""
    return [(key, value) for key, value in metadata.items() if is_plain(value)]


def is_plain(value: Any) -> bool:
    """Whether equal values of its kind have one hash."""
    return value is None or isinstance(value, str | int | float | bytes)


def _vectors_for(encoder: Encoder) -> Vectors:
    if encoder.pools:
        embedder: Any = encoder.embedder
        return PooledVectors(embedder.table)
    return PlainVectors(encoder.embedder.dimension)


def _no_vector(encoder: Encoder) -> bytes:
    return b"" if encoder.pools else bytes(4 * encoder.embedder.dimension)
