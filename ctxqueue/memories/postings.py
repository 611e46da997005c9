"""BM25 over rows that come and go.

Not a library's index: those are built once for all documents, and a new memory would mean building it again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

K1, B = 0.9, 0.3
"""Chosen on the development half of LoCoMo; memories are short and their lengths say little."""


class Postings:
    """For each term the slots that have it, and how often. One that is gone stays listed."""

    def __init__(self) -> None:
        self._slots: dict[str, array[int]] = {}
        self._times: dict[str, array[int]] = {}
        self._rows_with: Counter[str] = Counter()
        self._lengths: array[int] = array("q")
        self.rows = 0
        self.total = 0
        """Terms of all rows."""

    def add(self, slot: int, terms: Sequence[str]) -> None:
        """Enter a row; slots rise by one each."""
        for term, times in Counter(terms).items():
            if term not in self._slots:
                self._slots[term], self._times[term] = array("q"), array("q")
            self._slots[term].append(slot)
            self._times[term].append(times)
            self._rows_with[term] += 1
        self._lengths.append(len(terms))
        self.rows += 1
        self.total += len(terms)

    def remove(self, terms: Sequence[str]) -> None:
        """Let a row count no more."""
        self._rows_with.subtract(set(terms))
        self.rows -= 1
        self.total -= len(terms)

    def rows_with(self, term: str) -> int:
        """Return how many rows have a term."""
        return self._rows_with[term]

    def scores(
        self, weights: Iterable[tuple[str, float]], average: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the slots that have one of the terms, sorted, and their sums; gone ones too."""
        lengths = np.frombuffer(self._lengths, dtype=np.int64) if self._lengths else np.zeros(0, dtype=np.int64)
        found, parts = [], []
        for term, weight in weights:
            if term not in self._slots:
                continue
            slots = np.frombuffer(self._slots[term], dtype=np.int64)
            times = np.frombuffer(self._times[term], dtype=np.int64)
            norm = K1 * (1 - B + B * lengths[slots] / average)
            found.append(slots)
            parts.append(weight * times * (K1 + 1) / (times + norm))
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        everywhere, place = np.unique(np.concatenate(found), return_inverse=True)
        sums: NDArray[np.float64] = np.bincount(place, weights=np.concatenate(parts), minlength=len(everywhere)).astype(
            np.float64, copy=False
        )
        return everywhere, sums
