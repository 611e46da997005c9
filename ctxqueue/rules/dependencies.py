r"""Conditions as stores evaluate them.

A condition names keys. Before it reaches a store it is *resolved* for the agent that waits, into a tree of the
addresses which that agent may see: ``["e", address, ...]`` is true when any of the addresses holds an entry,
``["p", address, ...]`` when one that is not sensitive does, for an agent that may not read such, ``["a", *parts]`` when
all parts are, ``["o", *parts]`` when one is. The Redis store evaluates the same tree in ``lua/condition.lua``.

A condition that takes more than to know which keys are there becomes ``["j", address, ...]``: no store holds it true.
When one of the addresses is written it is to be judged again, in Python. ``\2<prefix>`` among them stands for all keys
that begin so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ctxqueue.errors import AccessDenied, ConditionError
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Agent, ContextScope
from ctxqueue.rules.access import may_name, may_read
from ctxqueue.rules.conditions import AllOf, AnyOf, AtLeast, Exists, is_judged, keys_of, leaves_of
from ctxqueue.rules.visibility import inner_addresses
from ctxqueue.settings import MAX_CONDITION_LEAVES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ctxqueue.rules.conditions import Condition
    from ctxqueue.rules.policy import Policy

OF_PREFIX: Final = "\2"
"""Begins what stands for all addresses whose key begins in some way."""

AFAR: Final = "\1"
"""Begins, among the runs that wait for an address, one of another workflow."""
JUDGED: Final = "j"
PRESENT: Final = "e"
PLAIN: Final = "p"
LEAVES: Final = (PRESENT, PLAIN)

Tree = list[Any]
"""A resolved condition; nested lists, as the stores keep them."""

MOST_RESOLVED: Final = 64
"""Conditions whose trees a policy remembers: of up to 1,000 keys each."""

Presence = Callable[[str, bool], bool]
"""Whether an address holds an entry, or one that is not sensitive."""


def resolve(policy: Policy, condition: Condition, agent: Agent) -> Tree:
    """Return the tree of addresses for the agent; it is not to be changed.

    Raises ConditionError over 1,000 keys, AccessDenied if the condition would tell the agent of a key that it may not
    read.
    """
    # A task asks three times before its body begins. By identity: what a condition compares with may have no hash.
    remembered: dict[tuple[int, Agent], tuple[Condition, Tree]] = policy.__dict__.setdefault("_resolved", {})
    known = remembered.get((id(condition), agent))
    if known is not None and known[0] is condition:
        return known[1]
    tree = _resolved(policy, condition, agent)
    if len(remembered) >= MOST_RESOLVED:
        remembered.clear()
    remembered[id(condition), agent] = condition, tree
    return tree


def _resolved(policy: Policy, condition: Condition, agent: Agent) -> Tree:
    leaves = list(leaves_of(condition))
    if len(leaves) > MAX_CONDITION_LEAVES:
        raise ConditionError(f"the condition has {len(leaves)} keys: at most {MAX_CONDITION_LEAVES} are allowed")
    for name in keys_of(condition):
        if not any(may_name(policy, agent, address) for address in inner_addresses(agent, name)):
            error = AccessDenied(f"{agent.agent_id} may not wait for {name!r}: it may not read it")
            error.denied = "wait", Address(ContextScope.WORKFLOW, "", name), "it may not read it"
            raise error
    if is_judged(condition):
        return [JUDGED, *watched(condition, agent).get("", ())]
    return _resolve(policy, condition, agent)


def fingerprint(tree: Tree) -> str:
    """Return what tells a tree from every other one."""
    return hashlib.blake2b(repr(tree).encode(), digest_size=16).hexdigest()


def _resolve(policy: Policy, condition: Condition, agent: Agent) -> Tree:
    if isinstance(condition, Exists):
        places = [each for each in inner_addresses(agent, condition.key) if may_name(policy, agent, each)]
        reads_all = all(may_read(policy, agent, each, sensitive=True) for each in places)
        return [PRESENT if reads_all else PLAIN, *(address.encode() for address in places)]
    if isinstance(condition, AllOf | AnyOf):
        kind = "a" if isinstance(condition, AllOf) else "o"
        return [kind, *(_resolve(policy, part, agent) for part in condition.parts)]
    raise AssertionError(f"{condition} is judged")


def watched(condition: Condition, agent: Agent) -> dict[str, tuple[str, ...]]:
    """Return what a judged condition is to be looked at again for when it is written, by workflow ('': its own)."""
    found: dict[str, dict[str, None]] = {"": {}}
    for placed in leaves_of(condition):
        addresses = found.setdefault(placed.workflow_id, {})
        if isinstance(placed.leaf, AtLeast):
            addresses[OF_PREFIX + placed.leaf.prefix] = None
        else:
            addresses.update(dict.fromkeys(places_of(placed.workflow_id, agent, placed.leaf.key)))
    return {workflow_id: tuple(addresses) for workflow_id, addresses in found.items()}


def places_of(workflow_id: str, agent: Agent, key: str) -> dict[str, Address]:
    """Return where a workflow may hold a key for the agent, innermost first, by the encoded address."""
    in_global = [Address(ContextScope.GLOBAL, "", key)]
    places = in_global if workflow_id == GLOBAL_WORKFLOW else inner_addresses(agent, key)
    return {address.encode(): address for address in places}


def watcher(workflow_id: str, run_id: str) -> str:
    """Return the name that a run has in other workflows."""
    return f"{AFAR}{workflow_id}{AFAR}{run_id}"


def watching_run(name: str) -> tuple[str, str] | None:
    """Return workflow and run of such a name; None: it is a run's own."""
    if not name.startswith(AFAR):
        return None
    workflow_id, _, run_id = name[len(AFAR) :].partition(AFAR)
    return workflow_id, run_id


def addresses_of(tree: Tree) -> Iterator[str]:
    """Yield every address of a resolved condition."""
    if tree[0] in (*LEAVES, JUDGED):
        yield from tree[1:]
    else:
        for part in tree[1:]:
            yield from addresses_of(part)


def holds(tree: Tree, present: Presence) -> bool:
    """Whether the condition is true, given which addresses hold an entry."""
    if tree[0] in LEAVES:
        return any(present(address, tree[0] == PLAIN) for address in tree[1:])
    if tree[0] == JUDGED:
        return False
    parts = (holds(part, present) for part in tree[1:])
    return all(parts) if tree[0] == "a" else any(parts)


def presence(found: Mapping[str, bool]) -> Presence:
    """Return it for addresses that hold entries, each with whether that is sensitive."""
    return lambda address, plain: address in found and not (plain and found[address])


def witness(tree: Tree, present: Presence) -> list[str]:
    """Return absent addresses such that a false condition stays false for as long as all of them stay absent.

    A waiter need only be registered on these: for ``all_of`` the last missing key, for ``any_of`` all of them.
    """
    if tree[0] in (*LEAVES, JUDGED):
        return list(tree[1:])
    false_parts = [part for part in tree[1:] if not holds(part, present)]
    if tree[0] == "a":
        return witness(false_parts[-1], present)
    return [address for part in false_parts for address in witness(part, present)]


def unmet(tree: Tree, present: Presence) -> list[int]:
    """Return the ordinals of the leaves that are false; of a judged one nothing is known."""
    if tree[0] == JUDGED:
        return []
    leaves = list(_leaves(tree))
    return [ordinal for ordinal, leaf in enumerate(leaves) if not holds(leaf, present)]


def _leaves(tree: Tree) -> Iterator[Tree]:
    if tree[0] in LEAVES:
        yield tree
    else:
        for part in tree[1:]:
            yield from _leaves(part)
