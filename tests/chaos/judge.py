"""What must be true at the end, and for each thing that is not, why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.trace import GAP, Journal
from tests.integration.deployments import QUEUE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos.work import Expected
    from tests.integration.deployments import Deployment

AT_ONCE = 500
NOTHING = {"queue": 0, "unacked": 0, "unacked_index": 0}


@dataclass
class Verdict:
    """What was found; sound if nothing is wrong but what the broker is known to lose."""

    wrong: list[str] = field(default_factory=list)
    lost_by_the_broker: list[str] = field(default_factory=list)
    """Published messages, which the server's journal shows to be lost between the fetch and kombu's note of it."""


def unfinished(site: Deployment, expected: Iterable[Expected]) -> list[Expected]:
    """Return those that have no final result yet."""
    items = list(expected)
    left = []
    for first in range(0, len(items), AT_ONCE):
        part = items[first : first + AT_ONCE]
        states = [_result(raw)["status"] for raw in _stored(site, part)]
        left += [item for item, state in zip(part, states, strict=True) if state not in ("SUCCESS", "FAILURE")]
    return left


def still_held(site: Deployment) -> dict[str, int]:
    """Return what the store holds that is on its way: messages in the outbox, due standbys, parked runs."""
    held: Counter[str] = Counter()
    client: Any = site.redis
    for key in client.scan_iter("{*}:*", count=1_000):
        name = key.decode().rpartition(":")[2]
        if name == "out":
            held["outbox"] += client.zcard(key)
        elif name == "due":
            held["standbys"] += sum(each.startswith(b"standby") for each in client.zrange(key, 0, -1))
        elif name == "t":
            held["parked"] += sum(each.startswith(b"c:") for each in client.hkeys(key))
    return {what: count for what, count in held.items() if count}


def judge(site: Deployment, expected: list[Expected]) -> Verdict:
    """Look at every result and every name; what is missing is traced to its cause."""
    verdict = Verdict()
    missing = unfinished(site, expected)
    if missing:
        _explain(verdict, missing, Journal(Path(str(site.redis.config_get("dir")["dir"]))))
    excused = {item.task_id for item in missing}
    _judge_results(site, [item for item in expected if item.task_id not in excused], verdict)
    _judge_names(site, expected, excused, verdict)
    verdict.wrong += (f"{count} {what} are left in the store" for what, count in still_held(site).items())
    if (queued := site.queued()) != NOTHING:
        verdict.wrong.append(f"the broker holds {queued}")
    return verdict


def _explain(verdict: Verdict, missing: list[Expected], journal: Journal) -> None:
    """Tell the messages that the broker lost from those that nobody can account for.

    What a lost message would have published, the rest of its chain and the body of its chord, is lost with it.
    """
    fates = {item.task_id: journal.fate(item.task_id, QUEUE) for item in missing}
    for item in missing:
        fate = fates[item.task_id]
        if fate == GAP:
            verdict.lost_by_the_broker.append(f"{item.kind} {item.name}")
        elif fate != "never published" or not _has_lost_ancestor(item, missing, fates):
            verdict.wrong.append(f"{item.kind} {item.name} [{item.task_id}] has no result: its message was {fate}")


def _has_lost_ancestor(item: Expected, missing: list[Expected], fates: dict[str, str]) -> bool:
    ahead = set((item.value or [])[:-1])
    return any(fates[other.task_id] == GAP for other in missing if other.name in ahead)


def _judge_results(site: Deployment, expected: list[Expected], verdict: Verdict) -> None:
    for first in range(0, len(expected), AT_ONCE):
        part = expected[first : first + AT_ONCE]
        for item, raw in zip(part, _stored(site, part), strict=True):
            result = _result(raw)
            right = result["result"] == item.value if item.value else set(result["result"] or ()) >= {"revision"}
            if result["status"] != "SUCCESS" or not right:
                verdict.wrong.append(f"{item.kind} {item.name} [{item.task_id}] ended {str(result)[:500]}")


def _judge_names(site: Deployment, expected: list[Expected], excused: set[str], verdict: Verdict) -> None:
    wanted: dict[str, dict[str, Expected]] = {}
    for item in expected:
        wanted.setdefault(item.workflow_id, {})[item.name] = item
    for workflow_id, items in wanted.items():
        entry = site.queue.workflow(workflow_id).get("names")
        found = Counter(entry.value if entry is not None else ())
        for name, times in found.items():
            if times != 1 or name not in items:
                kind = f"{items[name].kind} [{items[name].task_id}]" if name in items else "nobody"
                verdict.wrong.append(f"{name} of {kind} stands {times} times in {workflow_id}")
        verdict.wrong += (
            f"{item.kind} {name} [{item.task_id}] is not in {workflow_id}"
            for name, item in items.items()
            if name not in found and item.task_id not in excused
        )


def _stored(site: Deployment, items: list[Expected]) -> list[bytes | None]:
    stored: Any = site.redis.mget([f"celery-task-meta-{item.task_id}" for item in items]) if items else []
    return list(stored)


def _result(raw: bytes | None) -> dict[str, Any]:
    return json.loads(raw) if raw else {"status": "PENDING", "result": None}
