"""What is encrypted of each effect on its way into a store, and decrypted of its reply.

Each effect that holds values has a way in and a way out here; all others hold none. A value is bound to the place where
it stands: nobody who moves it, in the store, moves what can be read. What does not open goes on as a refusal in its
place (`envelopes`), and is an error once somebody looks at it. One entry for each effect, so it is as long as there are
effects with values.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from ctxqueue import effects as fx
from ctxqueue import envelopes
from ctxqueue.errors import DecryptionError
from ctxqueue.records import decode_header, decode_meta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.keyring import Keyring

H = TypeVar("H", bound="fx.Head | None")

MERGES = frozenset({"append", "increment", "maximum", "minimum"})
REMOVALS = frozenset({"delete", "purge"})
NO_WORKFLOW = "\0"
"""An incarnation that no workflow is of."""
MOST_KNOWN = 10_000

Way = Callable[[Any], Any]
Back = Callable[[Any, Any], Any]


class Sealing:
    """Encrypts and decrypts for one namespace."""

    def __init__(self, keyring: Keyring, namespace: str) -> None:
        self.keyring = keyring
        self.all = keyring.encrypt == "all"
        self._namespace = namespace
        self._incarnations: OrderedDict[str, str] = OrderedDict()
        self.ways: Mapping[type[fx.Effect[Any]], tuple[Way | None, Back | None]] = {
            fx.Open: (self._open_in, lambda effect, reply: (reply[0], self._head(effect.workflow_id, reply[1]))),
            fx.Measure: (
                None,
                lambda effect, reply: reply and replace(reply, head=self._head(effect.workflow_id, reply.head)),
            ),
            fx.Load: (None, self._load_out),
            fx.LoadPage: (None, self._page_out),
            fx.LoadSince: (None, self._since_out),
            fx.LoadLog: (None, lambda effect, reply: (self._head(effect.workflow_id, reply[0]), *reply[1:])),
            fx.LoadGraph: (None, lambda effect, reply: (self._head(effect.workflow_id, reply[0]), *reply[1:])),
            fx.LoadHistory: (None, self._history_out),
            fx.Enqueue: (self._enqueue_in, None),
            fx.FindUpdate: (None, self._found_out),
            fx.Draw: (None, self._drawn_out),
            fx.LoadUpdates: (None, self._updates_out),
            fx.Bury: (self._bury_in, None),
            fx.Claim: (self._claim_in, self._claim_out),
            fx.Arm: (self._arm_in, None),
            fx.Promise: (lambda effect: replace(effect, message=self._message(effect.item_id, effect.message)), None),
            fx.Finish: (lambda effect: replace(effect, outcome=self._sealed(_outcome(effect), effect.outcome)), None),
            fx.Once: (
                self._once_in,
                lambda effect, reply: replace(reply, value=self.opened(_step(effect), reply.value)),
            ),
            fx.Rewatch: (
                None,
                lambda effect, reply: replace(
                    reply,
                    judge=self.opened(("judge", effect.workflow_id, effect.run_id), reply.judge),
                    notes=self.opened(("notes", effect.workflow_id, effect.run_id), reply.notes),
                ),
            ),
            fx.LoadParked: (None, self._parked_out),
            fx.Register: (self._register_in, self._with_outgoing),
            fx.LoadTrigger: (
                None,
                lambda effect, reply: None if reply is None else self._trigger(effect.workflow_id, reply),
            ),
            fx.LoadTriggers: (
                None,
                lambda effect, reply: ([self._trigger(effect.workflow_id, each) for each in reply[0]], reply[1]),
            ),
            fx.Recur: (self._recur_in, self._with_outgoing),
            fx.Fire: (
                lambda effect: replace(effect, message=self._message(effect.item_id, effect.message)),
                self._with_outgoing,
            ),
            fx.FanOut: (None, self._with_outgoing),
            fx.Cancel: (None, self._with_outgoing),
            fx.End: (None, self._with_outgoing),
            fx.TakeOutgoing: (None, lambda _, reply: [(shard, self._item(item)) for shard, item in reply]),
            fx.StoreMemories: (self._memories_in, None),
            fx.AmendMemory: (
                lambda effect: replace(effect, body=self._sealed(_memory(effect.owner, effect.memory_id), effect.body)),
                None,
            ),
            fx.LoadMemories: (
                None,
                lambda effect, reply: replace(reply, rows=tuple(self._rows(effect.owner, reply.rows))),
            ),
            fx.GetMemories: (
                None,
                lambda effect, reply: (
                    {row.memory_id: row for row in self._rows(effect.owner, reply[0].values())},
                    reply[1],
                ),
            ),
            fx.LoadRetirable: (
                None,
                lambda effect, reply: replace(reply, rows=tuple(self._rows(effect.owner, reply.rows))),
            ),
        }

    # Any bytes -----------------------------------------------------------------------------------------------------

    def full(self, place: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return all that a value of a place is bound to."""
        return (self._namespace, *place)

    def _sealed(self, place: tuple[Any, ...], value: bytes) -> bytes:
        return self.keyring.seal(self.full(place), value) if value else value

    def opened(self, place: tuple[Any, ...], value: bytes, *, required: bool = True) -> bytes:
        """Return what was encrypted for a place, or a refusal: also for what is in clear though it may not be."""
        if not value:
            return value
        code = envelopes.code_of(value)
        if not code:
            if required and not self.keyring.accept_plaintext:
                return envelopes.refusal("a value is in clear where it must be encrypted: it is not read")
            return value
        if code == envelopes.REFUSED:
            return envelopes.refusal(f"what is stored is no value: it is not read ({place[0]})")
        try:
            return self.keyring.open(self.full(place), value)
        except DecryptionError as error:
            return envelopes.refusal(f"{error} ({place[0]})")

    # Entries -------------------------------------------------------------------------------------------------------

    def entry_place(self, workflow_id: str, incarnation: str, address: str, *, sensitive: bool) -> tuple[Any, ...]:
        """Return what an entry's value is bound to."""
        return ("entry", workflow_id, incarnation, address, sensitive)

    def record(self, workflow_id: str, incarnation: str, address: str, record: bytes) -> bytes:
        """Return a record with its value in clear, or with a refusal in its place."""
        meta_end, sensitive = value_place(record)
        value = record[meta_end:]
        place = self.entry_place(workflow_id, incarnation, address, sensitive=sensitive)
        clear = self.opened(place, value, required=self.all or sensitive)
        return record if clear is value else record[:meta_end] + clear

    def wants(self, write: fx.Write) -> bool:
        """Whether a write's value is to be encrypted."""
        return (self.all or write.sensitive) and write.operation not in REMOVALS

    def committed(self, effect: fx.Commit) -> fx.Flow[Any]:
        """Carry out a commit, its values encrypted for the workflow as it is now."""
        wanted = [self.wants(write) for write in effect.writes]
        for ordinal, write in enumerate(effect.writes):
            if wanted[ordinal] and write.operation in MERGES:
                return fx.Refused("merge_outside", str(ordinal))
        plain = replace(
            effect,
            digest=self.keyring.digest(effect.digest),
            settling=effect.settling and self._settling(effect.workflow_id, effect.settling),
            sealed=True,
        )
        while True:
            incarnation = ""
            sealed = plain
            if any(wanted):
                incarnation = yield from self._incarnation(effect.workflow_id)
                writes = tuple(
                    self._write(effect.workflow_id, incarnation, write) if wanted[ordinal] else write
                    for ordinal, write in enumerate(effect.writes)
                )
                sealed = replace(plain, writes=writes, incarnation=incarnation)
            reply = yield from fx.do(sealed)
            if isinstance(reply, fx.Refused) and reply.reason == "reborn":
                self._incarnations.pop(effect.workflow_id, None)
                continue
            if isinstance(reply, fx.Conflict):
                return (yield from self._conflict(effect, incarnation, reply))
            return self._with_outgoing(effect, reply) if isinstance(reply, fx.Committed) else reply

    def _write(self, workflow_id: str, incarnation: str, write: fx.Write) -> fx.Write:
        place = self.entry_place(workflow_id, incarnation, write.address, sensitive=write.sensitive)
        return replace(write, value=self._sealed(place, write.value))

    def _incarnation(self, workflow_id: str) -> fx.Flow[str]:
        known = self._incarnations.get(workflow_id)
        if known is None:
            head, _ = yield from fx.do(fx.Load(workflow_id, ()))
            if head is None:
                return NO_WORKFLOW
            self.note(workflow_id, head)
            known = head.incarnation
        return known

    def note(self, workflow_id: str, head: fx.Head) -> None:
        """Remember which incarnation a workflow is of."""
        self._incarnations[workflow_id] = head.incarnation
        if len(self._incarnations) > MOST_KNOWN:
            self._incarnations.popitem(last=False)

    def _conflict(self, effect: fx.Commit, incarnation: str, reply: fx.Conflict) -> fx.Flow[fx.Conflict]:
        addresses = {ordinal: effect.writes[ordinal].address for ordinal in reply.records}
        if not incarnation and any(record is not None and _is_sealed(record) for record in reply.records.values()):
            # It was not asked for one. Read with it, what stands there now may be of another.
            head, records = yield from fx.do(fx.Load(effect.workflow_id, tuple(dict.fromkeys(addresses.values()))))
            if head is not None:
                self.note(effect.workflow_id, head)
                incarnation = head.incarnation
                reply = replace(reply, records={each: records.get(addresses[each]) for each in reply.records})
        records_out = {
            ordinal: None
            if record is None
            else self.record(effect.workflow_id, incarnation, addresses[ordinal], record)
            for ordinal, record in reply.records.items()
        }
        return replace(reply, records=records_out)

    def _head(self, workflow_id: str, head: H) -> H:
        if head is None:
            return head
        if self._incarnations.get(workflow_id) != head.incarnation:
            self.note(workflow_id, head)
        if not head.metadata:
            return head
        place = ("metadata", workflow_id, head.incarnation)
        return replace(head, metadata=self.opened(place, head.metadata, required=self.all))

    def _open_in(self, effect: fx.Open) -> fx.Open:
        if not self.all:
            return effect
        place = ("metadata", effect.workflow_id, effect.incarnation)
        return replace(effect, metadata=self._sealed(place, effect.metadata))

    def _load_out(self, effect: fx.Load, reply: Any) -> Any:
        head, records = reply
        if head is None:
            return reply
        opened = {
            address: self.record(effect.workflow_id, head.incarnation, address, record) if record else fx.LEFT_OUT
            for address, record in records.items()
        }
        return self._head(effect.workflow_id, head), opened

    def _page_out(self, effect: fx.LoadPage, reply: Any) -> Any:
        head, pairs, after = reply
        if head is None:
            return reply
        opened = [
            (address, self.record(effect.workflow_id, head.incarnation, address, record)) for address, record in pairs
        ]
        return self._head(effect.workflow_id, head), opened, after

    def _since_out(self, effect: fx.LoadSince, reply: fx.Since) -> fx.Since:
        head = reply.head
        if head is None:
            return reply
        opened = {
            address: None if record is None else self.record(effect.workflow_id, head.incarnation, address, record)
            for address, record in reply.records.items()
        }
        return replace(reply, head=self._head(effect.workflow_id, head), records=opened)

    def _history_out(self, effect: fx.LoadHistory, reply: Any) -> Any:
        head, standing, kept, more = reply
        if head is None:
            return reply
        where = effect.workflow_id, head.incarnation, effect.address
        standing = None if standing is None else self.record(*where, standing)
        opened = [replace(each, record=self.record(*where, each.record)) for each in kept]
        return self._head(effect.workflow_id, head), standing, opened, more

    # Messages, and what goes with them -----------------------------------------------------------------------------

    def _message(self, item_id: str, message: bytes) -> bytes:
        return self._sealed(("message", item_id), message)

    def _outgoing(self, item: fx.Outgoing) -> fx.Outgoing:
        return replace(item, message=self._message(item.item_id, item.message))

    def _item(self, item: fx.Outgoing) -> fx.Outgoing:
        return replace(item, message=self.opened(("message", item.item_id), item.message))

    def _with_outgoing(self, _effect: Any, reply: Any) -> Any:
        return replace(reply, outgoing=tuple(map(self._item, reply.outgoing))) if reply.outgoing else reply

    def _claim_in(self, effect: fx.Claim) -> fx.Claim:
        return replace(effect, message=self._message(effect.item_id, effect.message))

    def _claim_out(self, effect: fx.Claim, reply: fx.Claimed) -> fx.Claimed:
        return replace(reply, outcome=self.opened(_outcome(effect), reply.outcome)) if reply.outcome else reply

    def _arm_in(self, effect: fx.Arm) -> fx.Arm:
        judge = self._sealed(("judge", effect.workflow_id, effect.run_id), effect.judge)
        return replace(effect, message=self._message(effect.item_id, effect.message), judge=judge)

    def _register_in(self, effect: fx.Register) -> fx.Register:
        place = ("notes", effect.workflow_id, effect.trigger_id)
        recurring = effect.recurring and replace(effect.recurring, notes=self._sealed(place, effect.recurring.notes))
        return replace(
            effect,
            recurring=recurring,
            message=self._message(effect.item_id, effect.message),
            late_message=self._message(effect.item_id, effect.late_message),
            judge=self._sealed(("judge", effect.workflow_id, effect.trigger_id), effect.judge),
            record=self._sealed(("trigger", effect.workflow_id, effect.trigger_id), effect.record),
        )

    def _recur_in(self, effect: fx.Recur) -> fx.Recur:
        firing = effect.firing and replace(effect.firing, message=self._outgoing(effect.firing.message))
        notes = self._sealed(("notes", effect.workflow_id, effect.trigger_id), effect.notes)
        return replace(effect, notes=notes, firing=firing)

    def _trigger(self, workflow_id: str, kept: fx.KeptTrigger) -> fx.KeptTrigger:
        return replace(kept, record=self.opened(("trigger", workflow_id, kept.trigger_id), kept.record))

    def _parked_out(self, effect: fx.LoadParked, reply: Any) -> Any:
        runs, cursor = reply
        opened = [
            replace(
                run,
                judge=self.opened(("judge", effect.workflow_id, run.run_id), run.judge),
                message=self.opened(("message", run.item_id), run.message),
            )
            for run in runs
        ]
        return opened, cursor

    def _once_in(self, effect: fx.Once) -> fx.Once:
        return effect if effect.value is None else replace(effect, value=self._sealed(_step(effect), effect.value))

    # Stored updates ------------------------------------------------------------------------------------------------

    def _enqueue_in(self, effect: fx.Enqueue) -> fx.Enqueue:
        return replace(
            effect,
            payload=self._sealed(("update", effect.workflow_id, effect.update_id), effect.payload),
            outgoing=self._outgoing(effect.outgoing),
            drain=self._outgoing(effect.drain),
        )

    def _update(self, workflow_id: str, update: fx.StoredUpdate) -> fx.StoredUpdate:
        payload = self.opened(("update", workflow_id, update.update_id), update.payload)
        return replace(update, payload=payload, outgoing=self._item(update.outgoing))

    def _found_out(self, effect: fx.FindUpdate, reply: fx.Found) -> fx.Found:
        outcome = reply.outcome
        if outcome is not None and outcome.failure:
            failure = self.opened(("failure", effect.workflow_id, effect.update_id), outcome.failure)
            outcome = replace(outcome, failure=failure)
        stored = reply.stored and self._update(effect.workflow_id, reply.stored)
        return replace(reply, stored=stored, outcome=outcome)

    def _drawn_out(self, effect: fx.Draw, reply: fx.Drawn) -> fx.Drawn:
        return replace(reply, updates=tuple(self._update(effect.workflow_id, each) for each in reply.updates))

    def _updates_out(
        self, effect: fx.LoadUpdates, reply: tuple[list[fx.StoredUpdate], str]
    ) -> tuple[list[fx.StoredUpdate], str]:
        return [self._update(effect.workflow_id, each) for each in reply[0]], reply[1]

    def _bury_in(self, effect: fx.Bury) -> fx.Bury:
        failure = self._sealed(("failure", effect.workflow_id, effect.update_id), effect.failure)
        return replace(effect, failure=failure)

    def _settling(self, workflow_id: str, settling: fx.Settling) -> fx.Settling:
        settled = tuple(
            replace(
                each,
                digest=self.keyring.digest(each.digest),
                failure=self._sealed(("failure", workflow_id, each.update_id), each.failure),
                report=each.report and self._outgoing(each.report),
            )
            for each in settling.settled
        )
        return replace(settling, settled=settled)

    # Memories ------------------------------------------------------------------------------------------------------

    def _memories_in(self, effect: fx.StoreMemories) -> fx.StoreMemories:
        memories = tuple(
            replace(each, body=self._sealed(_memory(effect.owner, each.memory_id), each.body))
            for each in effect.memories
        )
        return replace(effect, memories=memories)

    def _rows(self, owner: str, rows: Iterable[fx.StoredMemory]) -> list[fx.StoredMemory]:
        return [replace(row, body=self.opened(_memory(owner, row.memory_id), row.body)) for row in rows]


def value_place(record: bytes) -> tuple[int, bool]:
    """Return where a record's value begins, and whether the entry is sensitive."""
    header = decode_header(record)
    return header.meta_end, decode_meta(record[header.agent_end : header.meta_end]).sensitive


def _is_sealed(record: bytes) -> bool:
    return envelopes.code_of(record[decode_header(record).meta_end :]) != 0


def _outcome(effect: fx.Claim | fx.Finish) -> tuple[Any, ...]:
    return ("outcome", effect.workflow_id, effect.run_id)


def _step(effect: fx.Once) -> tuple[Any, ...]:
    return ("step", effect.workflow_id, effect.run_id, effect.name)


def _memory(owner: str, memory_id: str) -> tuple[Any, ...]:
    return ("memory", owner, memory_id)
