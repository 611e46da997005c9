"""From the outbox to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import Outgoing, Publish, Settle, do

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, Position
    from ctxqueue.flows.terms import Terms


def item_id(app: str, workflow_id: str, run_id: str, position: Position) -> str:
    """Return the outbox's name for the message that enters a run at a position."""
    return f"{app}\0{workflow_id}\0{run_id}\0{position.retries}.{position.leg}"


def publish(terms: Terms, workflow_id: str, items: tuple[Outgoing, ...]) -> Flow[None]:
    """Hand leased items to the broker and settle those that it took; the others go out again after the lease."""
    if items:
        taken = yield from do(Publish(items))
        if taken:
            yield from do(Settle(terms.shard_of(workflow_id), taken))
