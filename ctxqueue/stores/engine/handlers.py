"""Which function carries out which effect. Each reads, decides, then writes, within one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.engine import attempts, commits, entries, outbox, waiters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HANDLERS: Mapping[type[fx.Effect[Any]], Callable[[Any, Any], Any]] = {
    fx.Open: entries.open_workflow,
    fx.Load: entries.load,
    fx.LoadPage: entries.load_page,
    fx.Expire: entries.expire,
    fx.Commit: commits.commit,
    fx.Claim: attempts.claim,
    fx.Renew: attempts.renew,
    fx.Arm: attempts.arm,
    fx.Finish: attempts.finish,
    fx.Release: attempts.release,
    fx.FanOut: waiters.fan_out,
    fx.PeekDue: outbox.peek,
    fx.TakeOutgoing: outbox.take,
    fx.Settle: outbox.settle,
}

READ_ONLY = frozenset({fx.Load, fx.LoadPage})
"""Effects that look with one read and write nothing: they need no transaction."""
