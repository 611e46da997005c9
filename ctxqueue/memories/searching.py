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
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from ctxqueue.memories.shelf import Shelf
    from ctxqueue.memories.vectors import Compared
    from ctxqueue.memories.weights import Weights

SHORTLIST, LONGEST_SHORTLIST = 100, 1_000
"""Candidates whose tokens are compared one by one: as many of the best, or all where they are not more than that."""


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
    within: NDArray[np.int64] | None = None
    """The slots of the named set that they are some of; None: the set has no name."""
    places: NDArray[np.int64] | None = None
    """Where in that set they are; None: all of it."""
    name: Hashable = None

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
    compared = [_compared(pool, query.vector) for pool in pools]
    alike = _standardised([each.cosines for each in compared])
    found: list[Hit] = []
    for pool, by_words, (cosine, best_matches), by_cosine in zip(pools, words, compared, alike, strict=True):
        parts = {"words": weights.words * by_words, "cosine": weights.cosine * by_cosine}
        score = parts["words"] + parts["cosine"]
        if best_matches is not None and weights.tokens:
            parts["tokens"] = weights.tokens * _by_tokens(pool, score, best_matches)
            score = score + parts["tokens"]
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
    within = _by_metadata(shelf, query.where)
    mask: NDArray[np.bool_] | None = None

    def also(condition: NDArray[np.bool_]) -> None:
        nonlocal mask
        mask = condition if mask is None else mask & condition

    pool = _Pool(shelf, within, within, None, _name_of(query.where))
    if shelf.alive < len(shelf.rows):
        also(pool.column("live"))
    if shelf.expiring:
        expires = pool.column("expires_us")
        also((expires == 0) | (expires > query.now_us))
    if set(query.kinds) != set(KINDS):
        also(np.isin(pool.column("kind"), [KINDS.index(kind) for kind in query.kinds]))
    if query.since_us is not None:
        also(pool.column("at_us") >= query.since_us)
    if query.until_us is not None:
        also(pool.column("at_us") < query.until_us)
    if mask is None or mask.all():
        return pool
    places = np.flatnonzero(mask)
    return pool._replace(slots=places if within is None else within[places], places=places)


def _name_of(where: Mapping[str, Any]) -> Hashable:
    """Return a name for what a filter on plain metadata selects; None if there is none."""
    if not where or not all(is_plain(value) for value in where.values()):
        return None
    return tuple(sorted((key, type(value).__name__, value) for key, value in where.items()))


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


def _compared(pool: _Pool, vector: bytes) -> Compared:
    live = pool.shelf.alive
    if pool.within is None or pool.name is None:
        return pool.shelf.vectors.compare(vector, pool.slots, live, None)
    compared = pool.shelf.vectors.compare(vector, pool.within, live, pool.name)
    return compared if pool.places is None else compared._replace(cosines=compared.cosines[pool.places])


def _by_tokens(pool: _Pool, score: Any, best_matches: Callable[[NDArray[np.int64]], NDArray[np.float32]]) -> Any:
    """Return the standardised matches of the shortlist's tokens; what is not on it gets the least of them."""
    most = len(score) if len(score) <= LONGEST_SHORTLIST else SHORTLIST
    places = np.arange(len(score)) if most == len(score) else np.argpartition(score, -most)[-most:]
    (matches,) = _standardised([best_matches(places if pool.slots is None else pool.slots[places])])
    if most == len(score):
        return matches
    part = np.full(len(score), matches.min())
    part[places] = matches
    return part


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

    if pool.shelf.sequenced:
        add("neighbours", _of_neighbours(pool, weights, score))
    if pool.shelf.speakers and weights.speaker:
        named = _named_speakers(pool.shelf, query.text)
        if named:
            add("speaker", weights.speaker * np.isin(pool.column("speaker"), named))
    if pool.shelf.in_sessions and weights.session:
        add("session", weights.session * _of_sessions(pool.column("session"), score))
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
    """Return what the two before and the two after in the same session add: no less than nothing."""
    sessions, sequence, asks = pool.column("session"), pool.column("sequence"), pool.column("asks")
    order = np.lexsort((sequence, sessions))
    order = order[(sessions[order] != NONE) & (sequence[order] != NONE)]
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


def _best(score: Any, limit: int) -> Any:
    """Return the places of the highest, highest first; the newer first of those that are alike."""
    if limit < len(score):
        threshold = np.partition(score, len(score) - limit)[len(score) - limit]
        places = np.flatnonzero(score >= threshold)
    else:
        places = np.arange(len(score))
    return places[np.lexsort((-places, -score[places]))][:limit]
