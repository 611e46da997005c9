r"""Conditions as stores evaluate them.

A condition names keys. Before it reaches a store it is *resolved* for the agent that waits, into a tree of the
addresses which that agent may see: ``["e", address, ...]`` is true when any of the addresses holds an entry,
``["a", *parts]`` when all parts are, ``["o", *parts]`` when one is. The Redis store evaluates the same tree in
``lua/condition.lua``.

A condition that takes more than to know which keys are there becomes ``["j", address, ...]``: no store holds it true.
When one of the addresses is written it is to be judged again, in Python. ``\2<prefix>`` among them stands for all keys
that begin so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ctxqueue.errors import AccessDenied, ConditionError
from ctxqueue.models import Agent, ContextScope
from ctxqueue.rules.access import is_sensitive_name, reads_sensitive
from ctxqueue.rules.conditions import AllOf, AnyOf, AtLeast, Exists, is_judged, keys_of, leaves_of
from ctxqueue.rules.placement import scope_of
from ctxqueue.rules.visibility import inner_addresses
from ctxqueue.settings import MAX_CONDITION_LEAVES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.rules.conditions import Condition

OF_PREFIX: Final = "\2"
"""Begins what stands for all addresses whose key begins in some way."""

JUDGED: Final = "j"

Tree = list[Any]
"""A resolved condition; nested lists, as the stores keep them."""


def resolve(condition: Condition, agent: Agent) -> Tree:
    """Return the tree of addresses for the agent.

    Raises ConditionError over 1,000 keys or for a key of the global context, AccessDenied if the condition would tell
    the agent of a key that it may not read.
    """
    leaves = list(leaves_of(condition))
    if len(leaves) > MAX_CONDITION_LEAVES:
        raise ConditionError(f"the condition has {len(leaves)} keys: at most {MAX_CONDITION_LEAVES} are allowed")
    for name in keys_of(condition):
        if scope_of(name) is ContextScope.GLOBAL:
            raise ConditionError(f"{name!r} is a key of the global context: a task waits for keys of its workflow")
        if is_sensitive_name(name) and not (agent.is_operator or reads_sensitive(agent, name)):
            raise AccessDenied(f"{agent.agent_id} may not wait for {name!r}: it may not read it")
    return [JUDGED, *watched(condition, agent)] if is_judged(condition) else _resolve(condition, agent)


def _resolve(condition: Condition, agent: Agent) -> Tree:
    if isinstance(condition, Exists):
        return ["e", *(address.encode() for address in inner_addresses(agent, condition.key))]
    if isinstance(condition, AllOf | AnyOf):
        return ["a" if isinstance(condition, AllOf) else "o", *(_resolve(part, agent) for part in condition.parts)]
    raise AssertionError(f"{condition} is judged")


def watched(condition: Condition, agent: Agent) -> list[str]:
    """Return what a judged condition is to be looked at again for, when it is written."""
    found: dict[str, None] = {}
    for leaf in leaves_of(condition):
        if isinstance(leaf, AtLeast):
            found[OF_PREFIX + leaf.prefix] = None
        else:
            found.update(dict.fromkeys(address.encode() for address in inner_addresses(agent, leaf.key)))
    return list(found)


def addresses_of(tree: Tree) -> Iterator[str]:
    """Yield every address of a resolved condition."""
    if tree[0] in ("e", JUDGED):
        yield from tree[1:]
    else:
        for part in tree[1:]:
            yield from addresses_of(part)


def holds(tree: Tree, present: Callable[[str], bool]) -> bool:
    """Whether the condition is true, given which addresses hold an entry."""
    if tree[0] == "e":
        return any(present(address) for address in tree[1:])
    if tree[0] == JUDGED:
        return False
    parts = (holds(part, present) for part in tree[1:])
    return all(parts) if tree[0] == "a" else any(parts)


def witness(tree: Tree, present: Callable[[str], bool]) -> list[str]:
    """Return absent addresses such that a false condition stays false for as long as all of them stay absent.

    A waiter need only be registered on these: for ``all_of`` the last missing key, for ``any_of`` all of them.
    """
    if tree[0] in ("e", JUDGED):
        return list(tree[1:])
    false_parts = [part for part in tree[1:] if not holds(part, present)]
    if tree[0] == "a":
        return witness(false_parts[-1], present)
    return [address for part in false_parts for address in witness(part, present)]


def unmet(tree: Tree, present: Callable[[str], bool]) -> list[int]:
    """Return the ordinals of the leaves that are false; of a judged one nothing is known."""
    if tree[0] == JUDGED:
        return []
    leaves = list(_leaves(tree))
    return [ordinal for ordinal, leaf in enumerate(leaves) if not holds(leaf, present)]


def _leaves(tree: Tree) -> Iterator[Tree]:
    if tree[0] == "e":
        yield tree
    else:
        for part in tree[1:]:
            yield from _leaves(part)
