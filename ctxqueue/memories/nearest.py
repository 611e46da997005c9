"""Between the rows of one owner and a store's index of them: what it holds of each, what it is asked, what it answers.

What is rare among all memories, and how far scores are spread, is measured on some of them that stand for all.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from ctxqueue import codec
from ctxqueue.effects import IndexedMemory, MemoryPage
from ctxqueue.flows.memory_terms import Asked
from ctxqueue.memories.shelf import Shelf, facets, indexed_text, is_plain
from ctxqueue.memories.transcripts import placed
from ctxqueue.memories.words import stems
from ctxqueue.remembered import body_of
from ctxqueue.rules.remembering import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ctxqueue.effects import Candidates, StoredMemory
    from ctxqueue.flows.memory_terms import Wanted
    from ctxqueue.memories.encoding import Encoder
    from ctxqueue.remembered import Owner

GROWTH = 1.1
"""Once so many times as many changes have been made, others stand for all."""


class Ground(NamedTuple):
    """Some of an owner's rows, that stand for all: read when the owner stood at ``number``."""

    number: int
    total: int
    shelf: Shelf

    def serves(self, number: int) -> bool:
        """Whether it still does, at another number."""
        return self.number / GROWTH < number < self.number * GROWTH


def laid(owner: Owner, encoder: Encoder, number: int, rows: Sequence[StoredMemory], total: int) -> Ground:
    """Return the ground that some rows are."""
    return Ground(number, total, _shelf_of(Part(owner, sensitive=()), encoder, rows))


def _shelf_of(part: Part, encoder: Encoder, rows: Sequence[StoredMemory]) -> Shelf:
    shelf = Shelf(part, encoder)
    shelf.apply(MemoryPage("", True, tuple(rows), (), 0, more=False, now_us=0), 0)  # noqa: FBT003 - it begins anew
    return shelf


def _hash(owner: Owner, kind: str, *parts: Any) -> int:
    digest = hashlib.blake2b(codec.pack([kind, *parts]), key=owner.digest.encode(), digest_size=8)
    return int.from_bytes(digest.digest(), signed=True)


def _terms(owner: Owner, words: Sequence[str]) -> tuple[int, ...]:
    return tuple(_hash(owner, "term", word) for word in words)


def _facet(owner: Owner, key: str, value: Any) -> int:
    """Return the hash of an item of metadata; equal numbers have one, whatever their types."""
    whole = isinstance(value, bool | float) and value == value // 1 and abs(value) < 2**63
    return _hash(owner, "facet", key, int(value) if whole else value)


def narrows(where: Mapping[str, Any]) -> bool:
    """Whether an index can apply a filter on metadata."""
    return all(is_plain(value) and value == value for value in where.values())  # noqa: PLR0124 - what is no number is not


def indexed(ground: Ground, encoder: Encoder, rows: Sequence[StoredMemory]) -> tuple[IndexedMemory, ...]:
    """Return what the index holds of rows: nothing of those that are sensitive."""
    owner = ground.shelf.owner
    found = []
    for row in rows:
        body = body_of(row.body)
        said = body.said
        at_us = row.created_us if said.at_us is None else said.at_us
        vector = next((vector for model, vector in body.vectors if model == encoder.model), None)
        if row.superseded or vector is None or body.why:
            found.append(IndexedMemory(row.memory_id, row.number, at_us, (), (), None, None, b""))
            continue
        metadata = codec.unpack(said.metadata) if said.metadata else {}
        session, sequence, _ = placed(said, row.born)
        found.append(
            IndexedMemory(
                *(row.memory_id, row.number, at_us),
                _terms(owner, sorted(set(stems(indexed_text(said))))),
                tuple(_facet(owner, key, value) for key, value in facets(metadata)),
                None if session is None else _hash(owner, "session", session),
                sequence,
                ground.shelf.vectors.made(vector),
            )
        )
    return tuple(found)


def question(ground: Ground, encoder: Encoder, wanted: Wanted) -> Asked:
    """Return what the index is asked; raises EmbedderError, DimensionMismatch."""
    owner = ground.shelf.owner
    (vector,) = encoder.encode([wanted.text])
    return Asked(
        ground.shelf.vectors.made(vector),
        _terms(owner, query_terms(wanted.text)),
        tuple(_facet(owner, key, value) for key, value in wanted.where.items()),
    )


def query_terms(text: str) -> list[str]:
    """Return the words of a query in the order in which the index is asked for them."""
    return sorted(set(stems(text)))


def answered(ground: Ground, encoder: Encoder, wanted: Wanted, found: Candidates) -> Shelf:
    """Return a shelf of the candidates, which are weighed as among all of the owner's memories."""
    shelf = _shelf_of(ground.shelf.part, encoder, found.rows)
    rows_with = dict(zip(query_terms(wanted.text), found.rows_with, strict=False))
    average = ground.shelf.words.total / max(1, ground.shelf.words.rows)
    shelf.words.stand_for(ground.total, round(average * ground.total), rows_with)
    # A set that a filter has selected, and that is here whole, is weighed by what is rare in it, as everywhere.
    shelf.vectors.weigh_as(ground.shelf.vectors, named=not found.complete)
    if not found.complete:
        shelf.ground, shelf.times = ground.shelf, ground.total / max(1, ground.shelf.alive)
    return shelf
