"""A canvas that is sent more than once: its tasks' ids anew each time, and who tells that they are at their end.

It works on what Celery makes of a canvas when it is stored, nested dicts, so that nothing of the user's is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.identity import derived_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

IDS = frozenset({"task_id", "group_id", "root_id", "parent_id"})
"""Options that name a task or a group."""
FOLLOWING = frozenset({"link", "link_error", "chord"})
"""Options that hold signatures."""
HOLDING = {"group": ("tasks",), "chain": ("tasks",), "chord": ("header", "body")}
"""By kind of canvas: the arguments that hold signatures."""


def renamed(content: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Return a stored canvas with the ids of its tasks and groups derived from a run: sent twice, it is the same.

    What a user gives to tasks stays as it is, whatever it is called.
    """
    options = {name: _option(name, value, run_id) for name, value in (content.get("options") or {}).items()}
    kwargs = dict(content.get("kwargs") or {})
    for name in HOLDING.get(str(content.get("subtask_type")), ()):
        kwargs[name] = _inside(kwargs[name], run_id)
    return {**content, "options": options, "kwargs": kwargs}


def _option(name: str, value: Any, run_id: str) -> Any:
    if name in IDS and isinstance(value, str):
        return derived_run_id(run_id, value)
    return _inside(value, run_id) if name in FOLLOWING else value


def _inside(content: Any, run_id: str) -> Any:
    if isinstance(content, list | tuple):
        return [_inside(each, run_id) for each in content]
    return renamed(content, run_id) if isinstance(content, dict) and "task" in content else content


def count_of(content: dict[str, Any]) -> int:
    """Return how many parts it has that end by themselves: the members of a group that stands last."""
    return sum(map(count_of, _last(content))) if _last(content) else 1


def _last(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the end of a canvas is the end of; nothing: it is a task."""
    kind, kwargs = content.get("subtask_type"), content.get("kwargs") or {}
    if kind == "group":
        return list(kwargs["tasks"])
    if kind == "chain":
        return list(kwargs["tasks"])[-1:]
    return [kwargs["body"]] if kind == "chord" else []


def tied(content: dict[str, Any], ended: Callable[[list[int]], dict[str, Any]]) -> None:
    """Let each of its parts tell of its end, and each task of its failure, by the signatures that ``ended`` returns."""
    _tie(content, list(range(count_of(content))), ended, last=True)


def _tie(
    content: dict[str, Any], parts: list[int], ended: Callable[[list[int]], dict[str, Any]], *, last: bool
) -> None:
    """``parts`` are those that come to their end with it, or do not begin if it fails."""
    kind, kwargs = content.get("subtask_type"), content.get("kwargs") or {}
    if kind == "group":
        first = 0
        for member in kwargs["tasks"]:
            size = count_of(member) if last else 0
            _tie(member, parts[first : first + size] if last else parts, ended, last=last)
            first += size
    elif kind == "chain":
        *before, end = kwargs["tasks"]
        for each in before:
            _tie(each, parts, ended, last=False)
        _tie(end, parts, ended, last=last)
    elif kind == "chord":  # the failure of a member is told to its body
        _tie(kwargs["body"], parts, ended, last=last)
    else:
        options = content.setdefault("options", {})
        if last:
            options["link"] = [*_several(options.get("link")), ended(parts)]
        options["link_error"] = [*_several(options.get("link_error")), ended(parts)]


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given] if given else []
