"""Which function carries out which effect. Each reads, decides, then writes, within one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.stores.engine import (
    attempts,
    audit,
    cancelling,
    commits,
    drains,
    endings,
    entries,
    histories,
    inbox,
    judging,
    memories,
    outbox,
    recurring,
    released,
    triggers,
    waiters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HANDLERS: Mapping[type[fx.Effect[Any]], Callable[[Any, Any], Any]] = {
    fx.Open: entries.open_workflow,
    fx.Load: entries.load,
    fx.LoadPage: entries.load_page,
    fx.LoadSince: histories.load_since,
    fx.LoadLog: histories.load_log,
    fx.LoadHistory: histories.load_history,
    fx.LoadHistoryAddresses: histories.load_history_addresses,
    fx.LoadGone: histories.load_gone,
    fx.Forget: histories.forget,
    fx.Reseal: histories.reseal,
    fx.LoadGraph: entries.load_graph,
    fx.Measure: entries.measure,
    fx.LoadCatalogue: entries.load_catalogue,
    fx.Expire: entries.expire,
    fx.Close: endings.close,
    fx.End: endings.end,
    fx.Commit: commits.commit,
    fx.Claim: attempts.claim,
    fx.Bind: cancelling.bind,
    fx.Mark: cancelling.mark,
    fx.Cancel: cancelling.cancel,
    fx.Once: attempts.once,
    fx.Promise: released.promise,
    fx.Renew: attempts.renew,
    fx.Arm: attempts.arm,
    fx.Finish: attempts.finish,
    fx.Release: attempts.release,
    fx.FanOut: waiters.fan_out,
    fx.Register: triggers.register,
    fx.LoadTrigger: triggers.load_trigger,
    fx.LoadTriggers: triggers.load_triggers,
    fx.EndTrigger: triggers.end_trigger,
    fx.Recur: recurring.recur,
    fx.EndRun: recurring.end_run,
    fx.LoadNotices: recurring.load_notices,
    fx.Rewatch: judging.rewatch,
    fx.Rest: judging.rest,
    fx.LoadParked: judging.load_parked,
    fx.WatchAfar: judging.watch_afar,
    fx.RestAfar: judging.rest_afar,
    fx.ForgetAfar: judging.forget_afar,
    fx.Fire: judging.fire,
    fx.Enqueue: inbox.enqueue,
    fx.FindUpdate: inbox.find_update,
    fx.Draw: drains.draw,
    fx.LetGo: drains.let_go,
    fx.Bury: drains.bury,
    fx.LoadDead: drains.load_dead,
    fx.LoadUpdates: drains.load_updates,
    fx.Revive: drains.revive,
    fx.Remind: drains.remind,
    fx.PeekDue: outbox.peek,
    fx.TakeOutgoing: outbox.take,
    fx.LoadBacklog: outbox.backlog,
    fx.Settle: outbox.settle,
    fx.StoreMemories: memories.store,
    fx.LoadMemories: memories.load,
    fx.GetMemories: memories.get,
    fx.AmendMemory: memories.amend,
    fx.DropMemories: memories.drop,
    fx.TouchMemories: memories.touch,
    fx.LoadRetirable: memories.load_retirable,
    fx.RegisterOwner: memories.register,
    fx.LoadOwners: memories.load_owners,
    fx.DropOwner: memories.drop_owner,
    fx.Audit: audit.audit,
    fx.LoadAudit: audit.load,
    fx.TrimAudit: audit.trim,
    fx.NotePolicy: audit.note_policy,
}

SINGLE_READS = frozenset({fx.Load, fx.LoadPage, fx.LoadHistoryAddresses, fx.LoadGone, fx.LoadCatalogue, fx.LoadAudit})
"""Effects that look once and write nothing: they need no transaction."""
SEVERAL_READS = frozenset(
    {
        *(
            fx.LoadSince,
            fx.LoadLog,
            fx.LoadHistory,
            fx.LoadGraph,
            fx.LoadDead,
            fx.LoadUpdates,
            fx.Measure,
            fx.LoadBacklog,
        ),
        *(fx.LoadMemories, fx.GetMemories, fx.LoadRetirable, fx.LoadOwners),
    }
)


def looks_once(effect: fx.Effect[Any]) -> bool:
    """Whether an effect looks once and writes nothing: it needs no transaction."""
    return type(effect) in SINGLE_READS


def looks_at_one_moment(effect: fx.Effect[Any]) -> bool:
    """Whether it looks more than once and writes nothing: it needs one moment, and holds nobody up."""
    return type(effect) in SEVERAL_READS or (isinstance(effect, fx.FindUpdate) and not effect.attempt)
