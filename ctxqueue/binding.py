"""Canvases that belong to a workflow, wherever they are published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ctxqueue.errors import InvalidInput

WORKFLOW = "ctxqueue_workflow"
NAMESPACE = "ctxqueue_namespace"
"""The headers by which a message says where it belongs."""

PARTS = frozenset({"tasks", "header", "body"})
"""The arguments in which groups, chains and chords hold their signatures."""


def bound(canvas: Any, workflow_id: str, namespace: str) -> Any:
    """Return a copy of a canvas, each task of which is published into a workflow.

    It works on what Celery's signatures are, dicts, so that this needs no Celery. Raises InvalidInput.
    """
    if not isinstance(canvas, Mapping) or "task" not in canvas:
        raise InvalidInput(f"{canvas!r:.60} is no signature: give task.s(...), or a canvas of such")
    copy: Any = canvas.clone() if hasattr(canvas, "clone") else dict(canvas)
    if copy.get("subtask_type") in {"group", "chain", "chord"}:
        kwargs = copy["kwargs"]
        copy["kwargs"] = {
            **kwargs,
            **{name: _each(kwargs[name], workflow_id, namespace) for name in PARTS & kwargs.keys()},
        }
    options = copy.get("options") or {}
    headers = {**(options.get("headers") or {}), WORKFLOW: workflow_id, NAMESPACE: namespace}
    copy["options"] = {**options, "headers": headers}
    return copy


def _each(part: Any, workflow_id: str, namespace: str) -> Any:
    if isinstance(part, Iterable) and not isinstance(part, Mapping):
        return [bound(each, workflow_id, namespace) for each in part]
    return bound(part, workflow_id, namespace)
