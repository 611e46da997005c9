"""BM25 over rows that come and go.

Not a library's index: those are built once for all documents, and a new memory would mean building it again.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

K1, B = 0.9, 0.3
"""Chosen on the development half of LoCoMo; memories are short and their lengths say little."""


class Postings:
    """For each term the slots that have it, and how often. One that is gone stays listed."""

    def __init__(self) -> None:
        self._slots: dict[str, array[int]] = {}
        self._times: dict[str, array[int]] = {}
        self._rows_with: Counter[str] = Counter()
        self._lengths: array[int] = array("i")
        self.rows = 0
        self.total = 0
        """Terms of all rows."""

    def add(self, slot: int, terms: Sequence[str]) -> None:
        """Enter a row; slots rise by one each."""
        for term, times in Counter(terms).items():
            if term not in self._slots:
                self._slots[term], self._times[term] = array("i"), array("i")
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

    def stand_for(self, rows: int, total: int, rows_with: Mapping[str, int]) -> None:
        """Let terms be as rare as they are among more rows than are entered here."""
        self.rows, self.total = rows, total
        self._rows_with.update({term: number - self._rows_with[term] for term, number in rows_with.items()})

    def rows_with(self, term: str) -> int:
        """Return how many rows have a term."""
        return self._rows_with[term]

    def scores(self, weights: Iterable[tuple[str, float]], average: float) -> NDArray[np.float32]:
        """Return the sums of all slots; gone ones have some too."""
        lengths = np.frombuffer(self._lengths, dtype=np.int32) if self._lengths else np.zeros(0, dtype=np.int32)
        sums = np.zeros(len(lengths), dtype=np.float32)
        for term, weight in weights:
            if term in self._slots:
                slots = np.frombuffer(self._slots[term], dtype=np.int32)
                times = np.frombuffer(self._times[term], dtype=np.int32).astype(np.float32)
                norm = lengths[slots] * np.float32(K1 * B / average)
                norm += times
                norm += np.float32(K1 * (1 - B))
                times /= norm
                times *= np.float32(weight * (K1 + 1))
                sums[slots] += times
        return sums
