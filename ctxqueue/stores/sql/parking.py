"""The part of a transaction's state that is about runs: those that wait, and those released and not claimed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.stores.sql import packing, writing
from ctxqueue.stores.sql.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ctxqueue.stores.engine.held import Parked, Ready, Trigger


class SqlParking(Transaction):
    """What a `SqlState` does with such runs."""

    def waiting(self, workflow_id: str, addresses: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return (address, run) of the runs registered on some addresses, in order."""
        rows = self._rows(writing.WAITING, workflow_id=workflow_id, addresses=list(addresses), rows=limit)
        return [(address, run) for address, run in rows]

    def wake(self, name: str) -> None:
        """Have who waits by a name woken once all is committed. On SQLite nobody can be: they look by themselves."""
        if self._dialect == "postgresql":
            self.called.append(name)

    def register(self, workflow_id: str, run: str, addresses: Collection[str]) -> None:
        """Register a run of another workflow on addresses."""
        rows = ({"workflow_id": workflow_id, "run_id": run, "address": address} for address in addresses)
        self._put(self._statements.waiter, rows)

    def registered(self, workflow_id: str, run: str) -> Collection[str]:
        """Return the addresses that a run is registered on."""
        rows = self._rows(writing.REGISTERED, workflow_id=workflow_id, of_run=run)
        return {address for (address,) in rows}

    def unregister(self, workflow_id: str, runs: Collection[str]) -> None:
        """Remove runs from all addresses."""
        self._change(writing.UNREGISTER, {"workflow_id": workflow_id, "runs": list(runs)})

    def prefixes(self, workflow_id: str) -> Sequence[str]:
        """Return what runs are registered on that stands for all addresses whose key begins in some way."""
        rows = self._rows(writing.PREFIXES, workflow_id=workflow_id)
        return [address for (address,) in rows]

    def trigger(self, workflow_id: str, trigger_id: str) -> Trigger | None:
        """Return a trigger's record."""
        rows = self._rows(writing.TRIGGER, workflow_id=workflow_id, trigger=trigger_id)
        return packing.trigger(rows[0][0]) if rows else None

    def triggers(self, workflow_id: str, after: str, limit: int) -> Mapping[str, Trigger]:
        """Return triggers' records by their ids, in order, those behind one."""
        rows = self._rows(writing.TRIGGERS, workflow_id=workflow_id, after=after, rows=limit)
        return {trigger_id: packing.trigger(packed) for trigger_id, packed in rows}

    def count_triggers(self, workflow_id: str) -> int:
        """Return how many there are."""
        return int(self._rows(writing.COUNT_TRIGGERS, workflow_id=workflow_id)[0][0])

    def count_parked(self, workflow_id: str, begins: str) -> int:
        """Return how many wait whose names begin so."""
        end = begins[:-1] + chr(ord(begins[-1]) + 1)
        return int(self._rows(writing.COUNT_PARKED, workflow_id=workflow_id, begins=begins, end=end)[0][0])

    def notices(self, workflow_id: str, agent_id: str) -> Sequence[bytes]:
        """Return what an agent was notified of, the oldest first."""
        rows = self._rows(writing.NOTICES, workflow_id=workflow_id, of_agent=agent_id)
        return packing.notices(rows[0][0]) if rows else []

    def save_notices(self, workflow_id: str, agent_id: str, notices: Sequence[bytes]) -> None:
        """Write what an agent was notified of."""
        row = {"workflow_id": workflow_id, "agent_id": agent_id, "notices": packing.pack(list(notices))}
        self._put(self._statements.notice, [row])

    def save_trigger(self, workflow_id: str, trigger_id: str, trigger: Trigger) -> None:
        """Write a trigger's record."""
        row = {"workflow_id": workflow_id, "trigger_id": trigger_id, "ended_us": trigger.ended_us or None}
        self._put(self._statements.trigger, [{**row, "trigger": packing.pack(trigger)}])

    def drop_trigger(self, workflow_id: str, trigger_id: str) -> None:
        """Remove a trigger's record."""
        self._change(writing.DROP_TRIGGER, {"workflow_id": workflow_id, "of_trigger": trigger_id})

    def trim_triggers(self, workflow_id: str, most: int) -> None:
        """Remove the records of triggers that have ended, but for the last ones."""
        self._change(writing.TRIM_TRIGGERS, {"workflow_id": workflow_id, "most": most})

    def parked(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Parked]:
        """Return those of the runs that wait."""
        rows = self._rows(writing.PARKED, workflow_id=workflow_id, runs=list(runs))
        return {run: packing.parked(packed) for run, packed in rows}

    def park(self, workflow_id: str, runs: Mapping[str, Parked]) -> None:
        """Let runs wait, each registered on its witness and nowhere else."""
        self._change(writing.UNREGISTER, {"workflow_id": workflow_id, "runs": list(runs)})
        rows = [{"workflow_id": workflow_id, "run_id": run} for run in runs]
        packed = [{**row, "parked": packing.pack(runs[row["run_id"]])} for row in rows]
        self._put(self._statements.parked, packed)
        registered = [{**row, "address": address} for row in rows for address in runs[row["run_id"]].witness]
        self._put(self._statements.waiter, registered)

    def some_parked(self, workflow_id: str, limit: int, after: str = "") -> Mapping[str, Parked]:
        """Return some runs that wait, by their ids, in order, those behind one."""
        rows = self._rows(writing.SOME_PARKED, workflow_id=workflow_id, rows=limit, after=after)
        return {run: packing.parked(packed) for run, packed in rows}

    def guard(self, workflow_id: str, runs: Mapping[str, Parked], now_us: int, until_us: int) -> None:
        """Note what released runs are about to read; what was noted until now is forgotten."""
        self._change(writing.FORGET_GUARDS, {"workflow_id": workflow_id, "now_us": now_us})
        rows = (
            {"workflow_id": workflow_id, "run_id": run, "until_us": until_us, "condition": packing.pack(kept.condition)}
            for run, kept in runs.items()
        )
        self._put(self._statements.guard, rows)

    def guarded(self, workflow_id: str, now_us: int, limit: int) -> Sequence[list[Any]]:
        """Return the conditions of such runs, each once."""
        rows = self._rows(writing.GUARDED, workflow_id=workflow_id, now_us=now_us, rows=limit)
        return [packing.condition(packed) for (packed,) in rows]

    def unpark(self, workflow_id: str, runs: Collection[str]) -> None:
        """Let runs wait no more."""
        self._change(writing.UNREGISTER, {"workflow_id": workflow_id, "runs": list(runs)})
        self._change(writing.UNPARK, {"workflow_id": workflow_id, "runs": list(runs)})

    def ready(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Ready]:
        """Return the messages of runs that nobody has claimed yet."""
        rows = self._rows(writing.READY, workflow_id=workflow_id, runs=list(runs))
        return {run: packing.ready(packed) for run, packed in rows}

    def any_ready(self, workflow_id: str) -> bool:
        """Whether there is such a message of any run."""
        return bool(self._rows(writing.ANY_READY, workflow_id=workflow_id))

    def keep_ready(self, workflow_id: str, runs: Mapping[str, Ready]) -> None:
        """Write such messages."""
        rows = ({"workflow_id": workflow_id, "run_id": run, "ready": packing.pack(kept)} for run, kept in runs.items())
        self._put(self._statements.ready, rows)

    def drop_ready(self, workflow_id: str, run: str) -> None:
        """Remove such a message."""
        self._change(writing.DROP_READY, {"workflow_id": workflow_id, "of_run": run})
