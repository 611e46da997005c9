"""How much each part of a recall's score counts. Chosen on the development half of LoCoMo, and on nothing else."""

from __future__ import annotations

import msgspec


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The score is ``words * z(BM25) + cosine * z(cosine)``, z over all candidates, and then what follows.

    Signals of a conversation count where sessions, sequences and speakers were told. Importance counts by how far it
    is from 0.5, recency halves every ``half_life`` seconds, access by the logarithm of the number of uses.
    """

    words: float = 1.0
    cosine: float = 1.0
    asked_before: float = 0.7
    """Of the score of the one before in the session, where that asks something."""
    said_after: float = 0.2
    """Of the score of the one after."""
    speaker: float = 1.5
    """If the query names who said it."""
    session: float = 0.5
    """Of the mean of the three best of its session."""
    importance: float = 1.0
    recency: float = 0.1
    half_life: float = 30 * 86_400.0
    access: float = 0.02
