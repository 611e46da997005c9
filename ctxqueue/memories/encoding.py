"""From texts to what rows keep: checked, and each text made a vector once while it is remembered here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np

from ctxqueue.errors import CtxqueueError, DimensionMismatch, EmbedderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ctxqueue.memories.embedders import Embedder, PoolingEmbedder

CACHED = 4_096
"""Texts whose vectors are kept by default."""


class Encoder:
    """One embedder with its cache. Thread-safe if the embedder is."""

    def __init__(self, embedder: Embedder, *, cached: int = CACHED) -> None:
        self.embedder = embedder
        self.pools = callable(getattr(embedder, "tokens", None)) and hasattr(type(embedder), "table")
        self._model = ""
        self._most = cached
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._keeping = threading.Lock()

    @property
    def model(self) -> str:
        """What rows say of the embedder that made their vectors: name and dimension; raises EmbedderError."""
        if not self._model:
            with self._translated():
                self._model = f"{self.embedder.name}:{self.embedder.dimension}"
        return self._model

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except CtxqueueError:
            raise
        except Exception as error:
            raise EmbedderError(f"embedder {self.embedder.name!r} failed: {type(error).__name__}: {error}") from error

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Return what rows keep of each text's vector; raises EmbedderError, DimensionMismatch."""
        with self._keeping:
            found = {text: self._kept[text] for text in texts if text in self._kept}
        lacking = [text for text in dict.fromkeys(texts) if text not in found]
        if lacking:
            found.update(zip(lacking, self._made(lacking), strict=True))
        with self._keeping:
            for text in texts:
                self._kept[text] = found[text]
                self._kept.move_to_end(text)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return [found[text] for text in texts]

    def _made(self, texts: list[str]) -> list[bytes]:
        if self.pools:
            return self._tokens(texts)
        with self._translated():
            vectors = np.asarray(self.embedder.embed(texts), dtype=np.float32)
        self._check(vectors, len(texts))
        return [row.tobytes() for row in unit(vectors).astype("<f4")]

    def _tokens(self, texts: list[str]) -> list[bytes]:
        pooling, name = cast("PoolingEmbedder", self.embedder), self.embedder.name
        with self._translated():
            tokens = [np.asarray(ids, dtype=np.int64) for ids in pooling.tokens(texts)]
            known = len(pooling.table)
        if len(tokens) != len(texts):
            raise EmbedderError(f"embedder {name!r} returned the tokens of {len(tokens)} texts for {len(texts)}")
        if any(ids.ndim != 1 or (ids.size and not 0 <= ids.min() <= ids.max() < known) for ids in tokens):
            raise EmbedderError(f"embedder {name!r} returned tokens that are not in its table of {known}")
        return [ids.astype("<u4").tobytes() for ids in tokens]

    def _check(self, vectors: NDArray[np.float32], texts: int) -> None:
        name, dimension = self.embedder.name, self.embedder.dimension
        if vectors.ndim != 2 or len(vectors) != texts:  # noqa: PLR2004 - rows and columns
            raise EmbedderError(
                f"embedder {name!r} returned an array of shape {vectors.shape} for {texts} texts: one row a text"
            )
        if not vectors.shape[1]:
            raise EmbedderError(f"embedder {name!r} returned vectors of no numbers")
        if vectors.shape[1] != dimension:
            raise DimensionMismatch(
                f"embedder {name!r} returned vectors of {vectors.shape[1]} numbers, it says {dimension}"
            )
        if not np.isfinite(vectors).all():
            raise EmbedderError(f"embedder {name!r} returned a vector with a number that is not finite")


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length one; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
    return scaled
