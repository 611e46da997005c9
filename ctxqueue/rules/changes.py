"""What a subscription is about: patterns of keys, and how much has to have changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal, InvalidOperation, localcontext
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ctxqueue.errors import CapacityError, ConditionError, InvalidInput
from ctxqueue.models import GLOBAL_WORKFLOW, ContextScope, checked_name
from ctxqueue.rules.conditions import CONDITIONS, PATTERN, Condition
from ctxqueue.rules.placement import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATTERNS: Final = 100
MAX_LEAVES: Final = 2_000
"""Of all values that one subscription compares."""
DIGITS: Final = 60
"""With which numbers are compared: more than any float has."""


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """Some number differs by more than the fraction from what it was, or a leaf came or went."""

    fraction: str

    def holds(self, before: Mapping[str, str | None], after: Mapping[str, str | None]) -> bool:
        """Whether that is so between two sets of leaves."""
        if before.keys() != after.keys():
            return True
        with localcontext() as context:
            context.prec = DIGITS
            fraction = Decimal(self.fraction)
            return any(_differs(fraction, was, after[path]) for path, was in before.items())


class Named(msgspec.Struct, frozen=True, tag="named"):
    """A function of the user's, by the name under which any process can import it."""

    module: str
    name: str

    def function(self) -> Callable[..., Any]:
        """Import it; raises ImportError, AttributeError."""
        found: Any = import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        function: Callable[..., Any] = found
        return function


class Resolved(msgspec.Struct, frozen=True, tag="resolved"):
    """A key is there, and all else that an entry depends on."""

    entry_key: str
    dependency_key: str


When = Changed | Named | Resolved | Condition
"""What has to hold for a subscription to fire."""


def changed_by(fraction: float) -> Changed:
    """Fire only if a number among the values differs by more than this fraction, or a leaf came or went.

    It is compared with what it was when the subscription fired last, else when it was registered: small steps add up.
    A number may stand anywhere inside a value, also as a string, as exact rates are kept; other leaves count only as
    coming and going. Of a sensitive value nothing is remembered: it has changed whenever it was written. Raises
    ConditionError unless it is a number from 0 on.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < math.inf:
        raise ConditionError(f"changed_by() of {fraction!r}: give a fraction from 0 on, as 0.01 for one percent")
    return Changed(str(fraction))


def checked_when(given: Any) -> When | None:
    """Return what was given as ``when``, as it is stored; raises InvalidInput."""
    if given is None or isinstance(given, (Changed, *CONDITIONS)):
        return given
    if not callable(given):
        raise InvalidInput(f"when is {given!r:.60}: give changed_by(0.01), a condition, or a function")
    named = Named(getattr(given, "__module__", "") or "", getattr(given, "__qualname__", ""))
    try:
        same = named.module != "__main__" and named.function() is given
    except (ImportError, AttributeError, ValueError):
        same = False
    if not same:
        raise InvalidInput(
            f"when is {given!r:.80}, which another process could not import: give a function that stands in a module"
        )
    return named


def checked_patterns(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return keys and patterns, each once; raises InvalidInput, InvalidName."""
    if not isinstance(given, str) and not isinstance(given, Iterable):
        raise InvalidInput(f"patterns is {given!r:.60}: give a key, a pattern, or several")
    patterns = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    if not 1 <= len(patterns) <= MAX_PATTERNS:
        raise InvalidInput(f"there are {len(patterns)} patterns: give 1 to {MAX_PATTERNS}")
    for pattern in patterns:
        checked_name(pattern, "pattern")
    return patterns


def prefix_of(pattern: str) -> str | None:
    """Return what each key of a pattern begins with; None for one key's own name."""
    return PATTERN.split(pattern, maxsplit=1)[0] if PATTERN.search(pattern) else None


def place_of(pattern: str) -> str:
    """Return where its keys stand: '' for the workflow itself, or the global context."""
    return GLOBAL_WORKFLOW if scope_of(pattern) is ContextScope.GLOBAL else ""


def matches(patterns: Iterable[str], key: str) -> bool:
    """Whether a key is one of those."""
    return any(fnmatchcase(key, pattern) if PATTERN.search(pattern) else key == pattern for pattern in patterns)


def leaves_of_value(key: str, value: Any) -> dict[str, str | None]:
    """Return the leaves of a value by their paths, each with its number if it is one. Raises CapacityError."""
    found: dict[str, str | None] = {}
    for path, leaf in _leaves(key, value):
        found[path] = _number(leaf)
        if len(found) > MAX_LEAVES:
            raise CapacityError(f"{key!r} has more than {MAX_LEAVES} leaves: too many to compare")
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(value, "tolist"):  # an array
        value = value.tolist()
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(f"{path}\0{name}", inner)
    elif isinstance(value, list | tuple) and value:
        for place, inner in enumerate(value):
            yield from _leaves(f"{path}\0[{place}]", inner)
    elif isinstance(value, AbstractSet):
        for inner in value:
            yield f"{path}\0{inner!r}", None
    else:
        yield path, value


def _number(leaf: Any) -> str | None:
    if isinstance(leaf, bool) or not isinstance(leaf, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(leaf).strip()) if len(str(leaf)) <= DIGITS else None
    except InvalidOperation:
        return None
    return str(number) if number is not None and number.is_finite() else None


def _differs(fraction: Decimal, was: str | None, now: str | None) -> bool:
    if was is None or now is None:
        return was != now
    before = Decimal(was)
    return abs(Decimal(now) - before) > fraction * abs(before)
