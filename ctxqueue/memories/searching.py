"""Which memories a query finds: filters first, then scores over all that is left, then the best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ctxqueue.memories import signals
from ctxqueue.memories.filtering import candidates
from ctxqueue.memories.words import stems

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ctxqueue.memories.filtering import Pool, Query
    from ctxqueue.memories.shelf import Shelf
    from ctxqueue.memories.vectors import Compared
    from ctxqueue.memories.weights import Weights

SHORTLIST, SHORTLIST_OF_MANY, MANY = 1_000, 30, 2_000
"""Of the best candidates, how many have their tokens compared one by one; fewer where there are many: it costs as much
as a third of the rest."""
LOOKED_AROUND = 100
"""Of many, around how many of the best it is looked at what else was said: around all it costs as much as the rest."""
LEAST_GROUND = 30
"""Rows by which one can tell how far scores are spread."""


class Hit(NamedTuple):
    """One memory that was found: where, and what its score is made of."""

    shelf: Shelf
    slot: int
    score: float
    cosine: float
    parts: dict[str, float]


class _Part(NamedTuple):
    """What one measure adds to the scores: how far its values are from their mean, times a factor."""

    values: NDArray[np.float32]
    mean: float
    factor: float

    def of(self, place: int) -> float:
        return (float(self.values[place]) - self.mean) * self.factor


def search(shelves: Sequence[Shelf], query: Query, weights: Weights) -> list[Hit]:
    """Return the best, best first; raises ModelMismatch if a shelf has rows of another model."""
    pools = [pool for shelf in shelves if (pool := candidates(shelf, query)).size]
    for pool in pools:
        pool.shelf.check_model()
    if not pools:
        return []
    compared = [_compared(pool, query.vector) for pool in pools]
    measured_words = _Words(pools, query.text)
    grounds = [_ground(pool, query) for pool in pools]
    words = _standardised(
        [measured_words.of(pool) for pool in pools],
        weights.words,
        [ground and (measured_words.of(ground[0]), ground[1]) for ground in grounds],
    )
    cosines = _standardised(
        [each.cosines for each in compared],
        weights.cosine,
        [ground and (_compared(ground[0], query.vector).cosines, ground[1]) for ground in grounds],
    )
    found = [
        hit
        for pool, matching, *measured in zip(pools, compared, words, cosines, strict=True)
        for hit in _ranked(pool, query, weights, matching, {"words": measured[0], "cosine": measured[1]})
    ]
    found.sort(key=lambda hit: (-hit.score, -hit.slot))
    return found[: query.limit]


def _ranked(pool: Pool, query: Query, weights: Weights, compared: Compared, measured: dict[str, _Part]) -> list[Hit]:
    """Return the best of one shelf."""
    score = _sum(list(measured.values()))
    parts: dict[str, Any] = {}
    if compared.best_matches is not None and weights.tokens:
        parts["tokens"] = weights.tokens * _by_tokens(pool, query, score, compared.best_matches)
        score += parts["tokens"]
    cosines = compared.cosines
    if pool.size > MANY:
        places = _likely(pool, query, weights, score, cosines)
        pool = pool._replace(slots=pool.at(places), within=None, places=None, name=None)
        score, cosines, parts = score[places], cosines[places], {name: part[places] for name, part in parts.items()}
        measured = {name: part._replace(values=part.values[places]) for name, part in measured.items()}
    for name, part in signals.of_conversation(pool, query, weights, score):
        parts[name] = part
        score = score + part
    followed = signals.of_relations(pool, weights, score)
    if followed is not None:
        parts["relations"] = followed
        score = score + followed
    if query.min_score is not None:
        score = np.where(cosines >= query.min_score, score, -np.inf)
    places = _within_reach(score, query.limit, signals.most_of_itself(pool, weights))
    own = dict(signals.of_itself(pool, query, weights, places))
    total = score[places] + sum(own.values())
    hits = []
    for nth in _best(total, query.limit):
        place = int(places[nth])
        made_of = {name: part.of(place) for name, part in measured.items()}
        made_of |= {name: float(part[place]) for name, part in parts.items()}
        made_of |= {name: float(part[nth]) for name, part in own.items()}
        slot = int(pool.at(places[nth : nth + 1])[0])
        hits.append(Hit(pool.shelf, slot, float(total[nth]), float(cosines[place]), made_of))
    return hits


def _likely(pool: Pool, query: Query, weights: Weights, score: Any, cosines: Any) -> NDArray[np.int64]:
    """Return the places of those of many that are looked at further: the best so far, and what stands around them."""
    spoken = signals.of_speakers(pool, query, weights)
    likely = score if spoken is None else score + spoken
    if query.min_score is not None:
        likely = np.where(cosines >= query.min_score, likely, -np.inf)
    best = _within_reach(likely, max(LOOKED_AROUND, query.limit), signals.most_of_itself(pool, weights))
    return signals.around(pool, best)


def _sum(parts: list[_Part]) -> NDArray[np.float32]:
    """Return the scores, in as few passes as there are parts."""
    score = parts[0].values * np.float32(parts[0].factor)
    for part in parts[1:]:
        score += part.values * np.float32(part.factor)
    score -= np.float32(sum(part.mean * part.factor for part in parts))
    return score


class _Words:
    """BM25 of a query; what is rare is so among all that is looked at."""

    def __init__(self, pools: Sequence[Pool], text: str) -> None:
        rows = sum(each.shelf.words.rows for each in pools)
        self._average = sum(each.shelf.words.total for each in pools) / rows or 1.0
        self._weights = []
        for term in sorted(set(stems(text))):
            rows_with = sum(each.shelf.words.rows_with(term) for each in pools)
            self._weights.append((term, math.log1p(max(0.0, (rows - rows_with + 0.5) / (rows_with + 0.5)))))

    def of(self, pool: Pool) -> NDArray[np.float32]:
        """Return the scores of a pool's candidates."""
        scores = pool.shelf.words.scores(self._weights, self._average)
        return scores if pool.slots is None else scores[pool.slots]


def _ground(pool: Pool, query: Query) -> tuple[Pool, float] | None:
    """Return what stands for all that pass the filters, where only the likely ones of them are here."""
    if pool.shelf.ground is None:
        return None
    some = candidates(pool.shelf.ground, query)
    return (some, pool.shelf.times) if some.size >= LEAST_GROUND else None


def _compared(pool: Pool, vector: bytes) -> Compared:
    live = pool.shelf.alive
    if pool.within is None or pool.name is None:
        return pool.shelf.vectors.compare(vector, pool.slots, live, None)
    compared = pool.shelf.vectors.compare(vector, pool.within, live, pool.name)
    return compared if pool.places is None else compared._replace(cosines=compared.cosines[pool.places])


def _by_tokens(
    pool: Pool, query: Query, score: Any, best_matches: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the standardised matches of the shortlist's tokens; what is not on it gets the least of them."""
    size = len(score)
    most = min(size, max(SHORTLIST if size <= MANY else SHORTLIST_OF_MANY, query.limit))
    places = np.arange(size) if most == size else np.argpartition(score, -most)[-most:]
    (part,) = _standardised([best_matches(pool.at(places))], 1.0)
    matches = _sum([part])
    if most == size:
        return matches
    everywhere = np.full(size, matches.min(), dtype=np.float32)
    everywhere[places] = matches
    return everywhere


def _standardised(
    measured: list[NDArray[np.float32]], weight: float, grounds: Sequence[tuple[NDArray[np.float32], float] | None] = ()
) -> list[_Part]:
    """Return each as so many standard deviations from the mean of all, by weight.

    Where a ground is given, its values are those of all, each so many times.
    """
    all_of_them = [
        ground or (values, 1.0) for values, ground in zip(measured, grounds or [None] * len(measured), strict=True)
    ]
    size = sum(len(values) * times for values, times in all_of_them)
    mean = sum(float(values.sum(dtype=np.float64)) * times for values, times in all_of_them) / size
    squares = sum(float(np.dot(values, values)) * times for values, times in all_of_them) / size
    variance = squares - mean * mean
    alike = variance <= 1e-6 * squares or variance <= 0  # but for rounding
    factor = 0.0 if alike else weight / math.sqrt(variance)
    return [_Part(values, mean, factor) for values in measured]


def _within_reach(score: Any, limit: int, apart: float) -> NDArray[np.int64]:
    """Return the places of those that can still be among the best, if up to so much is added to some."""
    if limit >= len(score):
        return np.flatnonzero(score > -np.inf)
    threshold = np.partition(score, len(score) - limit)[len(score) - limit]
    return np.flatnonzero((score >= threshold - apart) & (score > -np.inf))


def _best(score: Any, limit: int) -> Any:
    """Return the places of the highest, highest first; the newer first of those that are alike."""
    if limit < len(score):
        threshold = np.partition(score, len(score) - limit)[len(score) - limit]
        places = np.flatnonzero(score >= threshold)
    else:
        places = np.arange(len(score))
    return places[np.lexsort((-places, -score[places]))][:limit]
