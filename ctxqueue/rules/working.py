"""Working memory: the items that an agent keeps in mind in one workflow, bounded by number and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ctxqueue import codec
from ctxqueue.rules.merging import register_reducer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ctxqueue.models import ContextPriority

STRATEGY: Final = "ctxqueue.working_memory"


def change(
    items: Iterable[Mapping[str, Any]], gone: Iterable[str], *, max_items: int, max_bytes: int
) -> dict[str, Any]:
    """Return the value that a new working memory has, and that a reducer lays over one that is there."""
    return _bounded(
        {"items": [dict(item) for item in items], "gone": list(gone), "max_items": max_items, "max_bytes": max_bytes}
    )


def changed(existing: Any, new: Any, _priority: ContextPriority) -> Any:
    """Return what is kept after a change: old items but those that are gone, new ones, within the newest bounds."""
    gone = set(new["gone"])
    old = [item for item in existing["items"] if item["id"] not in gone]
    there = {item["id"] for item in old}
    added = [item for item in new["items"] if item["id"] not in there]
    return _bounded({**new, "items": old + added, "gone": []})


def _bounded(state: dict[str, Any]) -> dict[str, Any]:
    """Drop what matters least, of such the oldest, until the rest fits; the newest item goes last."""
    items: list[dict[str, Any]] = list(state["items"])
    sizes = {item["id"]: len(codec.pack(item)) for item in items}
    while items and (len(items) > state["max_items"] or sum(sizes[item["id"]] for item in items) > state["max_bytes"]):
        items.remove(min(items[:-1] or items, key=lambda item: item["importance"]))
    return {**state, "items": items}


register_reducer(STRATEGY, changed)
