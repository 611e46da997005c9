"""What the workers are given to do, and what must have come of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celery import chain, chord
from celery.result import denied_join_result

from tests.integration.apps.chaos import DURABLE

if TYPE_CHECKING:
    import random

    from ctxqueue.context import WorkflowHandle
    from tests.integration.deployments import Deployment

OPEN_WORKFLOWS = 8
"""Written to at a time, each by many tasks."""
NAMES_A_WORKFLOW = 150
LONGEST_BODY = 0.12
"""Seconds."""
LONGEST_WAIT = 4.0
"""Seconds until a key comes that a task waits for."""
CHAIN, CHORD = 3, 4


@dataclass(frozen=True)
class Expected:
    """One published task: its id, the name that it appends, and the result that it must have."""

    task_id: str
    name: str
    kind: str
    workflow_id: str
    value: list[str] | None
    """None for an enqueued update, whose versions depend on the others."""


@dataclass
class Work:
    """Publishes tasks of all kinds, and remembers each."""

    site: Deployment
    random: random.Random
    durable: bool = False
    """Whether the store keeps the messages; enqueued updates, which it does not keep, are left out then."""
    expected: list[Expected] = field(default_factory=list)
    coming: list[tuple[float, WorkflowHandle, str]] = field(default_factory=list)
    """Keys that tasks wait for: when they are due, and where."""
    _open: list[tuple[WorkflowHandle, int]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def publish(self, now: float) -> None:
        """Publish one more task, chain or chord. Raises what the broker or the store raises."""
        kinds = (self._one, self._parked, self._chain, self._chord, self._update)
        publish = self.random.choices(kinds, weights=(5, 4, 2, 1, 0 if self.durable else 2))[0]
        # Nobody reads results before the end: do not have each of them sent to this process.
        with denied_join_result():
            publish(self._workflow(), now)

    def put_keys(self, now: float) -> None:
        """Put the keys that are due."""
        for item in [item for item in self.coming if item[0] <= now]:
            self.coming.remove(item)
            _, workflow, awaits = item
            workflow.put(awaits, True)  # noqa: FBT003 - a value like any other

    def _workflow(self) -> WorkflowHandle:
        if len(self._open) < OPEN_WORKFLOWS:
            self._open.append((self.site.workflow("chaos"), 0))
        at = self.random.randrange(len(self._open))
        workflow, uses = self._open[at]
        if uses * 2 < NAMES_A_WORKFLOW:  # a use is two names on the average
            self._open[at] = (workflow, uses + 1)
        else:
            del self._open[at]
        return workflow

    def _name(self) -> str:
        return f"name-{next(self._numbers):06d}"

    def _signature(self, task: str, now: float, workflow: WorkflowHandle) -> Any:
        name = self._name()
        options: dict[str, Any] = {"name": name, "seconds": self.random.uniform(0.0, LONGEST_BODY)}
        if task == "append_when":
            options["awaits"] = f"key-{name}"
            self.coming.append((now + self.random.uniform(0.0, LONGEST_WAIT), workflow, f"key-{name}"))
        return self.site.task(f"{task}{DURABLE if self.durable else ''}").s(**options)

    def _some(self, now: float, workflow: WorkflowHandle) -> Any:
        return self._signature(self.random.choice(("append", "append", "append_when")), now, workflow)

    def _remember(self, kind: str, workflow: WorkflowHandle, signature: Any, value: list[str]) -> None:
        name = signature.kwargs["name"]
        self.expected.append(Expected(signature.id, name, kind, workflow.workflow_id, value))

    def _one(self, workflow: WorkflowHandle, now: float, task: str = "append") -> None:
        signature = self._signature(task, now, workflow)
        signature.freeze()
        with workflow:
            signature.apply_async()
        self._remember("task" if task == "append" else "parked task", workflow, signature, [signature.kwargs["name"]])

    def _parked(self, workflow: WorkflowHandle, now: float) -> None:
        self._one(workflow, now, "append_when")

    def _chain(self, workflow: WorkflowHandle, now: float) -> None:
        links = [self._some(now, workflow) for _ in range(CHAIN)]
        for link in links:
            link.freeze()
        with workflow:
            chain(*links).apply_async()
        names = [link.kwargs["name"] for link in links]
        for place, link in enumerate(links):
            self._remember("link of a chain", workflow, link, names[: place + 1])

    def _chord(self, workflow: WorkflowHandle, now: float) -> None:
        header = [self._some(now, workflow) for _ in range(CHORD)]
        body = self._signature("gather", now, workflow)
        for each in (*header, body):
            each.freeze()
        with workflow:
            chord(header, body).apply_async()
        for member in header:
            self._remember("member of a chord", workflow, member, [member.kwargs["name"]])
        names = sorted(member.kwargs["name"] for member in header)
        self._remember("body of a chord", workflow, body, [*names, body.kwargs["name"]])

    def _update(self, workflow: WorkflowHandle, _now: float) -> None:
        name = self._name()
        result = self.site.queue.enqueue_update(
            workflow.workflow_id, "writer", {"names": [name]}, merge_strategy="append"
        )
        self.expected.append(Expected(result.id, name, "enqueued update", workflow.workflow_id, None))
