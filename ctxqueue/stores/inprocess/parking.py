"""Runs that wait, triggers, callers, and messages of released runs, in this process's memory."""

from __future__ import annotations

from bisect import insort
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.rules.dependencies import OF_PREFIX
from ctxqueue.stores.waking import Callings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ctxqueue.rules.dependencies import Tree
    from ctxqueue.stores.engine.held import Parked, Ready, Trigger
    from ctxqueue.stores.inprocess.contents import Contents

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any]).decode


class ParkedRuns:
    """The part of a `MemoryState` that is about them."""

    def __init__(self) -> None:
        super().__init__()
        self.callings = Callings()
        self._workflows: dict[str, Contents] = {}
        self._ready: dict[str, dict[str, Ready]] = {}

    def waiting(self, workflow_id: str, addresses: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return (address, run) of the runs registered on some addresses, in order."""
        waiting = self._workflows[workflow_id].waiting
        pairs: list[tuple[str, str]] = []
        for address in sorted(addresses):
            pairs += [(address, run) for run in waiting.get(address, ())[: limit - len(pairs)]]
        return pairs

    def wake(self, name: str) -> None:
        """Wake who waits by a name."""
        self.callings.call(name)

    def register(self, workflow_id: str, run: str, addresses: Collection[str]) -> None:
        """Register a run of another workflow on addresses."""
        waiting = self._workflows[workflow_id].waiting
        for address in addresses:
            runs = waiting.setdefault(address, [])
            if run not in runs:
                insort(runs, run)

    def registered(self, workflow_id: str, run: str) -> Collection[str]:
        """Return the addresses that a run is registered on."""
        return {address for address, runs in self._workflows[workflow_id].waiting.items() if run in runs}

    def unregister(self, workflow_id: str, runs: Collection[str]) -> None:
        """Remove runs from all addresses."""
        waiting = self._workflows[workflow_id].waiting
        for run in runs:
            for address in self.registered(workflow_id, run):
                waiting[address].remove(run)
                if not waiting[address]:
                    del waiting[address]

    def prefixes(self, workflow_id: str) -> Sequence[str]:
        """Return what runs are registered on that stands for all addresses whose key begins in some way."""
        return [address for address in self._workflows[workflow_id].waiting if address.startswith(OF_PREFIX)]

    def trigger(self, workflow_id: str, trigger_id: str) -> Trigger | None:
        """Return a trigger's record."""
        return self._workflows[workflow_id].triggers.get(trigger_id)

    def triggers(self, workflow_id: str, after: str, limit: int) -> Mapping[str, Trigger]:
        """Return triggers' records by their ids, in order, those behind one."""
        triggers = self._workflows[workflow_id].triggers
        return {each: triggers[each] for each in sorted(each for each in triggers if each > after)[:limit]}

    def count_triggers(self, workflow_id: str) -> int:
        """Return how many there are."""
        return len(self._workflows[workflow_id].triggers)

    def count_parked(self, workflow_id: str, begins: str) -> int:
        """Return how many wait whose names begin so."""
        return sum(run.startswith(begins) for run in self._workflows[workflow_id].parked)

    def notices(self, workflow_id: str, agent_id: str) -> Sequence[bytes]:
        """Return what an agent was notified of, the oldest first."""
        return self._workflows[workflow_id].notices.get(agent_id, [])

    def save_notices(self, workflow_id: str, agent_id: str, notices: Sequence[bytes]) -> None:
        """Write what an agent was notified of."""
        self._workflows[workflow_id].notices[agent_id] = list(notices)

    def save_trigger(self, workflow_id: str, trigger_id: str, trigger: Trigger) -> None:
        """Write a trigger's record."""
        self._workflows[workflow_id].triggers[trigger_id] = trigger

    def drop_trigger(self, workflow_id: str, trigger_id: str) -> None:
        """Remove a trigger's record."""
        self._workflows[workflow_id].triggers.pop(trigger_id, None)

    def trim_triggers(self, workflow_id: str, most: int) -> None:
        """Remove the records of triggers that have ended, but for the last ones."""
        triggers = self._workflows[workflow_id].triggers
        ended = sorted((each.ended_us, trigger_id) for trigger_id, each in triggers.items() if each.ended_us)
        for _, trigger_id in ended[:-most]:
            del triggers[trigger_id]

    def parked(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Parked]:
        """Return those of the runs that wait."""
        parked = self._workflows[workflow_id].parked
        return {run: parked[run] for run in runs if run in parked}

    def park(self, workflow_id: str, runs: Mapping[str, Parked]) -> None:
        """Let runs wait, each registered on its witness."""
        contents = self._workflows[workflow_id]
        for run, parked in runs.items():
            contents.stop_waiting(run)
            contents.parked[run] = parked
            for address in parked.witness:
                insort(contents.waiting.setdefault(address, []), run)

    def some_parked(self, workflow_id: str, limit: int, after: str = "") -> Mapping[str, Parked]:
        """Return some runs that wait, by their ids, in order, those behind one."""
        parked = self._workflows[workflow_id].parked
        return {run: parked[run] for run in nsmallest(limit, (run for run in parked if run > after))}

    def guard(self, workflow_id: str, runs: Mapping[str, Parked], now_us: int, until_us: int) -> None:
        """Note what released runs are about to read."""
        contents = self._workflows[workflow_id]
        contents.guards = {packed: until for packed, until in contents.guards.items() if until > now_us}
        contents.guards.update((_pack(parked.condition), until_us) for parked in runs.values())

    def guarded(self, workflow_id: str, now_us: int, limit: int) -> Sequence[Tree]:
        """Return the conditions of such runs, each once."""
        guards = self._workflows[workflow_id].guards
        return [_unpack(packed) for packed, until_us in guards.items() if until_us > now_us][:limit]

    def unpark(self, workflow_id: str, runs: Collection[str]) -> None:
        """Let runs wait no more."""
        for run in runs:
            self._workflows[workflow_id].stop_waiting(run)

    def ready(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Ready]:
        """Return the messages of runs that nobody has claimed yet."""
        ready = self._ready.get(workflow_id, {})
        return {run: ready[run] for run in runs if run in ready}

    def any_ready(self, workflow_id: str) -> bool:
        """Whether there is such a message of any run."""
        return workflow_id in self._ready

    def keep_ready(self, workflow_id: str, runs: Mapping[str, Ready]) -> None:
        """Write such messages."""
        self._ready.setdefault(workflow_id, {}).update(runs)

    def drop_ready(self, workflow_id: str, run: str) -> None:
        """Remove such a message."""
        self._ready[workflow_id].pop(run, None)
        if not self._ready[workflow_id]:
            del self._ready[workflow_id]
