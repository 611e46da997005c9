"""What is kept of triggers and subscriptions, and what is to be sent of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.effects import LASTING, LoadTrigger, do, family_of
from ctxqueue.envelopes import opened
from ctxqueue.errors import ConfigurationError
from ctxqueue.flows.looking import Judge  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Canvases, Terms

TRIGGERS_A_PAGE = 500
OVER = ("CANCELLED", "EXPIRED", "FAILED")
"""States in which nothing is sent any more."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a trigger. New fields go to the end, with a default."""

    judge: Judge
    """Its condition, and the agent that registered it."""
    canvas: bytes
    late_canvas: bytes
    """Sent when the time is up; empty: nothing."""
    pass_cause: bool
    depth: int
    resolved: str = ""
    """What its condition was by the policy of then, as a fingerprint; empty: it is judged at every look."""


class KeptSubscription(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a subscription. New fields go to the end, with a default."""

    patterns: tuple[str, ...]
    agent_id: str
    canvas: bytes


class Launch(msgspec.Struct, frozen=True):
    """What is to be sent, and why."""

    canvas: bytes
    cause: dict[str, Any]
    pass_cause: bool
    depth: int


_trigger = msgspec.msgpack.Decoder(Kept).decode
_subscription = msgspec.msgpack.Decoder(KeptSubscription).decode


def kept_trigger(record: bytes) -> Kept:
    """Return what is kept of a trigger; raises DecryptionError."""
    return _trigger(opened(record))


def kept_subscription(record: bytes) -> KeptSubscription:
    """Return what is kept of a subscription; raises DecryptionError."""
    return _subscription(opened(record))


def canvases_of(terms: Terms) -> Canvases:
    """Return what makes messages of signatures; raises ConfigurationError outside any Celery app."""
    if terms.canvases is None:
        raise ConfigurationError(
            "what is sent is a Celery signature, and this manager belongs to no Celery app: take the one of"
            " ctxqueue.install(app), as in 'ctx.workflow(id).when(...)'"
        )
    return terms.canvases


def launched_again(
    workflow_id: str, trigger_id: str, cause: dict[str, Any], depth: int
) -> Flow[tuple[Launch, bool] | None]:
    """Return what one that fires each time sends, and whether its end is waited for; None: it was called off since."""
    kept = yield from do(LoadTrigger(workflow_id, trigger_id))
    if kept is None or kept.state in OVER:
        return None
    if family_of(trigger_id).startswith(f"{LASTING}s"):
        return Launch(kept_subscription(kept.record).canvas, cause, pass_cause=False, depth=depth), False
    trigger = kept_trigger(kept.record)
    return Launch(trigger.canvas, cause, trigger.pass_cause, depth), True
