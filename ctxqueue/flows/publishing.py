"""From the outbox to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import Outgoing, Publish, Settle, do

if TYPE_CHECKING:
    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms


def publish(terms: Terms, workflow_id: str, items: tuple[Outgoing, ...]) -> Flow[None]:
    """Hand leased items to the broker and settle those that it took; the others go out again after the lease."""
    if items:
        taken = yield from do(Publish(items))
        if taken:
            yield from do(Settle(terms.shard_of(workflow_id), taken))
