"""How much each part of a recall's score counts. Chosen on the development half of LoCoMo, and on nothing else."""

from __future__ import annotations

import msgspec


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The score is ``words * z(BM25) + cosine * z(cosine) + tokens * z(best match of each token)``, and what follows.

    z is over all candidates. Tokens count with an embedder that gives each a vector of its own, as the default one.
    Signals of a conversation count where sessions, sequences and speakers were told. Importance counts by how far it
    is from 0.5, recency halves every ``half_life`` seconds, access by the logarithm of the number of uses.
    """

    words: float = 1.0
    cosine: float = 0.85
    tokens: float = 0.5
    before: float = 0.1
    """Of the score of the one before in the session, if that is above the mean."""
    asked_before: float = 0.6
    """As much again where that asks something."""
    after: float = 0.3
    """Of the score of the one after."""
    two_before: float = 0.15
    two_after: float = 0.25
    speaker: float = 8.0
    """If the query names who said it."""
    session: float = 0.5
    """Of the best score in its session."""
    question: float = 1.0
    """Taken from what only asks something, in a conversation: the answer is what is looked for."""
    relations: float = 0.5
    """Of the score of a concept that names it as related."""
    importance: float = 1.0
    recency: float = 0.1
    half_life: float = 30 * 86_400.0
    access: float = 0.02
