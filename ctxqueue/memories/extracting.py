"""The default summariser of a working memory: it keeps what says most of the rest, and needs no model."""

from __future__ import annotations

import math
from collections import Counter

from ctxqueue.memories.words import stems

MOST_KEPT = 5
ALIKE = 0.8
"""Share of a text's words in one that is kept already, from which on it adds nothing."""


def extract(texts: list[str]) -> list[str]:
    """Return up to five of the texts, those whose words many of the others share first, in their order."""
    words = [set(stems(text)) for text in texts]
    in_texts = Counter(word for each in words for word in each)

    def weight(place: int) -> float:
        shared = sum(math.log1p(in_texts[word] - 1) for word in words[place])
        return shared / math.sqrt(len(words[place])) if words[place] else -1.0

    kept: list[int] = []
    for place in sorted(range(len(texts)), key=lambda place: (-weight(place), place)):
        own = words[place]
        repeats = own and any(len(own & words[other]) >= ALIKE * len(own) for other in kept)
        if not repeats and len(kept) < MOST_KEPT:
            kept.append(place)
    return [texts[place] for place in sorted(kept)]
