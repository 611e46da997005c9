"""Conditions on keys: what a task needs before it runs.

A condition names keys. Before it reaches a store it is *resolved* for the agent that waits, into a tree of the
addresses which that agent may see: ``["e", address, ...]`` is true when any of the addresses holds an entry,
``["a", *parts]`` when all parts are, ``["o", *parts]`` when one is. The Redis store evaluates the same tree in
``lua/condition.lua``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.errors import AccessDenied, ConditionError
from ctxqueue.models import Agent, ContextScope, checked_name
from ctxqueue.rules.access import is_sensitive_name, reads_sensitive
from ctxqueue.rules.placement import scope_of
from ctxqueue.rules.visibility import inner_addresses
from ctxqueue.settings import MAX_CONDITION_DEPTH, MAX_CONDITION_LEAVES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATTERN = re.compile(r"[*?\[]")

Tree = list[Any]
"""A resolved condition; nested lists, as the stores keep them."""


class Exists(msgspec.Struct, frozen=True):
    """True while an entry that the agent may see stands under the key."""

    key: str


class AllOf(msgspec.Struct, frozen=True):
    """True while every part is."""

    parts: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """True while one part is."""

    parts: tuple[Condition, ...]


Condition = Exists | AllOf | AnyOf


class Key(msgspec.Struct, frozen=True):
    """A key that conditions can be made of: ``key("revenue").exists()``."""

    name: str

    def exists(self) -> Exists:
        """True while the key is there."""
        return Exists(self.name)


def key(name: str) -> Key:
    """Name a key for use in a condition; raises InvalidName, ConditionError for a pattern."""
    return Key(_literal(name))


def all_of(*keys_or_conditions: str | Condition) -> AllOf:
    """Wait for all of these: keys, or conditions. Raises ConditionError, InvalidName."""
    return AllOf(_parts("all_of", keys_or_conditions))


def any_of(*keys_or_conditions: str | Condition) -> AnyOf:
    """Wait for one of these: keys, or conditions. Raises ConditionError, InvalidName."""
    return AnyOf(_parts("any_of", keys_or_conditions))


def _parts(name: str, given: tuple[str | Condition, ...]) -> tuple[Condition, ...]:
    if not given:
        raise ConditionError(f"{name}() is empty: give it keys or conditions")
    parts = tuple(as_condition(part) for part in given)
    if max(map(_depth, parts)) >= MAX_CONDITION_DEPTH:
        # cmsgpack, in the server's scripts, writes nil for what is nested deeper than 16.
        raise ConditionError(f"the condition is nested deeper than {MAX_CONDITION_DEPTH} levels: write it flatter")
    return parts


def _depth(condition: Condition) -> int:
    return 0 if isinstance(condition, Exists) else 1 + max(map(_depth, condition.parts))


def as_condition(given: str | Condition) -> Condition:
    """Return a key's name as a condition, a condition as it is; raises ConditionError for anything else."""
    if isinstance(given, str):
        return Exists(_literal(given))
    if isinstance(given, Exists | AllOf | AnyOf):
        return given
    raise ConditionError(f"{given!r:.60} is no condition: give keys, or what all_of, any_of and key().exists() return")


def _literal(name: str) -> str:
    checked_name(name, "key")
    if PATTERN.search(name):
        raise ConditionError(f"{name!r} looks like a pattern: a condition on one key takes its exact name")
    return name


def keys_of(condition: Condition) -> Iterator[str]:
    """Yield the keys of the leaves, in order; these are the ordinals that `unmet` returns."""
    if isinstance(condition, Exists):
        yield condition.key
    else:
        for part in condition.parts:
            yield from keys_of(part)


def resolve(condition: Condition, agent: Agent) -> Tree:
    """Return the tree of addresses for the agent.

    Raises ConditionError over 1,000 keys or for a key of the global context, AccessDenied if the condition would tell
    the agent of a key that it may not read.
    """
    keys = list(keys_of(condition))
    if len(keys) > MAX_CONDITION_LEAVES:
        raise ConditionError(f"the condition has {len(keys)} keys: at most {MAX_CONDITION_LEAVES} are allowed")
    for name in keys:
        if scope_of(name) is ContextScope.GLOBAL:
            raise ConditionError(f"{name!r} is a key of the global context: a task waits for keys of its workflow")
        if is_sensitive_name(name) and not (agent.is_operator or reads_sensitive(agent, name)):
            raise AccessDenied(f"{agent.agent_id} may not wait for {name!r}: it may not read it")
    return _resolve(condition, agent)


def _resolve(condition: Condition, agent: Agent) -> Tree:
    if isinstance(condition, Exists):
        return ["e", *(address.encode() for address in inner_addresses(agent, condition.key))]
    return [
        "a" if isinstance(condition, AllOf) else "o",
        *(_resolve(part, agent) for part in condition.parts),
    ]


def addresses_of(tree: Tree) -> Iterator[str]:
    """Yield every address of a resolved condition."""
    if tree[0] == "e":
        yield from tree[1:]
    else:
        for part in tree[1:]:
            yield from addresses_of(part)


def holds(tree: Tree, present: Callable[[str], bool]) -> bool:
    """Whether the condition is true, given which addresses hold an entry."""
    if tree[0] == "e":
        return any(present(address) for address in tree[1:])
    parts = (holds(part, present) for part in tree[1:])
    return all(parts) if tree[0] == "a" else any(parts)


def witness(tree: Tree, present: Callable[[str], bool]) -> list[str]:
    """Return absent addresses such that a false condition stays false for as long as all of them stay absent.

    A waiter need only be registered on these: for ``all_of`` the last missing key, for ``any_of`` all of them.
    """
    if tree[0] == "e":
        return list(tree[1:])
    false_parts = [part for part in tree[1:] if not holds(part, present)]
    if tree[0] == "a":
        return witness(false_parts[-1], present)
    return [address for part in false_parts for address in witness(part, present)]


def unmet(tree: Tree, present: Callable[[str], bool]) -> list[int]:
    """Return the ordinals of the leaves that are false."""
    leaves = list(_leaves(tree))
    return [ordinal for ordinal, leaf in enumerate(leaves) if not holds(leaf, present)]


def _leaves(tree: Tree) -> Iterator[Tree]:
    if tree[0] == "e":
        yield tree
    else:
        for part in tree[1:]:
            yield from _leaves(part)
