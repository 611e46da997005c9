"""Dependencies between entries: who depends on whom, whether in a circle, and what has become stale.

An entry names the keys that it depends on. A key stands for the entry of that name in the same scope, and for the
workflow's; never for one in a scope that is further in, so no circle runs through what an agent cannot see.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from ctxqueue.models import ContextScope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ctxqueue.models import ContextEntry

Edges = dict[str, tuple[str, ...]]
"""Encoded address -> the keys that it depends on."""


def _targets(address: str, keys: tuple[str, ...]) -> Iterator[str]:
    scope, owner, _ = address.split("\0", 2)
    for key in keys:
        yield f"{scope}\0{owner}\0{key}"
        if owner:
            yield f"w\0\0{key}"


def circle(edges: Edges, begin: tuple[str, ...]) -> list[str]:
    """Return the addresses along a circle that can be reached from some, its first one again at its end."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    ahead, seen = list(begin), set(begin)
    while ahead:
        address = ahead.pop()
        targets = list(_targets(address, edges.get(address, ())))
        sorter.add(address, *targets)
        ahead += [target for target in targets if target not in seen]
        seen.update(targets)
    try:
        sorter.prepare()
    except CycleError as error:
        # Each one is there before the next; the one that depends comes first to a reader.
        return list(reversed(error.args[1]))
    return []


def is_resolved(seen: Mapping[str, ContextEntry], key: str) -> bool:
    """Whether all is there that the key's entry depends on; nothing is missing for one that is not there itself."""
    entry = seen.get(key)
    return entry is None or all(name in seen for name in entry.dependencies)


def stale(seen: Mapping[str, ContextEntry]) -> list[str]:
    """Return the keys of entries of which one dependency is newer than they are, in their order."""
    return [
        key
        for key, entry in seen.items()
        if any(_newer(seen[name], entry) for name in entry.dependencies if name in seen and name != key)
    ]


def _newer(dependency: ContextEntry, entry: ContextEntry) -> bool:
    if (dependency.scope is ContextScope.GLOBAL) is (entry.scope is ContextScope.GLOBAL):
        return dependency.revision > entry.revision
    return dependency.timestamp > entry.timestamp  # revisions of two workflows do not compare
