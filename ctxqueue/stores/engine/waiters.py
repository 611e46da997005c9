"""Parked runs whose addresses come: each fires, or is registered on another witness.

A run is registered only on a witness of its false condition: absent addresses such that it stays false for as long as
all of them stay absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from ctxqueue import effects as fx
from ctxqueue.records import is_sensitive
from ctxqueue.rules.dependencies import AFAR, JUDGED, OF_PREFIX, addresses_of, holds, presence, witness
from ctxqueue.stores.engine import released
from ctxqueue.stores.engine.held import Due

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ctxqueue.stores.engine.held import Parked, Workflow
    from ctxqueue.stores.engine.state import State
    from ctxqueue.stores.engine.writes import Decided

_encode = msgspec.msgpack.Encoder().encode

INLINE_WAITERS = 50
"""Looked at in a commit; more are left to `fan_out`."""
GUARDED_LEASES = 10
"""So long a released run has to come and read what it waited for."""
LEAF_BUDGET = 2_000
"""Addresses of conditions that are looked at in one transaction, though one condition at least."""


@dataclass(slots=True)
class Considered:
    """Which runs fire and which wait on, and the addresses whose waiters are left to be paged through."""

    fires: dict[str, Parked] = field(default_factory=dict)
    moves: dict[str, Parked] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    judged: list[str] = field(default_factory=list)
    """Runs that are to be judged, registered nowhere until they are."""
    afar: tuple[str, ...] = ()
    """Those of other workflows."""


def due_to_be_judged(workflow_id: str, run: str) -> Due:
    """Return the name of it."""
    return Due("judge", workflow_id, run)


def consider_arrivals(state: State, workflow: Workflow, decided: Decided, now_us: int) -> Considered:
    """Decide for the runs that wait for what a commit brings."""
    if not (workflow.parked or workflow.watched) or not (decided.records or decided.removed):
        return Considered()
    # What goes may bring to light what stands further out, or is what somebody wants to know of: who judges is told.
    arrived = sorted(
        [*(changed := {*decided.records, *decided.removed}), *prefixes_of(state, workflow.workflow_id, changed)]
    )
    registered = state.waiting(workflow.workflow_id, arrived, INLINE_WAITERS + 1)
    if not registered:
        return Considered()
    left: list[str] = []
    if len(registered) > INLINE_WAITERS:
        last = registered[-1][0]
        registered = [pair for pair in registered if pair[0] != last]
        left = [last] + [
            address for address in arrived if address > last and state.waiting(workflow.workflow_id, [address], 1)
        ]
    known: dict[str, bool | None] = {address: is_sensitive(record) for address, record in decided.records.items()}
    known.update(dict.fromkeys(set(decided.removed) - decided.records.keys()))
    considered, looked_at = _consider(state, workflow, [run for _, run in registered], known, now_us)
    late = {
        address for address, runs in groupby(registered, itemgetter(0)) if any(run not in looked_at for _, run in runs)
    }
    considered.pending = (*sorted(late), *left)
    return considered


def waited_on(state: State, workflow: Workflow, gone: Sequence[str]) -> tuple[str, ...]:
    """Return what is waited on among addresses that have gone, and what stands for some of them."""
    if not gone or not (workflow.parked or workflow.watched):
        return ()
    places = [*gone, *prefixes_of(state, workflow.workflow_id, gone)]
    return tuple(place for place in places if state.waiting(workflow.workflow_id, [place], 1))


def prefixes_of(state: State, workflow_id: str, addresses: Iterable[str]) -> list[str]:
    """Return what is waited on that stands for some of the addresses, by how their keys begin."""
    keys = [address.rpartition("\0")[2] for address in addresses]
    prefixes = state.prefixes(workflow_id)
    return [prefix for prefix in prefixes if any(key.startswith(prefix[len(OF_PREFIX) :]) for key in keys)]


def _consider(
    state: State, workflow: Workflow, runs: Sequence[str], known: Mapping[str, bool | None], now_us: int
) -> tuple[Considered, set[str]]:
    """Decide for runs, in their order, as far as the budget goes; return which have been looked at as well."""
    afar = [run for run in dict.fromkeys(runs) if run.startswith(AFAR)]
    runs = [run for run in runs if not run.startswith(AFAR)]
    parked = state.parked(workflow.workflow_id, set(runs))
    affordable: dict[str, Parked] = {}
    asked: set[str] = set()
    budget = LEAF_BUDGET
    for run in dict.fromkeys(runs):
        addresses = list(addresses_of(parked[run].condition))
        if budget < len(addresses) and budget < LEAF_BUDGET:
            break
        budget = max(0, budget - len(addresses))
        affordable[run] = parked[run]
        if parked[run].condition[0] != JUDGED:
            asked.update(addresses)
    found = state.present(workflow.workflow_id, asked - known.keys(), now_us)

    there = {address: sensitive for address, sensitive in {**found, **known}.items() if sensitive is not None}
    present = presence(there)
    considered = Considered(judged=afar, afar=tuple(afar))
    for run, waiting in affordable.items():
        if waiting.condition[0] == JUDGED:
            considered.moves[run] = msgspec.structs.replace(waiting, witness=[], turn=waiting.turn + 1)
            considered.judged.append(run)
        elif holds(waiting.condition, present):
            considered.fires[run] = waiting
        else:
            considered.moves[run] = msgspec.structs.replace(waiting, witness=witness(waiting.condition, present))
    return considered, {*affordable, *afar}


def carry_out(
    state: State, workflow: Workflow, considered: Considered, now_us: int, app: str, lease_us: int
) -> tuple[fx.Outgoing, ...]:
    """Do what was decided. Return the fired messages of the committer's own app, which are leased to it."""
    workflow_id = workflow.workflow_id
    if considered.moves:
        state.park(workflow_id, considered.moves)
    if considered.afar:
        state.unregister(workflow_id, considered.afar)
    if considered.judged:
        state.set_due(
            {
                due_to_be_judged(workflow_id, run): now_us
                if _is_others(considered.moves.get(run), app)
                else now_us + lease_us
                for run in considered.judged
            }
        )
    if considered.pending:
        state.set_due({Due("fan_out", workflow_id, address): now_us for address in considered.pending})
    if not considered.fires:
        return ()
    # What they waited for is not evicted until they have had time to read it. Many may have waited for the same.
    distinct = {_encode(parked.condition): run for run, parked in considered.fires.items()}
    guards = {run: considered.fires[run] for run in distinct.values()}
    state.guard(workflow_id, guards, now_us, now_us + GUARDED_LEASES * lease_us)
    return fire(state, workflow, considered.fires, now_us, lease_us, app)


def _is_others(parked: Parked | None, app: str) -> bool:
    """Whether it fires each time and only processes of another app can judge it: the next sweep of theirs does."""
    return parked is not None and parked.repeats is not None and not parked.item_id.startswith(f"{app}\0")


MOST_PREFIXES = 50
"""That a workflow's runs wait on: each commit looks at all of them."""


def too_many_prefixes(state: State, workflow_id: str, addresses: Iterable[str]) -> bool:
    """Whether the addresses stand for keys by how they begin, and as many such are waited on as there may be."""
    new = {address for address in addresses if address.startswith(OF_PREFIX)}
    return bool(new) and len(new | set(state.prefixes(workflow_id))) > MOST_PREFIXES


def stop_waiting(state: State, workflow: Workflow, runs: Mapping[str, Parked]) -> None:
    """Forget parked runs. The caller saves the workflow."""
    state.unpark(workflow.workflow_id, runs.keys())
    names = [Due("deadline", workflow.workflow_id, run) for run in runs]
    names += [due_to_be_judged(workflow.workflow_id, run) for run, parked in runs.items() if parked.judge]
    state.clear_due(names)
    workflow.parked -= len(runs)


def fire(
    state: State, workflow: Workflow, runs: Mapping[str, Parked], now_us: int, lease_us: int, app: str = ""
) -> tuple[fx.Outgoing, ...]:
    """Put the messages of parked runs in the outbox, and keep them until they are claimed; wake callers that wait.

    The caller saves the workflow.
    """
    stop_waiting(state, workflow, runs)
    callers = {run: parked for run, parked in runs.items() if parked.item_id.startswith(fx.WAKE)}
    for parked in callers.values():
        state.wake(parked.item_id.partition("\0")[0])
    runs = {run: parked for run, parked in runs.items() if run not in callers}
    sent = {run: fx.Outgoing(parked.item_id, parked.message) for run, parked in runs.items()}
    released.keep(state, workflow.workflow_id, sent, now_us, lease_us)
    items = sent.values()
    ours = [item for item in items if app and item.item_id.startswith(f"{app}\0")]
    others = [item for item in items if item not in ours]
    if ours:
        state.send(ours, now_us + lease_us)
    if others:
        state.send(others, now_us)
    return tuple(ours)


def fan_out(state: State, effect: fx.FanOut) -> fx.FannedOut:
    """Look at the next page of an address's waiters."""
    held = state.hold(effect.workflow_id)
    due = Due("fan_out", effect.workflow_id, effect.address)
    workflow, now = held.workflow, held.now_us
    if workflow is None:
        state.clear_due([due])
        return fx.FannedOut(0, (), more=False)
    runs = [run for _, run in state.waiting(effect.workflow_id, [effect.address], effect.limit)]
    full = len(runs) == effect.limit
    known: dict[str, bool | None] = {effect.address: None}
    if not effect.address.startswith(OF_PREFIX):
        known.update(state.present(effect.workflow_id, [effect.address], now))
    stands = effect.address.startswith(OF_PREFIX) or known[effect.address] is not None
    if not stands:  # only who judges is to be told of it, the others are registered where they should be
        parked = state.parked(effect.workflow_id, runs)
        runs = [run for run in runs if run.startswith(AFAR) or parked[run].judge]
        full = full and bool(runs)
    considered, looked_at = _consider(state, workflow, runs, known, now)
    outgoing = carry_out(state, workflow, considered, now, effect.app, effect.lease_us)
    if considered.fires:
        state.save(workflow)
    more = full or len(looked_at) < len(runs)
    if not more:
        state.clear_due([due])
    return fx.FannedOut(len(considered.fires), outgoing, more, tuple(considered.judged))
