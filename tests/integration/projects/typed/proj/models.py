"""An embedder of the team's own: texts by how often each letter comes."""

import numpy as np


class SmallEmbedder:
    name = "small-1"
    dimension = 26

    def embed(self, texts):
        counts = np.array([[1 + text.count(chr(97 + letter)) for letter in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)
