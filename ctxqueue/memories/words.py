"""The words of a text as BM25 counts them: lower case, without stopwords, stems of Snowball's English."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = re.compile(r"[^\W_]+", re.UNICODE)
STOPWORDS = frozenset(
    """
    a about all am an and any are as at be been but by can d did do does for from had has have he her here his how i if
    in is it its just ll m me my no not of on or our re s she so some t than that the their them then there these they
    this those to too us ve very was we were what when where which who whom why will with you your
    """.split()  # noqa: SIM905 - a list of seventy would take as many lines
)
"""They say nothing of what a text is about, and questions are full of them."""

LONGEST = 40
"""Characters that count of a word: what is longer is an encoded something."""


class _Stemmer(threading.local):
    """One of each thread's: a Snowball stemmer is not to be shared."""

    @property
    def stem(self) -> Callable[[str], str]:
        stemmer: Any = getattr(self, "_stemmer", None)
        if stemmer is None:
            try:
                from Stemmer import Stemmer  # noqa: PLC0415 - comes with the extra
            except ImportError as error:
                raise ConfigurationError("recall needs PyStemmer: pip install 'ctxqueue[memory]'") from error
            stemmer = self._stemmer = Stemmer("english", 0)
        word: Callable[[str], str] = stemmer.stemWord
        return word


_stemmer = _Stemmer()


@lru_cache(maxsize=65_536)
def _stem(word: str) -> str:
    return _stemmer.stem(word)


def plain_words(text: str) -> list[str]:
    """Return the words as they stand, in lower case."""
    return WORD.findall(text.lower())


def stems(text: str) -> list[str]:
    """Return the stems of a text's words but stopwords, in order, with repeats."""
    return [_stem(word[:LONGEST]) for word in plain_words(text) if word not in STOPWORDS]
