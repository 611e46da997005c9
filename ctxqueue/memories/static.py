"""The default embedder: WordLlama's word vectors from its wheel. Offline, without torch, 16 MB.

Its own loader looks for the tokenizer in another folder than its wheel has it in, and then downloads: so the two files
are read here, by the libraries that it itself uses.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

WEIGHTS, TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
INSTALL = (
    "the default embedder is not installed: pip install 'ctxqueue[memory]', or give VectorMemoryManager an embedder"
)


class StaticEmbedder:
    """Looks up the vector of each token. Thread-safe; what it reads is read when first used."""

    name = "wordllama-l2-supercat"
    dimension = 256
    min_score = 0.07

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._table: NDArray[np.float32] | None = None
        self._tokenizer: Any = None

    def _read(self) -> NDArray[np.float32]:
        with self._reading:
            if self._table is None:
                try:
                    from safetensors.numpy import load_file  # noqa: PLC0415 - come with the extra
                    from tokenizers import Tokenizer  # noqa: PLC0415
                except ImportError as error:
                    raise ConfigurationError(INSTALL) from error
                spec = find_spec("wordllama")
                folders = spec.submodule_search_locations if spec else None
                folder = Path(next(iter(folders))) if folders else None
                if folder is None or not (folder / WEIGHTS).is_file() or not (folder / TOKENIZER).is_file():
                    raise ConfigurationError(INSTALL)
                (weights,) = load_file(folder / WEIGHTS).values()
                tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                self._tokenizer = tokenizer
                self._table = weights.astype("float32")
            return self._table

    @property
    def table(self) -> NDArray[np.float32]:
        """The vector of each token."""
        return self._read()

    def tokens(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Return the tokens of each text."""
        import numpy as np  # noqa: PLC0415 - whoever only publishes tasks does not need it

        self._read()
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(each.ids, dtype=np.uint32) for each in encoded]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the mean of each text's tokens, as WordLlama does."""
        import numpy as np  # noqa: PLC0415

        table = self._read()
        means = [table[ids].mean(axis=0) if len(ids) else table[0] * 0 for ids in self.tokens(texts)]
        return np.stack(means) if means else np.zeros((0, self.dimension), dtype=np.float32)


_made = StaticEmbedder()


def default_embedder() -> StaticEmbedder:
    """Return the process's; raises ConfigurationError, when it is first used, without the extra ``memory``."""
    return _made
