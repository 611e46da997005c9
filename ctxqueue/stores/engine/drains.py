"""Who drains an inbox, what becomes of updates that nobody could settle, and what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue import effects as fx
from ctxqueue.stores.engine import inbox as boxes
from ctxqueue.stores.engine.held import Answer, Due, Entry, Journaled

if TYPE_CHECKING:
    from ctxqueue.stores.engine.state import State

CAREFUL = 100
"""Updates that are tried one by one after drains have died."""
AN_HOUR_US = 3_600_000_000


def draw(state: State, effect: fx.Draw) -> fx.Drawn:
    """Take hold of an inbox and read the updates that wait longest."""
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None or workflow.removing:
        return fx.Drawn("no_workflow")
    inbox = boxes.of(workflow)
    mine = inbox.drain_id == effect.drain_id
    if inbox.drain_id and not mine and inbox.lease_us > now:
        return fx.Drawn("busy")
    # Whoever held it last and neither settled all nor let go has died.
    inbox.crashes += bool(inbox.drain_id) and not mine
    if inbox.crashes >= effect.careful_after:
        inbox.careful = CAREFUL
    limit = 1 if inbox.careful else effect.limit
    queued = state.first_queued(effect.workflow_id, limit, effect.max_bytes) if inbox.queued else ()
    if not queued:
        boxes.withdrawn(state, effect.workflow_id, inbox)
        boxes.put_back(workflow, inbox)
        state.save(workflow)
        return fx.Drawn("empty")
    inbox.drain_id, inbox.lease_us = effect.drain_id, now + effect.lease_us
    boxes.announced(state, effect.workflow_id, inbox, inbox.lease_us)
    boxes.put_back(workflow, inbox)
    state.save(workflow)
    updates = (fx.StoredUpdate(each.update_id, each.payload, boxes.outgoing_of(each)) for each in queued)
    return fx.Drawn("batch", inbox.crashes, tuple(updates))


def let_go(state: State, effect: fx.LetGo) -> None:
    """Let go of an inbox."""
    held = state.hold(effect.workflow_id)
    workflow = held.workflow
    if workflow is None:
        return
    inbox = boxes.of(workflow)
    if inbox.drain_id == effect.drain_id:
        inbox.drain_id, inbox.lease_us = b"", 0
        boxes.announced(state, effect.workflow_id, inbox, held.now_us)
        boxes.put_back(workflow, inbox)
        state.save(workflow)


def bury(state: State, effect: fx.Bury) -> bool:
    """Make an update a dead letter."""
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    update = state.updates(effect.workflow_id, [effect.update_id]).get(effect.update_id)
    if workflow is None or update is None:
        return False
    if update.about is not None:
        return True
    inbox = boxes.of(workflow)
    if not effect.drain_id and update.place is not None:
        return False
    if effect.drain_id:
        first = state.first_queued(effect.workflow_id, 1, 0)
        if inbox.drain_id != effect.drain_id or not first or first[0].update_id != effect.update_id:
            return False
        inbox.crashes = 0
        inbox.queued -= 1
        boxes.put_back(workflow, inbox)
        state.save(workflow)
    update.place, update.remind_us, update.attempts, update.about = None, None, 0, effect.about
    state.save_update(effect.workflow_id, update)
    answer = Answer(b"", workflow.revision, now, bytes(8), (), (), workflow.incarnation, effect.failure)
    state.journal(effect.workflow_id, Entry(effect.owner, ""), Journaled(answer, 0), now + effect.horizon_us)
    if effect.reports and update.item_id:
        state.send([boxes.outgoing_of(update)], now)
    return True


def load_dead(state: State, effect: fx.LoadDead) -> tuple[bool, list[tuple[str, bytes]]]:
    """Read dead letters in the order of their ids."""
    workflow = state.see(effect.workflow_id, ()).workflow
    if workflow is None or workflow.removing:
        return False, []
    return True, list(state.dead(effect.workflow_id, effect.after, effect.limit))


def load_updates(state: State, effect: fx.LoadUpdates) -> tuple[list[fx.StoredUpdate], str]:
    """Read stored updates in the order of their ids."""
    workflow = state.see(effect.workflow_id, ()).workflow
    if workflow is None or workflow.removing:
        return [], ""
    found = state.some_updates(effect.workflow_id, effect.cursor, effect.limit)
    updates = [fx.StoredUpdate(each.update_id, each.payload, boxes.outgoing_of(each)) for each in found]
    return updates, updates[-1].update_id if len(updates) == effect.limit else ""


def revive(state: State, effect: fx.Revive) -> bool:
    """Put a dead letter back to be tried, or drop it."""
    held = state.hold(effect.workflow_id)
    workflow, now = held.workflow, held.now_us
    update = state.updates(effect.workflow_id, [effect.update_id]).get(effect.update_id)
    if workflow is None or update is None or update.about is None:
        return False
    inbox = boxes.of(workflow)
    if effect.drop:
        inbox.stored -= 1
        state.remove_updates(effect.workflow_id, [effect.update_id])
    else:
        update.about, update.attempts = None, 0
        state.forget_answer(effect.workflow_id, effect.owner)
        if update.queued:
            inbox.queued += 1
            inbox.last += 1
            update.place = inbox.last
            if not inbox.drain_id:
                boxes.announced(state, effect.workflow_id, inbox, now)
        else:
            update.remind_us = now
            state.set_due({Due("updates", effect.workflow_id, ""): now})
        state.save_update(effect.workflow_id, update)
    boxes.put_back(workflow, inbox)
    state.save(workflow)
    return True


def remind(state: State, effect: fx.Remind) -> int:
    """Send by the outbox what is due in an inbox: overdue updates, or the drain's announcement."""
    name = Due(effect.due.kind, effect.due.workflow_id, "")
    held = state.hold(name.workflow_id)
    workflow, now = held.workflow, held.now_us
    if workflow is None:
        state.clear_due([name])
        return 0
    inbox = boxes.of(workflow)
    if name.kind == "updates":
        sent, dropped = _remind_of_updates(state, name, now, effect.limit, effect.lease_us)
        if dropped:
            inbox.stored -= dropped
            boxes.put_back(workflow, inbox)
            state.save(workflow)
        return sent
    oldest = state.first_queued(name.workflow_id, 1, 0) if inbox.queued else ()
    if not oldest:
        state.clear_due([name])
        return 0
    if inbox.announced_us > now:
        state.set_due({name: inbox.announced_us})
        return 0
    state.send([fx.Outgoing(inbox.item_id, inbox.message)], now)
    pause = _pause_after(now - oldest[0].enqueued_us, effect.lease_us)
    boxes.announced(state, name.workflow_id, inbox, now + pause)
    boxes.put_back(workflow, inbox)
    state.save(workflow)
    return 1


def _pause_after(age_us: int, lease_us: int) -> int:
    """A message may be waiting its turn: the longer it takes, the less often it is sent again."""
    return min(max(lease_us, age_us), AN_HOUR_US)


def _remind_of_updates(state: State, name: Due, now_us: int, limit: int, lease_us: int) -> tuple[int, int]:
    """Send overdue updates; return how many were sent, and how many dropped, as their time is over."""
    soonest = state.first_reminders(name.workflow_id, limit + 1)
    overdue = [update for update in soonest[:limit] if (update.remind_us or 0) <= now_us]
    ended = [update.update_id for update in overdue if 0 < update.ends_us <= now_us]
    sent = [update for update in overdue if update.update_id not in ended]
    if ended:
        state.remove_updates(name.workflow_id, ended)
    for update in sent:
        update.remind_us = now_us + _pause_after(now_us - update.enqueued_us, lease_us)
        state.save_update(name.workflow_id, update)
    if sent:
        state.send([boxes.outgoing_of(update) for update in sent], now_us)
    following = [update.remind_us for update in (*sent, *soonest[len(overdue) :]) if update.remind_us is not None]
    if following:
        state.set_due({name: min(following)})
    else:
        state.clear_due([name])
    return len(sent), len(ended)
