"""Merge strategies: pure, deterministic functions of (existing, new, priority).

Laws, held by property tests: every strategy is deterministic and leaves its arguments alone; all but ``append`` and
``increment`` are idempotent (merging the same thing again changes nothing); ``append`` and ``increment`` are
associative, ``increment``, ``maximum`` and ``minimum`` commutative. A team's own strategies are *reducers*.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from ctxqueue import codec
from ctxqueue.errors import InvalidInput, InvalidName, NotSerializable, UnknownStrategy
from ctxqueue.models import ContextPriority, checked_name

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = (int, float, Decimal)
MOST_DIGITS = 1_000
"""Of a sum of Decimals."""
NEVER_MERGED = frozenset(
    {bool, bytes, date, datetime, Decimal, float, frozenset, int, set, str, tuple, type(None), UUID}
)
UNION_PRIORITIES = frozenset({ContextPriority.CRITICAL, ContextPriority.HIGH})


def smart_merge(existing: Any, new: Any, priority: ContextPriority) -> Any:
    """Merge dicts deeply, take what is new of lists where the entry matters, registered types by their ``merge``.

    A list's own repeats stay, in what stands there and in what comes: what was written once, whole, is not thinned
    out by writing it again.
    """
    if isinstance(existing, dict) and isinstance(new, dict):
        merged = {**existing, **new}
        registered = codec.registered_types()
        for key, value in new.items():
            kind = type(value)
            if key in existing and (kind not in NEVER_MERGED or kind in registered):
                merged[key] = smart_merge(existing[key], value, priority)
        return merged
    if isinstance(existing, list) and isinstance(new, list) and priority in UNION_PRIORITIES:
        known = {codec.pack(item) for item in existing}
        return existing + [item for item in new if codec.pack(item) not in known]
    merge = codec.merge_of(existing)
    if merge is not None and type(existing) is type(new):
        return merge(existing, new)
    return new


def union(existing: list[Any], new: list[Any]) -> list[Any]:
    """Return existing, then what is new in new, each item once; items are told apart by their packed form."""
    seen: dict[bytes, Any] = {}
    for item in (*existing, *new):
        seen.setdefault(codec.pack(item), item)
    return list(seen.values())


def replace(_existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Take the new value."""
    return new


def deep_merge(existing: Any, new: Any, priority: ContextPriority) -> Any:
    """Merge dicts deeply; all else is replaced, lists too."""
    if isinstance(existing, dict) and isinstance(new, dict):
        merged = dict(existing)
        for key, value in new.items():
            merged[key] = deep_merge(existing[key], value, priority) if key in existing else value
        return merged
    return new


def append(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Concatenate two lists."""
    return _held_list("append", existing) + new


def united(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Unite two lists in order, without repeats."""
    return union(_held_list("union", existing), new)


def increment(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Add two numbers; a Decimal and a float do not mix. Decimals add up exactly, whatever the process's context."""
    _number("increment", existing)
    _alike("increment", existing, new)
    try:
        with localcontext(prec=MOST_DIGITS) as context:
            context.traps[Inexact] = True
            total = existing + new
    except (Inexact, OverflowError):
        raise InvalidInput("increment cannot add the two numbers: one is too large for the other") from None
    if isinstance(total, float) and math.isinf(total):
        raise NotSerializable("increment would make inf of the two numbers: only finite numbers can be stored")
    return total


def maximum(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Keep the larger of two values of one kind; of equal ones the existing."""
    return new if _alike("maximum", existing, new) > existing else existing


def minimum(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Keep the smaller of two values of one kind; of equal ones the existing."""
    return new if _alike("minimum", existing, new) < existing else existing


def keep(existing: Any, _new: Any, _priority: ContextPriority) -> Any:
    """Keep what stands there: the first writer wins."""
    return existing


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{name} needs a list, not a {type(value).__name__}: wrap it as [value]")
    return value


def _held_list(name: str, existing: Any) -> list[Any]:
    if not isinstance(existing, list):
        raise InvalidInput(
            f"{name} needs a list, the entry holds a {type(existing).__name__}: use replace or another key"
        )
    return existing


def _number(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, NUMBERS):
        raise InvalidInput(f"{name} needs numbers, not a {type(value).__name__}")
    return value


def _ordered(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (*NUMBERS, str, date)):
        raise InvalidInput(f"{name} needs numbers, texts or dates, not a {type(value).__name__}")
    return value


def _alike(name: str, existing: Any, new: Any) -> Any:
    """Return ``new`` if it can be added to or compared with ``existing``, else raise InvalidInput."""
    _ordered(name, existing)
    try:
        _ = new > existing
        mixed = {type(new), type(existing)} == {Decimal, float}
    except TypeError:
        mixed = True
    if mixed:
        raise InvalidInput(f"{name} cannot take a {type(new).__name__} and a {type(existing).__name__} together")
    return new


class Strategy(NamedTuple):
    """A merge function, and the check of a value that is given to it: an unfit one is refused before any merge."""

    merge: Callable[[Any, Any, ContextPriority], Any]
    check: Callable[[str, Any], Any] | None = None


STRATEGIES: dict[str, Strategy] = {
    "smart_merge": Strategy(smart_merge),
    "replace": Strategy(replace),
    "append": Strategy(append, _list),
    "deep_merge": Strategy(deep_merge),
    "union": Strategy(united, _list),
    "increment": Strategy(increment, _number),
    "maximum": Strategy(maximum, _ordered),
    "minimum": Strategy(minimum, _ordered),
    "keep": Strategy(keep),
}
BUILT_IN = frozenset(STRATEGIES)


def register_reducer(name: str, reducer: Callable[[Any, Any, ContextPriority], Any]) -> None:
    """Let ``update(..., merge_strategy=name)`` merge by ``reducer(existing, new, priority)`` in this process.

    It must be pure and deterministic: after a lost race it is called again on what the winner wrote. Every process
    that updates by it registers it. Raises InvalidName for a built-in name, InvalidInput unless it can be called.
    """
    if checked_name(name, "merge strategy") in BUILT_IN:
        raise InvalidName(f"merge strategy {name!r} is built in: take another name")
    if not callable(reducer):
        raise InvalidInput(f"the reducer {name!r} is a {type(reducer).__name__}: give a function")
    STRATEGIES[name] = Strategy(reducer)


def strategy(name: str) -> Strategy:
    """Return the strategy; raises UnknownStrategy."""
    try:
        return STRATEGIES[name]
    except (KeyError, TypeError):
        raise UnknownStrategy(f"merge strategy {name!r} is none of {', '.join(STRATEGIES)}") from None


def is_exact_number(value: Any) -> bool:
    """Whether a store adds and compares this number as Python does: a float, or an integer that a float holds."""
    return type(value) is float or (type(value) is int and abs(value) < INEXACT)


INEXACT = 2**53
"""From here on not every integer is a float."""


def is_plain_replacement(name: str, new: Any) -> bool:
    """Whether merging ``new`` cannot look at what exists, whatever that is.

    An object of another type may be a dict or a list in its stored form, so it is merged with a look.
    """
    return name == "replace" or (name == "smart_merge" and type(new) in NEVER_MERGED and codec.merge_of(new) is None)
