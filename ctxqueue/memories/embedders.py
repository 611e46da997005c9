"""What makes vectors of texts, and how what a caller gives becomes one of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """Makes a vector of a text. ``name`` goes into each row: another model must have another name."""

    @property
    def name(self) -> str:
        """What the model is called."""
        ...

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row for each text; it need not be of unit length."""
        ...


class PoolingEmbedder(Embedder, Protocol):
    """One that can say what tokens a vector is made of, so that rare ones can be given more weight.

    What is rare depends on what is remembered, and that grows: so rows keep the tokens, and are pooled when searched.
    """

    @property
    def table(self) -> NDArray[np.float32]:
        """The vector of each token."""
        ...

    def tokens(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the tokens of each text."""
        ...


class CallableEmbedder:
    """A user's function from texts to vectors."""

    def __init__(
        self, function: Callable[[Sequence[str]], Any], *, name: str | None = None, dimension: int = 0
    ) -> None:
        """Take a function of a list of texts; ``dimension`` 0: that of the first vector it returns."""
        self._function = function
        self.name = name or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """How many numbers a vector has; asks for one if that is not known."""
        if not self._dimension:
            self.embed(["dimension"])
        return self._dimension

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what the function does."""
        import numpy as np  # noqa: PLC0415 - whoever only publishes tasks does not need it

        vectors = np.asarray(self._function(list(texts)), dtype=np.float32)
        if not self._dimension and vectors.ndim == 2:  # noqa: PLR2004 - rows and columns
            self._dimension = vectors.shape[1]
        return vectors


def resolved(embedder: Any) -> Embedder:
    """Return the embedder that was meant: none (the default one), a callable, or one; raises ConfigurationError."""
    if embedder is None:
        from ctxqueue.memories.static import default_embedder  # noqa: PLC0415 - only who uses it has the extra

        return default_embedder()
    if not isinstance(embedder, type):  # a class has the methods too
        # Not by isinstance: it would ask for the dimension, and some load their model for that.
        if callable(getattr(embedder, "embed", None)) and hasattr(embedder, "name"):
            made: Embedder = embedder
            return made
        if callable(embedder):
            return CallableEmbedder(embedder)
    raise ConfigurationError(
        f"the embedder is a {type(embedder).__name__}: give an object with name, dimension and embed(texts),"
        " or a function from a list of texts to vectors"
    )
