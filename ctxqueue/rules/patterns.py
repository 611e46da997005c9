"""Patterns of keys, many at a time: what a name begins with, ends with or holds is asked of all of them at once."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SPECIAL = re.compile(r"[*?\[]")


class Patterns:
    """Patterns as `fnmatch` has them, of which one must match; case counts."""

    __slots__ = ("_beginnings", "_endings", "_exact", "_held", "_others")

    def __init__(self, patterns: Iterable[str]) -> None:
        exact, beginnings, endings, held, others = (set[str]() for _ in range(5))
        for pattern in patterns:
            text = pattern.strip("*")
            if SPECIAL.search(text):
                others.add(pattern)
            elif text == pattern:
                exact.add(text)
            elif pattern.startswith("*") and pattern.endswith("*"):
                held.add(text)
            else:
                (endings if pattern.startswith("*") else beginnings).add(text)
        self._exact = frozenset(exact)
        self._beginnings, self._endings = tuple(beginnings), tuple(endings)
        self._held = re.compile("|".join(map(re.escape, sorted(held)))).search if held else None
        self._others = re.compile("|".join(map(translate, sorted(others)))).match if others else None

    def match(self, name: str) -> bool:
        """Whether one of them matches."""
        return (
            name in self._exact
            or name.startswith(self._beginnings)
            or name.endswith(self._endings)
            or (self._held is not None and self._held(name) is not None)
            or (self._others is not None and self._others(name) is not None)
        )


def any_of(patterns: tuple[str, ...], names: Iterable[str]) -> bool:
    """Whether one of some names matches one of some patterns; no patterns: any does, and none as well."""
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
