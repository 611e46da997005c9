"""The library that embeds and searches, made when it is first needed: only then numpy and the model are loaded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.flows.memory_terms import Library
    from ctxqueue.memories.weights import Weights


class Later(NamedTuple):
    """An embedder that is made when it is first needed: whoever only publishes tasks need not load it."""

    made: Callable[[], Any]


class Loading:
    """One library, which a blocking and an async manager of one app may share."""

    def __init__(self, embedder: Any, weights: Weights | None, cached: int) -> None:
        self._embedder, self.weights = embedder, weights
        self._cached = cached
        self._library: Library | None = None
        self._lock = threading.RLock()

    @property
    def embedder(self) -> Any:
        """What embeds, as it was given; None: the default one. Raises ConfigurationError."""
        with self._lock:
            if isinstance(self._embedder, Later):
                self._embedder = self._embedder.made()
            return self._embedder

    def library(self) -> Library:
        """Return it; raises ConfigurationError."""
        with self._lock:
            if self._library is None:
                self._library = self.of(self.embedder)
            return self._library

    def of(self, embedder: Any) -> Library:
        """Return a new one with another embedder."""
        try:
            from ctxqueue.memories.embedders import resolved  # noqa: PLC0415
            from ctxqueue.memories.library import Library as Made  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(f"memories need numpy ({error}): pip install 'ctxqueue[memory]'") from error
        return Made(resolved(embedder), self.weights, cached=self._cached)

    def go_on_with(self, embedder: Any, library: Library) -> None:
        """Use another one from now on."""
        with self._lock:
            self._embedder, self._library = embedder, library
