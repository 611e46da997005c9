"""The vectors of one owner's rows as a matrix: as they came, or pooled from tokens by how rare those are there."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ctxqueue.memories.encoding import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

POOLED_AT_ONCE = 64
"""Rows whose tokens have room in a processor's cache: by 2,000 it takes twice as long."""
MOST_SETS, LARGEST_SET = 64, 5_000
"""Named sets of rows whose own weights are kept, and rows of one: in larger ones tokens are as rare as among all."""
GROWTH = 1.1
"""Rows are pooled anew once there are so many times as many, or as few: by then other tokens are rare."""


class Compared(NamedTuple):
    """How alike a query's vector and those of some rows are."""

    cosines: NDArray[np.float32]
    best_matches: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None
    """The same token by token, of rows by their slots, where tokens have vectors."""


class Vectors(Protocol):
    """The vectors of rows, one slot after another."""

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        ...

    def compare(self, query: bytes, slots: NDArray[np.int64] | None, live: int, name: Hashable) -> Compared:
        """Compare a query with all rows, or some; ``name`` is that of a set which may be asked for again."""
        ...

    def between(self, slot: int) -> NDArray[np.float32]:
        """Compare one row with all."""
        ...

    def made(self, vector: bytes) -> bytes:
        """Return what a row keeps of its vector as the vector that is compared, of these rows' weights."""
        ...

    def weigh_as(self, others: Any, *, named: bool) -> None:
        """Take the weights of other rows; in sets that have a name, too, or not."""
        ...


class PlainVectors:
    """As the embedder made them, in one array, which doubles when it is full."""

    def __init__(self, dimension: int) -> None:
        self._array: NDArray[np.float32] = np.zeros((16, dimension), dtype=np.float32)
        self._rows = 0

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        if self._rows == len(self._array):
            self._array = np.concatenate([self._array, np.zeros_like(self._array)])
        self._array[self._rows] = np.frombuffer(vector, dtype="<f4")
        self._rows += 1

    def compare(self, query: bytes, slots: NDArray[np.int64] | None, live: int, name: Hashable) -> Compared:  # noqa: ARG002 - as pooled ones need it
        """Compare a query with all rows, or some."""
        matrix = self._array[: self._rows] if slots is None else self._array[slots]
        return Compared(matrix @ np.frombuffer(query, dtype="<f4").astype(np.float32), None)

    def between(self, slot: int) -> NDArray[np.float32]:
        """Compare one row with all."""
        matrix = self._array[: self._rows]
        alike: NDArray[np.float32] = matrix @ matrix[slot]
        return alike

    def made(self, vector: bytes) -> bytes:
        """Return it as it is."""
        return vector

    def weigh_as(self, others: Any, *, named: bool) -> None:
        """Do nothing: no row is weighed by others."""


class PooledVectors:
    """Pooled from tokens, by how rare those are among the rows that are searched."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self._tokens = Tokens(table)
        self._all = Pooled(self._tokens)
        self._every: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._sets: OrderedDict[Hashable, Pooled] = OrderedDict()
        self._of_sets: NDArray[np.float32] | None = None
        """The weights of sets that have a name, if they are not each set's own."""

    def add(self, vector: bytes) -> None:
        """Enter the next row."""
        self._tokens.rows.append(np.frombuffer(vector, dtype="<u4"))

    def compare(self, query: bytes, slots: NDArray[np.int64] | None, live: int, name: Hashable) -> Compared:
        """Compare a query with all rows, or some; small sets that are asked for by name have weights of their own."""
        if slots is None:
            pooled, matrix = self._all, self._all.matrix(self._every_slot(), live)
        elif name is not None and len(slots) <= LARGEST_SET:
            pooled = self._sets.setdefault(name, Pooled(self._tokens, self._of_sets))
            self._sets.move_to_end(name)
            while len(self._sets) > MOST_SETS:
                self._sets.popitem(last=False)
            matrix = pooled.matrix(slots)
        else:
            pooled, matrix = self._all, self._all.matrix(self._every_slot(), live)[slots]
        tokens = np.frombuffer(query, dtype="<u4")
        return Compared(matrix @ pooled.query(query), lambda rows: pooled.best_matches(rows, tokens))

    def _every_slot(self) -> NDArray[np.int64]:
        if len(self._every) != len(self._tokens.rows):
            self._every = np.arange(len(self._tokens.rows))
        return self._every

    def between(self, slot: int) -> NDArray[np.float32]:
        """Compare one row with all."""
        matrix = self._all.matrix(self._every_slot())
        alike: NDArray[np.float32] = matrix @ matrix[slot]
        return alike

    def made(self, vector: bytes) -> bytes:
        """Pool the tokens by how rare they are among all rows."""
        self._all.matrix(self._every_slot())
        return self._all.query(vector).astype("<f4").tobytes()

    def weigh_as(self, others: PooledVectors, *, named: bool) -> None:
        """Take the weights of other rows; in sets that have a name, too, or not."""
        others._all.matrix(others._every_slot())
        self._all = Pooled(self._tokens, others._all.weights)
        self._of_sets = self._all.weights if named else None


class Tokens:
    """The tokens of rows, and how rare each is among some of them."""

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table
        lengths = np.linalg.norm(table, axis=1)
        self.scale: NDArray[np.float32] = (1 / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        self.rows: list[NDArray[np.uint32]] = []

    def rows_with(self, slots: Sequence[int]) -> NDArray[np.int64]:
        """Return for each token how many of the rows have it."""
        unique = [np.unique(self.rows[slot]) for slot in slots]
        return np.bincount(np.concatenate(unique), minlength=len(self.table)) if unique else self._none()

    def _none(self) -> NDArray[np.int64]:
        return np.zeros(len(self.table), dtype=np.int64)

    def pool(self, rows: Sequence[NDArray[np.uint32]], weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``normalise(sum weight(t) E[t])`` of each row."""
        sums = np.zeros((len(rows), self.table.shape[1]), dtype=np.float32)
        lengths = np.array([len(tokens) for tokens in rows])
        filled = np.flatnonzero(lengths)
        if len(filled):
            tokens = np.concatenate([rows[int(row)] for row in filled])
            starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
            sums[filled] = np.add.reduceat(self.table[tokens] * weights[tokens, None], starts, axis=0)
        return unit(sums)

    def laid_out(self, slots: NDArray[np.int64]) -> Layout:
        """Return the tokens of some rows in one piece."""
        rows = [self.rows[slot] for slot in slots.tolist()]
        lengths = np.array([len(tokens) for tokens in rows], dtype=np.int64)
        filled = np.flatnonzero(lengths)
        flat = np.concatenate(rows) if len(filled) else np.zeros(0, dtype=np.uint32)
        tokens, place = np.unique(flat, return_inverse=True)
        starts = np.cumsum(lengths[filled]) - lengths[filled]
        return Layout(len(rows), filled, tokens, place, starts)

    def best_matches(
        self, rows: Layout, query: NDArray[np.uint32], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return for each row how alike its most similar token is to each of the query's, by weight."""
        best = np.zeros(rows.size, dtype=np.float32)
        total = float(weights[query].sum())
        if len(rows.filled) and total:
            wanted = self.table[query] * (self.scale[query] * weights[query] / total)[:, None]
            # With their weights already, as those are the same for all rows.
            alike = wanted @ (self.table[rows.tokens] * self.scale[rows.tokens, None]).T
            best[rows.filled] = np.maximum.reduceat(alike[:, rows.place], rows.starts, axis=1).sum(axis=0)
        return best


class Layout(NamedTuple):
    """The tokens of some rows: those there are, where each row's are among them, and where a row begins."""

    size: int
    filled: NDArray[np.int64]
    """The rows that have tokens at all."""
    tokens: NDArray[np.uint32]
    place: NDArray[np.int64]
    starts: NDArray[np.int64]


def rarity(rows: int, rows_with: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return idf = ln(1 + (N - df + .5) / (df + .5))."""
    weights: NDArray[np.float32] = np.log1p(np.maximum((rows - rows_with + 0.5) / (rows_with + 0.5), 0)).astype(
        np.float32
    )
    return weights


class Pooled:
    """Some rows pooled by how rare their tokens are among them, query and rows alike."""

    def __init__(self, tokens: Tokens, weights: NDArray[np.float32] | None = None) -> None:
        self._tokens = tokens
        self._given = weights is not None
        self._slots: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._layout: Layout | None = None
        self._weighed_at = 0
        """Rows when the weights were last set."""
        self.weights: NDArray[np.float32] = np.ones(len(tokens.table), dtype=np.float32) if weights is None else weights
        self._matrix: NDArray[np.float32] = np.zeros((16, tokens.table.shape[1]), dtype=np.float32)

    def matrix(self, slots: NDArray[np.int64], counted: int | None = None) -> NDArray[np.float32]:
        """Return the vectors of these rows, pooled anew where that is due; ``counted`` of them are live."""
        rows = len(slots) if counted is None else counted
        known = len(self._slots)
        same = slots is self._slots or (known <= len(slots) and np.array_equal(slots[:known], self._slots))
        stale = not self._given and not self._weighed_at / GROWTH < rows < self._weighed_at * GROWTH
        if not same or stale:
            if not self._given:
                self.weights = rarity(len(slots), self._tokens.rows_with(slots.tolist()))
            self._weighed_at = rows
            known = 0
            self._layout = None
        if len(slots) > len(self._matrix):
            grown = np.zeros((max(len(slots), 2 * len(self._matrix)), self._matrix.shape[1]), dtype=np.float32)
            grown[:known] = self._matrix[:known]
            self._matrix = grown
        while known < len(slots):
            end = min(len(slots), known + POOLED_AT_ONCE)
            rows_here = [self._tokens.rows[int(slot)] for slot in slots[known:end]]
            self._matrix[known:end] = self._tokens.pool(rows_here, self.weights)
            known = end
        self._slots = slots
        return self._matrix[: len(slots)]

    def best_matches(self, slots: NDArray[np.int64], query: NDArray[np.uint32]) -> NDArray[np.float32]:
        """Compare some rows token by token; how a set's tokens stand is kept for the next query."""
        if not np.array_equal(slots, self._slots):
            return self._tokens.best_matches(self._tokens.laid_out(slots), query, self.weights)
        if self._layout is None or self._layout.size != len(slots):
            self._layout = self._tokens.laid_out(slots)
        return self._tokens.best_matches(self._layout, query, self.weights)

    def query(self, vector: bytes) -> NDArray[np.float32]:
        """Return a query's vector; of `matrix`'s weights, so after it."""
        pooled: NDArray[np.float32] = self._tokens.pool([np.frombuffer(vector, dtype="<u4")], self.weights)[0]
        return pooled
