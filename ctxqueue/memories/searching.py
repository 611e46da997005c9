"""Which memories a query finds: filters first, then scores over all that is left, then the best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ctxqueue.memories.shelf import NONE, is_plain
from ctxqueue.memories.words import plain_words, stems
from ctxqueue.remembered import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ctxqueue.memories.shelf import Shelf
    from ctxqueue.memories.weights import Weights

BEST_OF_SESSION = 3
Floats = "NDArray[np.float64]"


@dataclass(frozen=True)
class Query:
    """What is looked for, and among which memories."""

    text: str
    vector: bytes
    now_us: int
    limit: int = 5
    kinds: tuple[str, ...] = KINDS
    where: Mapping[str, Any] = field(default_factory=dict)
    since_us: int | None = None
    until_us: int | None = None
    min_score: float | None = None
    """Of the cosine."""


class Hit(NamedTuple):
    """One memory that was found: where, and what its score is made of."""

    shelf: Shelf
    slot: int
    score: float
    cosine: float
    parts: dict[str, float]


class _Pool(NamedTuple):
    """A shelf's candidates: all its slots (None), or some."""

    shelf: Shelf
    slots: NDArray[np.int64] | None

    @property
    def size(self) -> int:
        return len(self.shelf.rows) if self.slots is None else len(self.slots)

    def column(self, name: str) -> NDArray[Any]:
        values = self.shelf.column(name)
        return values if self.slots is None else values[self.slots]


def search(shelves: Sequence[Shelf], query: Query, weights: Weights) -> list[Hit]:
    """Return the best, best first; raises ModelMismatch if a shelf has rows of another model."""
    pools = [pool for shelf in shelves if (pool := candidates(shelf, query)).size]
    for pool in pools:
        pool.shelf.check_model()
    if not pools:
        return []
    words = _standardised([_words(pool, pools, query.text) for pool in pools])
    cosines = [_cosines(pool, query.vector) for pool in pools]
    alike = _standardised(cosines)
    found: list[Hit] = []
    for pool, by_words, cosine, by_cosine in zip(pools, words, cosines, alike, strict=True):
        parts = {"words": weights.words * by_words, "cosine": weights.cosine * by_cosine}
        score = parts["words"] + parts["cosine"]
        score = _with_signals(pool, query, weights, score, parts)
        if query.min_score is not None:
            score = np.where(cosine >= query.min_score, score, -np.inf)
        for place in _best(score, query.limit):
            if score[place] > -np.inf:
                slot = int(place if pool.slots is None else pool.slots[place])
                made_of = {name: float(part[place]) for name, part in parts.items()}
                found.append(Hit(pool.shelf, slot, float(score[place]), float(cosine[place]), made_of))
    found.sort(key=lambda hit: (-hit.score, -hit.slot))
    return found[: query.limit]


def candidates(shelf: Shelf, query: Query) -> _Pool:
    """Return what passes the filters."""
    slots = _by_metadata(shelf, query.where)
    mask: NDArray[np.bool_] | None = None

    def also(condition: NDArray[np.bool_]) -> None:
        nonlocal mask
        mask = condition if mask is None else mask & condition

    pool = _Pool(shelf, slots)
    if shelf.alive < len(shelf.rows):
        also(pool.column("live"))
    expires = pool.column("expires_us")
    if expires.any():
        also((expires == 0) | (expires > query.now_us))
    if set(query.kinds) != set(KINDS):
        also(np.isin(pool.column("kind"), [KINDS.index(kind) for kind in query.kinds]))
    if query.since_us is not None:
        also(pool.column("at_us") >= query.since_us)
    if query.until_us is not None:
        also(pool.column("at_us") < query.until_us)
    if mask is None or mask.all():
        return pool
    passing = np.flatnonzero(mask)
    return _Pool(shelf, passing if slots is None else slots[passing])


def _by_metadata(shelf: Shelf, where: Mapping[str, Any]) -> NDArray[np.int64] | None:
    if not where:
        return None
    plain = [(key, value) for key, value in where.items() if is_plain(value)]
    slots: set[int] | None = None
    for facet in plain:
        having = shelf.having(facet)
        slots = set(having) if slots is None else slots.intersection(having)
    others = {key: value for key, value in where.items() if not is_plain(value)}
    if others:
        looked_at = range(len(shelf.rows)) if slots is None else slots
        slots = {slot for slot in looked_at if _has(shelf.metadata_of(slot), others)}
    return np.array(sorted(slots or ()), dtype=np.int64)


def _has(metadata: Mapping[str, Any], items: Mapping[str, Any]) -> bool:
    return all(key in metadata and metadata[key] == value for key, value in items.items())


def _words(pool: _Pool, pools: Sequence[_Pool], text: str) -> NDArray[np.float64]:
    """Return BM25 of a pool's candidates; what is rare is so among all that is looked at."""
    rows = sum(each.shelf.words.rows for each in pools)
    average = sum(each.shelf.words.total for each in pools) / rows or 1.0
    weights = []
    for term in sorted(set(stems(text))):
        rows_with = sum(each.shelf.words.rows_with(term) for each in pools)
        weights.append((term, math.log1p((rows - rows_with + 0.5) / (rows_with + 0.5))))
    slots, scores = pool.shelf.words.scores(weights, average)
    everywhere = np.zeros(len(pool.shelf.rows))
    everywhere[slots] = scores
    return everywhere if pool.slots is None else everywhere[pool.slots]


def _cosines(pool: _Pool, vector: bytes) -> NDArray[np.float32]:
    matrix = pool.shelf.vectors.matrix()
    query = pool.shelf.vectors.query(vector)
    cosines: NDArray[np.float32] = (matrix if pool.slots is None else matrix[pool.slots]) @ query
    return cosines


def _standardised(parts: list[Any]) -> list[Any]:
    """Return how many standard deviations each value is from the mean of all."""
    size = sum(len(part) for part in parts)
    mean = sum(float(part.sum()) for part in parts) / size
    variance = sum(float(np.square(part - mean).sum()) for part in parts) / size
    deviation = math.sqrt(variance)
    if deviation < 1e-9:  # noqa: PLR2004 - all alike, but for rounding
        return [np.zeros(len(part)) for part in parts]
    return [(part - mean) / deviation for part in parts]


def _with_signals(pool: _Pool, query: Query, weights: Weights, score: Any, parts: dict[str, Any]) -> Any:
    """Add what depends on a row's neighbours and on the row itself."""

    def add(name: str, part: Any) -> None:
        nonlocal score
        parts[name] = part
        score = score + part

    if pool.shelf.speakers and weights.speaker:
        named = _named_speakers(pool.shelf, query.text)
        if named:
            add("speaker", weights.speaker * np.isin(pool.column("speaker"), named))
    if pool.shelf.sequenced:
        add("neighbours", _of_neighbours(pool, weights, score))
    sessions = pool.column("session")
    if weights.session and (sessions != NONE).any():
        add("session", weights.session * _of_sessions(sessions, score))
    importance = pool.column("importance")
    if weights.importance and (importance != 0.5).any():  # noqa: PLR2004 - what it is if nothing was said
        add("importance", weights.importance * (importance - 0.5))
    if weights.recency:
        age = np.maximum(query.now_us - pool.column("at_us"), 0) / (weights.half_life * 1e6)
        add("recency", weights.recency * np.exp2(-age))
    accesses = pool.column("accesses")
    if weights.access and accesses.any():
        add("access", weights.access * np.log1p(accesses))
    return score


def _named_speakers(shelf: Shelf, text: str) -> list[int]:
    words = set(plain_words(text))
    return [code for code, name in shelf.speakers.items() if (own := set(plain_words(name))) and own <= words]


def _of_neighbours(pool: _Pool, weights: Weights, score: Any) -> Any:
    sessions, sequence = pool.column("session"), pool.column("sequence")
    order = np.lexsort((sequence, sessions))
    before, after = order[:-1], order[1:]
    together = (sessions[before] == sessions[after]) & (sessions[before] != NONE) & (sequence[before] != NONE)
    before, after = before[together], after[together]
    part = np.zeros(len(score))
    part[after] += weights.asked_before * score[before] * pool.column("asks")[before]
    part[before] += weights.said_after * score[after]
    return part


def _of_sessions(sessions: NDArray[np.int32], score: Any) -> Any:
    """Return the mean of the best three of each one's session."""
    order = np.lexsort((-score, sessions))
    coded = sessions[order]
    first = np.flatnonzero(np.r_[True, coded[1:] != coded[:-1]])
    lengths = np.diff(np.r_[first, len(coded)])
    place = np.arange(len(coded)) - np.repeat(first, lengths)
    counted = place < BEST_OF_SESSION
    sums = np.add.reduceat(np.where(counted, score[order], 0), first)
    means = sums / np.minimum(lengths, BEST_OF_SESSION)
    part = np.zeros(len(score))
    part[order] = np.repeat(np.where(coded[first] == NONE, 0, means), lengths)
    return part


def _best(score: Any, limit: int) -> Any:
    """Return the places of the highest, highest first; the newer first of those that are alike."""
    if limit < len(score):
        threshold = np.partition(score, len(score) - limit)[len(score) - limit]
        places = np.flatnonzero(score >= threshold)
    else:
        places = np.arange(len(score))
    return places[np.lexsort((-places, -score[places]))][:limit]
