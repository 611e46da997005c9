"""Conditions as users write them: what a task needs before it runs, what a trigger fires on."""

from __future__ import annotations

import operator
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ctxqueue import codec
from ctxqueue.errors import ConditionError
from ctxqueue.models import GLOBAL_WORKFLOW, ContextScope, checked_name
from ctxqueue.rules.access import is_sensitive_name
from ctxqueue.rules.detectors import WELL_KNOWN, detected
from ctxqueue.rules.placement import scope_of
from ctxqueue.settings import MAX_CONDITION_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

PATTERN: Final = re.compile(r"[*?\[]")

Operator = Literal["==", "!=", "in", ">", ">=", "<", "<="]

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda value, some: value in some,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Exists(msgspec.Struct, frozen=True, tag="exists"):
    """True while an entry that the agent may see stands under the key."""

    key: str

    def __str__(self) -> str:
        return self.key


class Compared(msgspec.Struct, frozen=True, tag="compared"):
    """True while such an entry's value compares so; values of types that do not compare are false."""

    key: str
    operator: Operator
    packed: bytes
    """What it is compared with, by the codec."""

    def __str__(self) -> str:
        hides = is_sensitive_name(self.key) or detected(WELL_KNOWN, self.packed)
        operand = "..." if hides else f"{codec.unpack(self.packed)!r:.60}"
        return f"{self.key} {self.operator} {operand}"

    __repr__ = __str__

    def holds(self, value: Any) -> bool:
        """Whether a value compares so."""
        try:
            return bool(COMPARISONS[self.operator](value, codec.unpack(self.packed)))
        except TypeError:  # a string and a number, or an unhashable one and a set
            return False


class AtLeast(msgspec.Struct, frozen=True, tag="at_least"):
    """True while entries that the agent may see stand under so many keys that match the pattern."""

    number: int
    pattern: str

    def __str__(self) -> str:
        return f"{self.number} of {self.pattern}"

    @property
    def prefix(self) -> str:
        """What each of the keys begins with."""
        return PATTERN.split(self.pattern, maxsplit=1)[0]

    def matches(self, key: str) -> bool:
        """Whether it is one of the keys."""
        return fnmatchcase(key, self.pattern)


class Stale(msgspec.Struct, frozen=True, tag="stale"):
    """True while something that the entry depends on is newer than the entry."""

    key: str

    def __str__(self) -> str:
        return f"{self.key} stale"


class InWorkflow(msgspec.Struct, frozen=True, tag="in_workflow"):
    """True while the condition is in another workflow."""

    workflow_id: str
    condition: Condition


class AllOf(msgspec.Struct, frozen=True, tag="all_of"):
    """True while every part is."""

    parts: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="any_of"):
    """True while one part is."""

    parts: tuple[Condition, ...]


Leaf = Exists | Compared | AtLeast | Stale
Condition = Exists | Compared | AtLeast | Stale | InWorkflow | AllOf | AnyOf
CONDITIONS: Final = (Exists, Compared, AtLeast, Stale, InWorkflow, AllOf, AnyOf)


class Placed(msgspec.Struct, frozen=True):
    """A leaf, and where it is looked for; '' is the workflow of whoever waits."""

    workflow_id: str
    leaf: Leaf

    def __str__(self) -> str:
        return f"{self.workflow_id}: {self.leaf}" if self.workflow_id not in ("", GLOBAL_WORKFLOW) else str(self.leaf)


class Key:
    """A key that conditions can be made of: ``key("revenue").exists()``, ``key("revenue") > 1000``."""

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]  # to be equal is a condition, not an answer

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"key({self.name!r})"

    def exists(self) -> Exists:
        """True while the key is there."""
        return Exists(self.name)

    def in_(self, values: Collection[Any]) -> Compared:
        """True while its value is one of these; raises ConditionError for a string, NotSerializable."""
        if isinstance(values, str | bytes):
            raise ConditionError(f"in_() of {self.name!r} has a {type(values).__name__}: give a list of values")
        return self._compared("in", list(values))

    def __eq__(self, value: object) -> Compared:  # type: ignore[override]
        return self._compared("==", value)

    def __ne__(self, value: object) -> Compared:  # type: ignore[override]
        return self._compared("!=", value)

    def __gt__(self, value: Any) -> Compared:
        return self._compared(">", value)

    def __ge__(self, value: Any) -> Compared:
        return self._compared(">=", value)

    def __lt__(self, value: Any) -> Compared:
        return self._compared("<", value)

    def __le__(self, value: Any) -> Compared:
        return self._compared("<=", value)

    def _compared(self, by: Operator, value: Any) -> Compared:
        return Compared(self.name, by, codec.pack(value))


def key(name: str) -> Key:
    """Name a key for use in a condition; raises InvalidName, ConditionError for a pattern."""
    return Key(_literal(name))


def stale(name: str) -> Stale:
    """True while what the key's entry depends on is newer than the entry; raises InvalidName, ConditionError."""
    return Stale(_literal(name))


def at_least(n: int, pattern: str) -> AtLeast:
    """Wait for so many keys that match a pattern, as ``at_least(3, "result_*")``; raises ConditionError, InvalidName.

    In a pattern ``*`` is any text, ``?`` one character, ``[...]`` one of some.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConditionError(f"at_least() of {n!r} keys: give a whole number from 1 on")
    return AtLeast(n, checked_name(pattern, "pattern"))


def all_of(*keys_or_conditions: str | Condition) -> AllOf:
    """Wait for all of these: keys, or conditions. Raises ConditionError, InvalidName."""
    return AllOf(_parts("all_of", keys_or_conditions))


def any_of(*keys_or_conditions: str | Condition) -> AnyOf:
    """Wait for one of these: keys, or conditions. Raises ConditionError, InvalidName."""
    return AnyOf(_parts("any_of", keys_or_conditions))


def in_workflow(workflow_id: str, condition: str | Condition) -> InWorkflow:
    """Look for keys in another workflow, which must be there. Raises InvalidName, ConditionError.

    What holds in two workflows is what each of them shows when it is looked at: they have no instant in common.
    """
    inner = as_condition(condition)
    if any(isinstance(placed, InWorkflow) for placed in _branches(inner)):
        raise ConditionError("in_workflow() is inside another one: name each workflow by itself")
    return InWorkflow(checked_name(workflow_id, "workflow_id"), inner)


def _branches(condition: Condition) -> Iterator[Condition]:
    yield condition
    parts = condition.parts if isinstance(condition, AllOf | AnyOf) else ()
    for part in parts:
        yield from _branches(part)


def _parts(name: str, given: tuple[str | Condition, ...]) -> tuple[Condition, ...]:
    if not given:
        raise ConditionError(f"{name}() is empty: give it keys or conditions")
    parts = tuple(as_condition(part) for part in given)
    if max(map(_depth, parts)) >= MAX_CONDITION_DEPTH:
        # cmsgpack, in the server's scripts, writes nil for what is nested deeper than 16.
        raise ConditionError(f"the condition is nested deeper than {MAX_CONDITION_DEPTH} levels: write it flatter")
    return parts


def _depth(condition: Condition) -> int:
    if isinstance(condition, InWorkflow):
        return _depth(condition.condition)
    return 1 + max(map(_depth, condition.parts)) if isinstance(condition, AllOf | AnyOf) else 0


def as_condition(given: str | Condition) -> Condition:
    """Return a key's name as a condition, a condition as it is; raises ConditionError for anything else."""
    if isinstance(given, str):
        return Exists(_literal(given))
    if isinstance(given, CONDITIONS):
        return given
    raise ConditionError(f"{given!r:.60} is no condition: give keys, or what all_of, any_of and key().exists() return")


def _literal(name: str) -> str:
    checked_name(name, "key")
    if PATTERN.search(name):
        raise ConditionError(
            f"{name!r} looks like a pattern: a condition on one key takes its exact name, at_least() a pattern"
        )
    return name


def leaves_of(condition: Condition, workflow_id: str = "") -> Iterator[Placed]:
    """Yield the leaves, in order; these are the ordinals that tell which are false."""
    if isinstance(condition, AllOf | AnyOf):
        for part in condition.parts:
            yield from leaves_of(part, workflow_id)
    elif isinstance(condition, InWorkflow):
        yield from leaves_of(condition.condition, condition.workflow_id)
    else:
        yield _placed(condition, workflow_id)


def _placed(leaf: Leaf, workflow_id: str) -> Placed:
    name = leaf.prefix if isinstance(leaf, AtLeast) else leaf.key
    return Placed(GLOBAL_WORKFLOW if scope_of(name) is ContextScope.GLOBAL else workflow_id, leaf)


def keys_of(condition: Condition) -> Iterator[str]:
    """Yield the keys of the leaves, or their patterns, in order."""
    for placed in leaves_of(condition):
        leaf = placed.leaf
        yield leaf.pattern if isinstance(leaf, AtLeast) else leaf.key


def is_judged(condition: Condition) -> bool:
    """Whether it takes more than to know which keys of one workflow are there: such a one is looked at in Python."""
    return any(placed.workflow_id or not isinstance(placed.leaf, Exists) for placed in leaves_of(condition))


def truth(condition: Condition, of_leaf: Callable[[Placed], bool], workflow_id: str = "") -> bool:
    """Whether the condition is true, given which leaves are."""
    if isinstance(condition, AllOf):
        return all(truth(part, of_leaf, workflow_id) for part in condition.parts)
    if isinstance(condition, AnyOf):
        return any(truth(part, of_leaf, workflow_id) for part in condition.parts)
    if isinstance(condition, InWorkflow):
        return truth(condition.condition, of_leaf, condition.workflow_id)
    return of_leaf(_placed(condition, workflow_id))
