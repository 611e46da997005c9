"""The in-process store: the reference implementation, through the same codec and records as every other.

It serves one process (`memory://`; `memory://name` is shared within it) and says in plain Python what the scripts of
the Redis store do in Lua.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import msgspec

from ctxqueue import codec
from ctxqueue import effects as fx
from ctxqueue.clock import MICROSECONDS
from ctxqueue.errors import CtxqueueError
from ctxqueue.identity import LANE_SECONDS
from ctxqueue.records import Stamp, decode_header, encode_record, value_of
from ctxqueue.rules.dependencies import holds, unmet
from ctxqueue.settings import MAX_RUN_CALLS
from ctxqueue.stores.inprocess.state import Parked, RunRecord, Workflow

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class InprocessStore:
    """Carries out effects under one lock, in the memory of this process."""

    shards = range(1)
    where = "this process"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._workflows: dict[str, Workflow] = {}
        self._runs: dict[tuple[str, str], RunRecord] = {}
        self._due: dict[tuple[str, str, str], int] = {}
        self._outbox: dict[str, tuple[bytes, int]] = {}
        self._handlers: dict[type[fx.Effect[Any]], Callable[[Any], Any]] = {
            fx.Open: self._open,
            fx.Load: self._load,
            fx.LoadPage: self._load_page,
            fx.Commit: self._commit,
            fx.Claim: self._claim,
            fx.Renew: self._renew,
            fx.Arm: self._arm,
            fx.Finish: self._finish,
            fx.PeekDue: self._peek,
            fx.Expire: self._expire,
            fx.Release: self._release,
            fx.FanOut: self._fan_out,
            fx.TakeOutgoing: self._take,
            fx.Settle: self._settle,
        }

    def verify(self) -> None:
        """Nothing to reach."""

    def perform(self, effect: fx.Effect[T]) -> T:
        """Carry out one effect."""
        with self._lock:
            return cast("T", self._handlers[type(effect)](effect))

    def shard_of(self, _workflow_id: str) -> int:
        """Return the only shard."""
        return 0

    def close(self) -> None:
        """Keep everything: another handle may share this store."""

    def _now(self, workflow: Workflow | None = None) -> int:
        return max(time.time_ns() // 1_000, workflow.clock_us if workflow else 0)

    # --- workflows and entries ---------------------------------------------------------------------------------

    def _open(self, effect: fx.Open) -> tuple[bool, fx.Head]:
        workflow = self._workflows.get(effect.workflow_id)
        made = workflow is None
        if workflow is None:
            now = self._now()
            workflow = Workflow(effect.incarnation, now, effect.metadata, now)
            self._workflows[effect.workflow_id] = workflow
        return made, workflow.head(self._now(workflow))

    def _load(self, effect: fx.Load) -> tuple[fx.Head | None, dict[str, bytes]]:
        workflow = self._workflows.get(effect.workflow_id)
        if workflow is None:
            return None, {}
        now = self._now(workflow)
        found = ((address, workflow.fresh(address, now)) for address in effect.addresses)
        return workflow.head(now), {address: record for address, record in found if record is not None}

    def _load_page(self, effect: fx.LoadPage) -> tuple[fx.Head | None, list[tuple[str, bytes]], str | None]:
        workflow = self._workflows.get(effect.workflow_id)
        if workflow is None:
            return None, [], None
        now = self._now(workflow)
        start = (
            bisect_right(workflow.order, effect.after) if effect.after else bisect_left(workflow.order, effect.prefix)
        )
        pairs: list[tuple[str, bytes]] = []
        size = 0
        last: str | None = None
        for address in workflow.order[start:]:
            if not address.startswith(effect.prefix):
                break
            if last is not None and (len(pairs) >= effect.limit or size > effect.max_bytes):
                return workflow.head(now), pairs, last
            last = address
            record = workflow.fresh(address, now)
            if record is not None:
                pairs.append((address, record))
                size += len(record)
        return workflow.head(now), pairs, None

    def _commit(self, effect: fx.Commit) -> fx.Committed | fx.Conflict | fx.Refused:
        workflow = self._workflows.get(effect.workflow_id)
        if workflow is None:
            return fx.Refused("no_workflow")
        now = self._now(workflow)
        call = effect.call
        attempt = self._run(effect.workflow_id, call.run_id, now) if call.run_id else None
        if attempt and attempt.epoch > call.epoch:
            return fx.Refused("superseded", str(attempt.epoch))
        journal = self._run(effect.workflow_id, call.owner, now)
        earlier = self._earlier(effect, journal)
        if earlier is not None:
            return earlier
        if call.mode == "run" and len(journal.calls) >= MAX_RUN_CALLS:
            return fx.Refused("calls", str(MAX_RUN_CALLS))
        decided = self._decide(effect, workflow, now)
        if isinstance(decided, fx.Conflict | fx.Refused):
            return decided
        committed = self._write(effect, workflow, now, decided)
        journal.newest = int(call.call_id) if call.mode == "lane" else 0
        if call.mode == "lane":
            journal.calls.clear()
        written = tuple(write.address for write in effect.writes) if call.mode == "operation" else ()
        journal.calls[call.call_id] = (effect.digest, msgspec.structs.replace(committed, addresses=written))
        kept_us = int(LANE_SECONDS * MICROSECONDS) if call.mode == "lane" else effect.bounds.horizon_us
        journal.ends_us = max(journal.ends_us, now + kept_us)
        if attempt:
            attempt.epoch = call.epoch
            attempt.ends_us = max(attempt.ends_us, now + effect.bounds.horizon_us)
        return committed

    def _earlier(self, effect: fx.Commit, journal: RunRecord) -> fx.Committed | fx.Refused | None:
        if effect.call.mode == "lane" and journal.newest > int(effect.call.call_id):
            return fx.Refused("stale", str(journal.newest))
        outcome = journal.calls.get(effect.call.call_id)
        if outcome is None:
            return None
        digest, first = outcome
        diverged = digest != effect.digest
        if diverged and effect.on_divergence == "error":
            return fx.Refused("diverged")
        if diverged and effect.on_divergence == "apply":
            return None
        addresses = first.addresses if diverged else ()
        return msgspec.structs.replace(
            first, replayed=True, diverged=diverged, fired=0, outgoing=(), pending=(), addresses=addresses
        )

    def _decide(
        self, effect: fx.Commit, workflow: Workflow, now: int
    ) -> dict[str, tuple[int, bytes | None]] | fx.Conflict | fx.Refused:
        """Return version and new record (None: removed) by address, in the order of the writes."""
        decided: dict[str, tuple[int, bytes | None]] = {}
        conflicts: dict[int, bytes | None] = {}
        entries, size = len(workflow.records), workflow.size
        agent = effect.agent_id.encode()
        for ordinal, write in enumerate(effect.writes):
            standing = workflow.records.get(write.address)
            fresh = workflow.fresh(write.address, now)
            header = decode_header(fresh) if fresh is not None else None
            version = decode_header(standing).stamp.version if standing is not None else 0
            if (write.expected_version is not None and write.expected_version != (version if fresh else 0)) or (
                write.expected_commit and header and header.stamp.commit_id != write.expected_commit
            ):
                conflicts[ordinal] = fresh
                continue
            if write.operation == "delete":
                decided[write.address] = (version if fresh else 0, None)
                size -= len(standing or b"")
                continue
            expires = now + write.ttl_us if write.ttl_us else header.expires_us if header and write.keep_expiry else 0
            parts = _merged(write, fresh, effect.bounds.max_merge)
            if isinstance(parts, str):
                return fx.Refused(parts, str(ordinal))
            meta, value = parts
            stamp = Stamp((version if standing is not None else workflow.floor) + 1, effect.commit_id)
            record = encode_record(stamp, workflow.revision + 1, now, expires, agent, meta, value)
            entries += standing is None
            size += len(record) - len(standing or b"")
            decided[write.address] = (stamp.version, record)
        if conflicts:
            return fx.Conflict(conflicts, (), now)
        # A workflow that is over a limit, as a lowered one may leave it, can still be written to and shrunk.
        if entries > effect.bounds.max_entries and entries > len(workflow.records):
            return fx.Refused("entries", str(entries))
        if size > effect.bounds.max_bytes and size > workflow.size:
            return fx.Refused("bytes", str(size))
        return decided

    def _write(
        self, effect: fx.Commit, workflow: Workflow, now: int, decided: dict[str, tuple[int, bytes | None]]
    ) -> fx.Committed:
        changed = False
        for address, (_, record) in decided.items():
            if record is not None:
                workflow.store(address, record)
                expires = decode_header(record).expires_us
                if expires:
                    due = ("expiry", effect.workflow_id, "")
                    self._due[due] = min(expires, self._due.get(due, expires))
                changed = True
            elif address in workflow.records:
                workflow.remove(address)
                changed = True
        if changed:
            workflow.revision += 1
            workflow.commit_id = effect.commit_id
            workflow.clock_us = now
        ready = [
            run for run, parked in workflow.parked.items() if holds(parked.condition, self._present(workflow, now))
        ]
        outgoing = [self._fire(effect.workflow_id, workflow, run, now, effect.app, effect.lease_us) for run in ready]
        return fx.Committed(
            revision=workflow.revision,
            versions=tuple(version for version, _ in decided.values()),
            now_us=now,
            commit_id=effect.commit_id,
            replayed=False,
            diverged=False,
            fired=len(ready),
            outgoing=tuple(item for item in outgoing if item),
            pending=(),
        )

    # --- attempts, parking -------------------------------------------------------------------------------------

    def _run(self, workflow_id: str, run_id: str, now: int) -> RunRecord:
        record = self._runs.get((workflow_id, run_id))
        if record is None or record.ends_us <= now:
            record = self._runs[workflow_id, run_id] = RunRecord(ends_us=now + 1)
        return record

    def _present(self, workflow: Workflow, now: int) -> Callable[[str], bool]:
        return lambda address: workflow.fresh(address, now) is not None

    def _fire(
        self, workflow_id: str, workflow: Workflow, run: str, now: int, app: str, lease_us: int
    ) -> fx.Outgoing | None:
        parked = workflow.parked.pop(run)
        self._due.pop(("deadline", workflow_id, run), None)
        ours = bool(app) and parked.item_id.startswith(f"{app}\0")
        self._outbox[parked.item_id] = (parked.message, now + lease_us if ours else now)
        return fx.Outgoing(parked.item_id, parked.message) if ours else None

    def _claim(self, effect: fx.Claim) -> fx.Claimed:
        workflow = self._workflows.get(effect.workflow_id)
        now = self._now(workflow)
        record = self._run(effect.workflow_id, effect.run_id, now)
        if record.state:
            earlier = self._not_to_run(effect, record, now)
            if earlier is not None:
                return earlier
        if not record.state or record.position.retries != effect.position.retries:
            record.deadline_us = record.parked_us = None
        missing: tuple[int, ...] = ()
        if effect.condition:
            present = self._present(workflow, now) if workflow else lambda _address: False
            if not holds(effect.condition, present):
                missing = tuple(unmet(effect.condition, present))
        record.state, record.position, record.outcome = "running", effect.position, b""
        if record.claim_id != effect.claim_id:
            record.epoch += 1
        record.claim_id = effect.claim_id
        record.lease_us = now + effect.lease_us
        record.ends_us = max(now, record.deadline_us or 0) + effect.horizon_us
        late = bool(missing) and record.deadline_us is not None and record.deadline_us <= now
        parked_for = now - record.parked_us if record.parked_us and effect.position.leg else 0
        return fx.Claimed("timeout" if late else "run", record.epoch, b"", missing, parked_for)

    def _not_to_run(self, effect: fx.Claim, record: RunRecord, now: int) -> fx.Claimed | None:
        """Return the answer to a message whose run is further, has ended, waits, or is in other hands."""
        if effect.position < record.position:
            return fx.Claimed("stale")
        if effect.position > record.position:
            return None
        if record.state in ("parked", "retried"):
            return fx.Claimed("parked" if record.state == "parked" else "stale")
        if record.state in ("done", "failed") and record.outcome:
            return fx.Claimed("done" if record.state == "done" else "failed", outcome=record.outcome)
        if record.state == "running" and record.lease_us > now and record.claim_id != effect.claim_id:
            record.standby = (effect.item_id, effect.message)
            self._due["standby", effect.workflow_id, effect.run_id] = record.lease_us
            return fx.Claimed("standby")
        return None

    def _renew(self, effect: fx.Renew) -> bool:
        now = self._now()
        record = self._run(effect.workflow_id, effect.run_id, now)
        if record.epoch != effect.epoch or record.state != "running":
            return False
        record.lease_us = now + effect.lease_us
        return True

    def _arm(self, effect: fx.Arm) -> fx.Armed:
        workflow = self._workflows.get(effect.workflow_id)
        if workflow is None:
            return fx.Armed("no_workflow")
        now = self._now(workflow)
        record = self._run(effect.workflow_id, effect.run_id, now)
        if record.epoch != effect.epoch:
            return fx.Armed("superseded")
        present = self._present(workflow, now)
        missing = tuple(unmet(effect.condition, present))
        if record.state == "parked":
            return fx.Armed("parked", missing)
        if holds(effect.condition, present):
            return fx.Armed("ready")
        deadline = record.deadline_us or now + effect.timeout_us
        if deadline <= now:
            return fx.Armed("timeout", missing)
        workflow.parked[effect.run_id] = Parked(effect.item_id, effect.message, deadline, effect.condition)
        self._due["deadline", effect.workflow_id, effect.run_id] = deadline
        record.state, record.deadline_us, record.parked_us = "parked", deadline, now
        record.ends_us = deadline + effect.horizon_us
        return fx.Armed("parked", missing)

    def _finish(self, effect: fx.Finish) -> bool:
        now = self._now()
        record = self._run(effect.workflow_id, effect.run_id, now)
        if record.epoch != effect.epoch:
            return False
        record.state, record.outcome = effect.state, effect.outcome
        record.ends_us = now + effect.horizon_us
        return True

    # --- what is due, and the outbox ---------------------------------------------------------------------------

    def _peek(self, effect: fx.PeekDue) -> list[fx.Due]:
        now = self._now()
        for ended in [run for run, record in self._runs.items() if record.ends_us <= now]:
            del self._runs[ended]
        found = sorted((score, *due) for due, score in self._due.items() if score <= now)[: effect.limit]
        return [fx.Due(0, cast("Any", kind), workflow_id, detail, score) for score, kind, workflow_id, detail in found]

    def _expire(self, effect: fx.Expire) -> fx.Expired:
        due = ("expiry", effect.workflow_id, "")
        workflow = self._workflows.get(effect.workflow_id)
        if workflow is None:
            self._due.pop(due, None)
            return fx.Expired(0, 0, more=False)
        now = self._now(workflow)
        by_expiry = sorted(
            (expires, address)
            for address, record in workflow.records.items()
            if (expires := decode_header(record).expires_us)
        )
        expired = [address for expires, address in by_expiry if expires <= now][: effect.limit]
        for address in expired:
            workflow.remove(address)
        if expired:
            workflow.revision += 1
            workflow.commit_id, workflow.clock_us = effect.commit_id, now
        if len(by_expiry) > len(expired):
            self._due[due] = by_expiry[len(expired)][0]
        else:
            self._due.pop(due, None)
        return fx.Expired(len(expired), 0 if expired else 1, more=self._due.get(due, now + 1) <= now)

    def _release(self, effect: fx.Release) -> bool:
        due = effect.due
        workflow = self._workflows.get(due.workflow_id)
        now = self._now(workflow)
        key = (due.kind, due.workflow_id, due.detail)
        if due.kind == "deadline":
            parked = workflow.parked.get(due.detail) if workflow else None
            if workflow is None or parked is None:
                self._due.pop(key, None)
                return False
            if parked.deadline_us > now:
                self._due[key] = parked.deadline_us
                return False
            self._fire(due.workflow_id, workflow, due.detail, now, "", 0)
            return True
        record = self._run(due.workflow_id, due.detail, now)
        if record.state == "running" and record.lease_us > now:
            self._due[key] = record.lease_us
            return False
        self._due.pop(key, None)
        if record.standby is None:
            return False
        item, message = record.standby
        self._outbox[item] = (message, now)
        record.standby = None
        return True

    def _fan_out(self, _effect: fx.FanOut) -> fx.FannedOut:
        raise CtxqueueError("the in-process store looks at all waiters in the commit itself")

    def _take(self, effect: fx.TakeOutgoing) -> list[tuple[int, fx.Outgoing]]:
        now = self._now()
        ours = [
            (from_us, item, message)
            for item, (message, from_us) in self._outbox.items()
            if from_us <= now and item.startswith(f"{effect.app}\0")
        ]
        taken = sorted(ours)[: effect.limit]
        for _, item, message in taken:
            self._outbox[item] = (message, now + effect.lease_us)
        return [(0, fx.Outgoing(item, message)) for _, item, message in taken]

    def _settle(self, effect: fx.Settle) -> None:
        for item in effect.item_ids:
            self._outbox.pop(item, None)


def _merged(
    write: fx.Write, standing: bytes | None, max_merge: int
) -> tuple[bytes, bytes] | Literal["too_large", "not_a_list"]:
    """Return meta and value of a write laid over what stands there, or why that cannot be done here."""
    if standing is None or write.operation == "put":
        return write.meta, write.value
    header = decode_header(standing)
    meta = standing[header.agent_end : header.meta_end]
    if write.operation == "set":
        return meta, write.value
    held = value_of(standing, header)
    if len(held) + len(write.value) > max_merge:
        return "too_large"
    existing = codec.unpack(held)
    if not isinstance(existing, list):
        return "not_a_list"
    return meta, codec.pack(existing + codec.unpack(write.value))


_shared: dict[tuple[str, str], InprocessStore] = {}
_sharing = threading.Lock()


def open_inprocess(name: str, namespace: str) -> InprocessStore:
    """Return the process's store of that name; without a name, a new one that nobody shares."""
    if not name:
        return InprocessStore()
    with _sharing:
        return _shared.setdefault((name, namespace), InprocessStore())
