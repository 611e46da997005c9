"""What a memory's place in a conversation, and what is known of it, add to its score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ctxqueue.memories.shelf import NONE
from ctxqueue.memories.words import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ctxqueue.memories.filtering import Pool, Query
    from ctxqueue.memories.shelf import Shelf
    from ctxqueue.memories.weights import Weights

FOLLOWED = 10
"""Of the best, how many have their relations followed."""
NOTHING_SAID = 0.5
"""Importance where none was given."""


def of_conversation(pool: Pool, query: Query, weights: Weights, score: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts that neighbours, speakers and sessions add, and questions lose, each laid on before the next."""
    if pool.shelf.sequenced:
        part = _of_neighbours(pool, weights, score)
        score = score + part
        yield "neighbours", part
    spoken = of_speakers(pool, query, weights)
    if spoken is not None:
        score = score + spoken
        yield "speaker", spoken
    if pool.shelf.in_sessions and weights.session:
        yield "session", weights.session * _of_sessions(pool.column("session"), score)
    if pool.shelf.sequenced and weights.question:
        asks = pool.column("asks") & (pool.column("session") != NONE)
        yield "question", np.where(asks, -weights.question, 0.0)


def of_speakers(pool: Pool, query: Query, weights: Weights) -> Any:
    """Return what it adds to be said by whom the query names; None if it names nobody."""
    named = _named_speakers(pool.shelf, query.text) if pool.shelf.speakers and weights.speaker else []
    return np.float32(weights.speaker) * np.isin(pool.column("speaker"), named) if named else None


def around(pool: Pool, best: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of some of the best, of what was said in their sessions, and of what they name as related."""
    there = np.zeros(pool.size, dtype=np.bool_)
    there[best] = True
    if pool.shelf.in_sessions:
        sessions = pool.column("session")
        theirs = np.zeros(int(sessions.max()) + 2, dtype=np.bool_)  # the last one is that of those without a session
        theirs[sessions[best]] = True
        theirs[NONE] = False
        there |= theirs[sessions]
    for slot in pool.at(best).tolist() if pool.shelf.related else ():
        for name in pool.shelf.related.get(slot, ()):
            there[pool.places_of(pool.shelf.having(("concept", name)))] = True
    return np.flatnonzero(there)


def of_relations(pool: Pool, weights: Weights, score: Any) -> Any:
    """Return what it adds to a concept that one of the best names as related to its own; None if there are none."""
    related = pool.shelf.related
    if not related or not weights.relations:
        return None
    best = np.argpartition(score, -FOLLOWED)[-FOLLOWED:] if len(score) > FOLLOWED else np.arange(len(score))
    part = np.zeros(len(score))
    for place, slot in zip(best.tolist(), pool.at(best).tolist(), strict=True):
        for name in related.get(slot, ()) if score[place] > 0 else ():
            places = pool.places_of(pool.shelf.having(("concept", name)))
            part[places] = np.maximum(part[places], weights.relations * score[place])
    return part


def most_of_itself(pool: Pool, weights: Weights) -> float:
    """Return how far apart what `of_itself` adds to two memories can be."""
    most = abs(weights.recency)
    if weights.importance:
        importance = pool.shelf.column("importance")
        most += abs(weights.importance) * float(importance.max() - importance.min())
    if weights.access:
        most += abs(weights.access) * float(np.log1p(pool.shelf.column("accesses").max()))
    return most


def of_itself(pool: Pool, query: Query, weights: Weights, places: NDArray[np.int64]) -> Iterator[tuple[str, Any]]:
    """Yield what importance, recency and use add to some candidates."""
    slots = pool.at(places)
    importance = pool.shelf.column("importance")[slots]
    if weights.importance and (importance != NOTHING_SAID).any():
        yield "importance", weights.importance * (importance - NOTHING_SAID)
    if weights.recency:
        age = np.maximum(query.now_us - pool.shelf.column("at_us")[slots], 0) / (weights.half_life * 1e6)
        yield "recency", weights.recency * np.exp2(-age)
    accesses = pool.shelf.column("accesses")[slots]
    if weights.access and accesses.any():
        yield "access", weights.access * np.log1p(accesses)


def _named_speakers(shelf: Shelf, text: str) -> list[int]:
    words = set(plain_words(text))
    return [code for code, name in shelf.speakers.items() if (own := set(plain_words(name))) and own <= words]


def _of_neighbours(pool: Pool, weights: Weights, score: Any) -> Any:
    """Return what the two before and the two after in the same session add: no less than nothing."""
    sessions, sequence, asks = pool.column("session"), pool.column("sequence"), pool.column("asks")
    order = np.lexsort((sequence, sessions))
    order = order[(sessions[order] != NONE) & ~np.isnan(sequence[order])]
    good = np.maximum(score, 0)
    part = np.zeros(len(score))
    for distance, before, after in ((1, weights.before, weights.after), (2, weights.two_before, weights.two_after)):
        first, second = order[:-distance], order[distance:]
        together = sessions[first] == sessions[second]
        first, second = first[together], second[together]
        part[first] += after * good[second]
        part[second] += before * good[first]
        if distance == 1:
            part[second] += weights.asked_before * good[first] * asks[first]
    return part


def _of_sessions(sessions: NDArray[np.int32], score: Any) -> Any:
    """Return the best score of each one's session."""
    best = np.full(int(sessions.max()) + 2, -np.inf)  # the last one is that of those without a session
    np.maximum.at(best, sessions, score)
    best[NONE] = 0
    return best[sessions]
