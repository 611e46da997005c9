"""An embedder that ``ctx memory reembed`` is pointed at: texts by how often each letter comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


class Letters:
    name = "letters-1"
    dimension = 26

    def embed(self, texts: Sequence[str]) -> Any:
        counts = np.array([[1 + text.count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)
