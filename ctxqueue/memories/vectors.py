"""The vectors of one owner's rows as a matrix: as they came, or pooled from tokens by how rare those are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ctxqueue.memories.encoding import unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

POOLED_AT_ONCE = 2_000
GROWTH = 1.1
"""Rows are pooled anew once there are so many times as many, or as few: by then other tokens are rare."""


class Vectors(Protocol):
    """A matrix that rows are added to, one slot after another."""

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        ...

    def remove(self, slot: int) -> None:
        """Let a row count no more."""
        ...

    def matrix(self) -> NDArray[np.float32]:
        """Return all rows, of unit length."""
        ...

    def query(self, vector: bytes) -> NDArray[np.float32]:
        """Return a query's vector, of unit length."""
        ...


class _Growing:
    """Rows in one array, which doubles when it is full."""

    def __init__(self, dimension: int) -> None:
        self._array: NDArray[np.float32] = np.zeros((16, dimension), dtype=np.float32)
        self._rows = 0

    def _append(self, row: NDArray[np.float32] | float) -> None:
        if self._rows == len(self._array):
            grown = np.zeros((2 * len(self._array), self._array.shape[1]), dtype=np.float32)
            grown[: self._rows] = self._array
            self._array = grown
        self._array[self._rows] = row
        self._rows += 1


class PlainVectors(_Growing):
    """As the embedder made them."""

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        self._append(np.frombuffer(vector, dtype="<f4"))

    def remove(self, slot: int) -> None:
        """Nothing depends on how many there are."""

    def matrix(self) -> NDArray[np.float32]:
        """Return all rows."""
        return self._array[: self._rows]

    def query(self, vector: bytes) -> NDArray[np.float32]:
        """Return a query's vector."""
        return np.frombuffer(vector, dtype="<f4").astype(np.float32)


class PooledVectors(_Growing):
    """Pooled by ``normalise(sum idf(t) E[t])``, idf = ln(1 + (N - df + .5) / (df + .5)), query and rows alike."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        super().__init__(table.shape[1])
        self._table = table
        self._tokens: list[NDArray[np.uint32]] = []
        self._rows_with = np.zeros(len(table), dtype=np.int64)
        self._counted = 0
        """Rows that count."""
        self._pooled_at = 0
        """Rows that counted when the weights were last set."""
        self._weights: NDArray[np.float32] = np.ones(len(table), dtype=np.float32)
        self._pooled = 0
        """Rows that have their vector."""

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        tokens = np.frombuffer(vector, dtype="<u4")
        self._tokens.append(tokens)
        self._rows_with[np.unique(tokens)] += 1
        self._counted += 1
        self._append(0.0)

    def remove(self, slot: int) -> None:
        """Let a row count no more."""
        self._rows_with[np.unique(self._tokens[slot])] -= 1
        self._counted -= 1

    def matrix(self) -> NDArray[np.float32]:
        """Return all rows, pooled anew where that is due."""
        if not self._pooled_at / GROWTH < self._counted < self._pooled_at * GROWTH:
            rare = (self._counted - self._rows_with + 0.5) / (self._rows_with + 0.5)
            self._weights = np.log1p(np.maximum(rare, 0)).astype(np.float32)
            self._pooled_at = self._counted
            self._pooled = 0
        while self._pooled < self._rows:
            end = min(self._rows, self._pooled + POOLED_AT_ONCE)
            self._array[self._pooled : end] = self._pool(self._tokens[self._pooled : end])
            self._pooled = end
        return self._array[: self._rows]

    def query(self, vector: bytes) -> NDArray[np.float32]:
        """Return a query's vector; of `matrix`'s weights, so after it."""
        pooled: NDArray[np.float32] = self._pool([np.frombuffer(vector, dtype="<u4")])[0]
        return pooled

    def _pool(self, rows: Sequence[NDArray[np.uint32]]) -> NDArray[np.float32]:
        sums = np.zeros((len(rows), self._table.shape[1]), dtype=np.float32)
        lengths = np.array([len(tokens) for tokens in rows])
        filled = np.flatnonzero(lengths)
        if len(filled):
            tokens = np.concatenate([rows[int(row)] for row in filled])
            starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
            sums[filled] = np.add.reduceat(self._table[tokens] * self._weights[tokens, None], starts, axis=0)
        return unit(sums)
