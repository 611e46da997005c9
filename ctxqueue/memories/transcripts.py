"""Where in a conversation something was said: as it was told, else as the text itself says, "8 May 2023 Caroline: Hi".

A line that begins with a date and a name is one of a transcript: who speaks is the name, its session is the day, and
lines of one day follow each other as they were remembered. It is read from the text whenever rows are, and is not kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ctxqueue.remembered import Said

LONGEST = 80
"""Characters in which date and name must end."""
MOST_NAMES = 3
DAY = re.compile(r"(?=.*\d)[\d./-]+(?:st|nd|rd|th)?", re.IGNORECASE)
NAMED_DAY = re.compile(
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|mon(?:day)?|tues?(?:day)?|wed(?:nesday)?|thu(?:rs)?(?:day)?|fri(?:day)?"
    r"|sat(?:urday)?|sun(?:day)?)\.?",
    re.IGNORECASE,
)
TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[ap]m)?z?|[ap]\.?m\.?|on|at|utc|[-|]", re.IGNORECASE)
ISO = re.compile(r"(\d{4}-\d\d-\d\d)[tT](?=\d\d:\d\d)")


class Placed(NamedTuple):
    """Where something was said."""

    session: str | int | None
    sequence: float | None
    speaker: str


def placed(said: Said, born: int) -> Placed:
    """Return where a memory stands, which was remembered as the owner's ``born``-th change."""
    if said.session is None and said.sequence is None and not said.speaker:
        day, name = _line(said.content)
        if name:
            return Placed(day, born, name)
    return Placed(said.session, said.sequence, said.speaker)


def _line(content: str) -> tuple[str, str]:
    """Return the day and the name that a line of a transcript begins with; empty if it is none."""
    head, colon, rest = content[:LONGEST].partition(": ")
    words = ISO.sub(r"\1 ", re.sub(r"[\[\](),]", " ", head)).split()
    day: list[str] = []
    while len(words) > 1 and (TIME.fullmatch(words[0]) or DAY.fullmatch(words[0]) or NAMED_DAY.fullmatch(words[0])):
        word = words.pop(0)
        if not TIME.fullmatch(word):
            day.append(word.lower())
    dated = " ".join(day)
    named = 1 <= len(words) <= MOST_NAMES and all(word[0].isupper() for word in words)
    is_line = named and colon and rest.strip() and "\n" not in head
    return (dated, " ".join(words)) if is_line and _is_day(dated) else ("", "")


def _is_day(dated: str) -> bool:
    """Whether it has a number, and a month, a weekday or another number."""
    return bool(re.search(r"\d", dated)) and bool(re.search(r"[a-z]{3}|\d[./-]\d", dated))
