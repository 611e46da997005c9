"""Embeddings by sentence-transformers, where that is installed: it brings torch, and is loaded when first used."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class SentenceTransformerEmbedder:
    """A model by its name or folder. One text batch at a time: a model is not to be shared by threads."""

    min_score = 0.3

    def __init__(self, model: str = "all-MiniLM-L6-v2", **options: Any) -> None:
        """Name a model; ``options`` go to SentenceTransformer. Raises ConfigurationError, when first used."""
        self.name = model
        self._options = options
        self._model: Any = None
        self._using = threading.Lock()

    def _loaded(self) -> Any:
        if self._model is None:
            try:
                from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - it loads torch
            except ImportError as error:
                raise ConfigurationError(
                    f"embeddings by {self.name!r} need pip install 'ctxqueue[sentence-transformers]'"
                ) from error
            self._model = SentenceTransformer(self.name, **self._options)
        return self._model

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        with self._using:
            return int(self._loaded().get_sentence_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text."""
        with self._using:
            vectors: NDArray[np.float32] = self._loaded().encode(
                list(texts), convert_to_numpy=True, show_progress_bar=False
            )
            return vectors
