"""What a store is built on: the reads and writes of one transaction, as the engine asks for them.

A `State` is one transaction. The engine reads first and writes last, and reads nothing that it has written: so a state
may collect the writes, and carry them out at its end in few steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ctxqueue.stores.engine.held import NOTHING, Wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ctxqueue import effects as fx
    from ctxqueue.stores.engine.held import (
        Answer,
        Due,
        Entry,
        Held,
        Journaled,
        Parked,
        Ready,
        Removable,
        Run,
        StoredUpdate,
        Trigger,
        Workflow,
    )


class State(Protocol):
    """One transaction of a store. Addresses are in the order of their UTF-8 bytes."""

    # Looking -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the store's clock."""
        ...

    def see(self, workflow_id: str, addresses: Sequence[str], call: Entry | None = None) -> Held:
        """Return workflow, records and what a call was answered, of one revision, without holding them."""
        ...

    def page(self, effect: fx.LoadPage) -> tuple[Held, bool]:
        """Return the records of a page, in order, expired ones too, and whether there is more behind them."""
        ...

    def hold(self, workflow_id: str, wanted: Wanted = NOTHING) -> Held:
        """Keep everybody else from a workflow, also from one that is not there, and look at it."""
        ...

    def expiring(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that expire first."""
        ...

    def evictable(self, workflow_id: str, limit: int) -> Sequence[Removable]:
        """Return the entries that go first when room runs out."""
        ...

    def edges(self, workflow_id: str) -> Mapping[str, tuple[str, ...]]:
        """Return the keys that addresses depend on."""
        ...

    def log(self, workflow_id: str, from_revision: int, limit: int, max_bytes: int) -> Sequence[fx.LogRecord]:
        """Return log records from a revision on, in order, at least one if there is one."""
        ...

    def oldest_logged(self, workflow_id: str) -> int | None:
        """Return the oldest revision that the log has."""
        ...

    def count_log(self, workflow_id: str) -> int:
        """Return how many records the log has."""
        ...

    def history(self, workflow_id: str, address: str, skip: int, max_bytes: int) -> tuple[Sequence[fx.Kept], bool]:
        """Return values kept of an address, newest first, at least one if there is one, and whether there are more."""
        ...

    def history_addresses(self, workflow_id: str, after: str, limit: int) -> Sequence[str]:
        """Return the addresses of which values are kept, in order."""
        ...

    def gone(self, workflow_id: str, gone_by: int, limit: int) -> Sequence[str]:
        """Return addresses without an entry of which values are kept, none from after a revision."""
        ...

    def catalogue(self, after: str, limit: int) -> Sequence[str]:
        """Return the ids of workflows, in order."""
        ...

    def present(self, workflow_id: str, addresses: Collection[str], now_us: int) -> Mapping[str, bool]:
        """Return those of the addresses that hold a fresh entry, each with whether that is sensitive."""
        ...

    # Workflows and entries -----------------------------------------------------------------------------------------

    def save(self, workflow: Workflow) -> None:
        """Write where a workflow stands; a new one, too."""
        ...

    def store(self, workflow_id: str, records: Mapping[str, bytes]) -> None:
        """Write entries."""
        ...

    def remove(self, workflow_id: str, addresses: Collection[str]) -> None:
        """Remove entries."""
        ...

    def write_log(self, workflow_id: str, record: fx.LogRecord, most: int) -> None:
        """Write a log record, and drop those before the last ``most``."""
        ...

    def keep(self, workflow_id: str, values: Mapping[str, fx.Kept], most: int) -> None:
        """Keep values as history, and drop of each address those before the last ``most``."""
        ...

    def rewrite(self, workflow_id: str, address: str, values: Sequence[fx.Kept]) -> None:
        """Write values kept of an address, each over the one of its version."""
        ...

    def forget_values(self, workflow_id: str, address: str, versions: Collection[int] | None = None) -> None:
        """Drop values kept of an address: of some versions, or all."""
        ...

    def drop(self, workflow_id: str) -> None:
        """Remove a workflow, its entries and log; not its runs with journals and messages, which end by themselves."""
        ...

    # Runs and what they waited for ---------------------------------------------------------------------------------

    def save_run(self, workflow_id: str, run_id: str, run: Run) -> None:
        """Write a run's attempt."""
        ...

    def journal(self, workflow_id: str, place: Entry, journaled: Journaled, ends_us: int) -> None:
        """Remember an answer; until its run is forgotten, or if it has a place of its own until ``ends_us``."""
        ...

    def waiting(self, workflow_id: str, addresses: Collection[str], limit: int) -> Sequence[tuple[str, str]]:
        """Return (address, run) of the runs registered on some addresses, in order."""
        ...

    def wake(self, name: str) -> None:
        """Wake who waits by a name, if the store can; where it cannot, they look by themselves."""
        ...

    def register(self, workflow_id: str, run: str, addresses: Collection[str]) -> None:
        """Register a run of another workflow on addresses."""
        ...

    def registered(self, workflow_id: str, run: str) -> Collection[str]:
        """Return the addresses that a run is registered on."""
        ...

    def unregister(self, workflow_id: str, runs: Collection[str]) -> None:
        """Remove runs from all addresses."""
        ...

    def prefixes(self, workflow_id: str) -> Sequence[str]:
        """Return what runs are registered on that stands for all addresses whose key begins in some way."""
        ...

    def trigger(self, workflow_id: str, trigger_id: str) -> Trigger | None:
        """Return a trigger's record."""
        ...

    def triggers(self, workflow_id: str, after: str, limit: int) -> Mapping[str, Trigger]:
        """Return triggers' records by their ids, in order, those behind one."""
        ...

    def count_triggers(self, workflow_id: str) -> int:
        """Return how many there are."""
        ...

    def count_parked(self, workflow_id: str, begins: str) -> int:
        """Return how many wait whose names begin so."""
        ...

    def notices(self, workflow_id: str, agent_id: str) -> Sequence[bytes]:
        """Return what an agent was notified of, the oldest first."""
        ...

    def save_notices(self, workflow_id: str, agent_id: str, notices: Sequence[bytes]) -> None:
        """Write what an agent was notified of."""
        ...

    def save_trigger(self, workflow_id: str, trigger_id: str, trigger: Trigger) -> None:
        """Write a trigger's record."""
        ...

    def drop_trigger(self, workflow_id: str, trigger_id: str) -> None:
        """Remove a trigger's record."""
        ...

    def trim_triggers(self, workflow_id: str, most: int) -> None:
        """Remove the records of triggers that have ended, but for the last ones."""
        ...

    def parked(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Parked]:
        """Return those of the runs that wait."""
        ...

    def park(self, workflow_id: str, runs: Mapping[str, Parked]) -> None:
        """Let runs wait, each registered on its witness and nowhere else."""
        ...

    def some_parked(self, workflow_id: str, limit: int, after: str = "") -> Mapping[str, Parked]:
        """Return some runs that wait, by their ids, in order, those behind one."""
        ...

    def guard(self, workflow_id: str, runs: Mapping[str, Parked], now_us: int, until_us: int) -> None:
        """Note what released runs are about to read; what was noted until now is forgotten."""
        ...

    def guarded(self, workflow_id: str, now_us: int, limit: int) -> Sequence[list[Any]]:
        """Return the conditions of such runs, each once."""
        ...

    def unpark(self, workflow_id: str, runs: Collection[str]) -> None:
        """Let runs wait no more."""
        ...

    def ready(self, workflow_id: str, runs: Collection[str]) -> Mapping[str, Ready]:
        """Return the messages of runs that nobody has claimed yet."""
        ...

    def any_ready(self, workflow_id: str) -> bool:
        """Whether there is such a message of any run."""
        ...

    def keep_ready(self, workflow_id: str, runs: Mapping[str, Ready]) -> None:
        """Write such messages."""
        ...

    def drop_ready(self, workflow_id: str, run: str) -> None:
        """Remove such a message."""
        ...

    # The inbox -------------------------------------------------------------------------------------------------------

    def updates(self, workflow_id: str, update_ids: Collection[str]) -> Mapping[str, StoredUpdate]:
        """Return those of the updates that are stored."""
        ...

    def some_updates(self, workflow_id: str, after: str, limit: int) -> Sequence[StoredUpdate]:
        """Return stored updates in the order of their ids, those behind one."""
        ...

    def first_queued(self, workflow_id: str, limit: int, max_bytes: int) -> Sequence[StoredUpdate]:
        """Return the updates at the first places, at least one if there is one."""
        ...

    def first_reminders(self, workflow_id: str, limit: int) -> Sequence[StoredUpdate]:
        """Return the updates of which the message is due again soonest."""
        ...

    def dead(self, workflow_id: str, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return dead letters in the order of their ids: id, and what is known of it."""
        ...

    def count_dead(self, workflow_id: str) -> int:
        """Return how many dead letters there are."""
        ...

    def save_update(self, workflow_id: str, update: StoredUpdate) -> None:
        """Write an update."""
        ...

    def remove_updates(self, workflow_id: str, update_ids: Collection[str]) -> None:
        """Remove updates."""
        ...

    def journaled(self, workflow_id: str, owners: Collection[str], now_us: int) -> Mapping[str, Answer]:
        """Return the answers of named operations."""
        ...

    def forget_answer(self, workflow_id: str, owner: str) -> None:
        """Drop the answer of a named operation."""
        ...

    # The audit log ---------------------------------------------------------------------------------------------------

    def write_audit(self, records: Sequence[fx.Audited], now_us: int) -> None:
        """Add records, each once."""
        ...

    def audit(self, at_us: int, tie: str, limit: int) -> Sequence[fx.AuditItem]:
        """Return records behind a place, in order; of an empty tie those of the instant itself, too."""
        ...

    def trim_audit(self, before_us: int, most: int) -> None:
        """Remove records from before an instant, and the oldest but so many."""
        ...

    def policy(self) -> str:
        """Return the digest of the policy that was noted last, alone in its transaction; empty: none was."""
        ...

    def save_policy(self, digest: str) -> None:
        """Note a policy."""
        ...

    # What is due, and the outbox -------------------------------------------------------------------------------------

    def due(self, until_us: int, limit: int) -> Sequence[tuple[int, Due]]:
        """Return what is due, the oldest first."""
        ...

    def overdue(self, now_us: int) -> tuple[int, int]:
        """Return how much is due, and when the first of it was; 0: nothing is."""
        ...

    def outgoing(self) -> tuple[int, int]:
        """Return how many items the outbox has, and from when on the first may be taken; 0: there is none."""
        ...

    def set_due(self, due: Mapping[Due, int], *, sooner: bool = False) -> None:
        """Write when things are due; ``sooner``: unless they are due before that."""
        ...

    def clear_due(self, due: Iterable[Due]) -> None:
        """Let things be due no more."""
        ...

    def send(self, items: Iterable[fx.Outgoing], from_us: int) -> None:
        """Put messages in the outbox, to be taken from then on."""
        ...

    def take(self, app: str, limit: int, until_us: int) -> Sequence[fx.Outgoing]:
        """Return items of an app that may be taken now, the oldest first, and hide them until then."""
        ...

    def settle(self, item_ids: Collection[str]) -> None:
        """Remove items."""
        ...

    def forget(self, limit: int) -> None:
        """Drop runs, journals, lanes and operations whose time is over."""
        ...
