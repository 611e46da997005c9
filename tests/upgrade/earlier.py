"""What a process of an earlier version writes; run by that version, with a store's URL as its argument.

It uses only what the earliest version has.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal

from ctxqueue import connect
from ctxqueue.models import Put
from ctxqueue.testing.contract.base import WORKFLOW
from ctxqueue.testing.contract.runs import Worker

VALUES = {
    "text": "x",
    "numbers": [1, -2, 2**70, 1.5],
    "decimal": Decimal("1.10"),
    "instant": datetime(2026, 1, 2, tzinfo=UTC),
    "set": {1, 2},
    "bytes": b"\0\xff",
    "nested": {"a": {"b": [None, True]}},
}
"""Key -> value."""


def write(url: str) -> None:
    """Leave entries of all kinds, a named operation, an expiry, and a parked run."""
    with connect(url) as manager:
        wf = manager.workflow(WORKFLOW, agent_id="analyst_001", groups=["audit"])
        wf.open({"owner": "finance"})
        wf.update(VALUES)
        wf.put("list", [1], priority="high", metadata={"m": 1}, depends_on=["text"])
        wf.update({"list": [2]}, merge_strategy="append", operation_id="o")
        wf.put("private_notes", 1)
        wf.put("shared", 1, group="audit")
        wf.put("global_rates", {"USD": 1})
        wf.put("soon", 1, ttl=0.05)
        wf.update({"late": Put(1, ttl=86_400)})
        wf.put("api_token", "t")
        wf.put("gone", 1)
        wf.delete("gone")
    worker = Worker(url)
    worker.claim_and_park("r", "awaited")
    worker.manager.close()


if __name__ == "__main__":
    write(sys.argv[1])
