"""Several updates of one workflow as one commit: each merges with what those before it have made.

Of an address that several updates write, the last value is written; each update keeps its own version and its own
place in the log. An update that fails leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ctxqueue.effects import Settled, Step, Write
from ctxqueue.flows import quotas, updating
from ctxqueue.flows.committing import check_size
from ctxqueue.flows.writing import digest_of, new_edges
from ctxqueue.identity import Call
from ctxqueue.records import Stamp, decode_header, encode_record
from ctxqueue.settings import MAX_COMMIT_BYTES, MAX_COMMIT_KEYS

if TYPE_CHECKING:
    from ctxqueue.effects import Head, Outgoing
    from ctxqueue.flows.quotas import Held
    from ctxqueue.flows.stored import UpdateRef
    from ctxqueue.flows.terms import Terms
    from ctxqueue.flows.writing import Change
    from ctxqueue.models import Agent
    from ctxqueue.rules.graph import Edges

MOST_STEPS = 400
"""Of one commit: each is a line in its record of the log."""


class NotInThisRound(Exception):
    """The update needs a commit of its own, or one that begins with it."""


@dataclass(slots=True)
class Made:
    """What one update asks for, unpacked and checked."""

    ref: UpdateRef
    agent: Agent
    merge_strategy: str
    changes: list[Change]
    report: Outgoing | None

    @property
    def digest(self) -> bytes:
        """As a direct call with this operation id has it."""
        call = Call("operation", self.ref.owner, "", "", 0)
        return digest_of(call, self.merge_strategy, self.changes)


@dataclass(slots=True)
class _Folded:
    """One address: what is written there at the end, and the steps that led to it."""

    write: Write
    base: Write
    """The first update's, which knows what stands there."""
    steps: list[Step] = field(default_factory=list)


class Fold:
    """One commit in the making, over what was read at ``head``."""

    def __init__(
        self, terms: Terms, home: str, head: Head, records: dict[str, bytes], held: Held | None = None
    ) -> None:
        self._terms = terms
        self._held = held
        self._home = home
        self._head = head
        self._standing: dict[str, bytes | None] = dict(records)
        self._read = records
        self._folded: dict[str, _Folded] = {}
        self._places: list[tuple[Made, list[tuple[str, int]]]] = []
        self._steps = 0
        self.edges: Edges = {}

    def add(self, made: Made) -> None:
        """Lay an update over those before it; raises its typed error, NotInThisRound."""
        self._check_room(made)
        writes = updating.merged_onto(
            self._terms, self._home, made.agent, made.merge_strategy, made.changes, self._standing
        )
        self._check_size(writes)
        self._count(made, writes)
        self._places.append((made, [self._lay(made, write) for write in writes]))
        self.edges.update(new_edges(made.changes))

    def _check_room(self, made: Made) -> None:
        if not self._places:
            return
        for change in made.changes:
            unknown = change.encoded in self._folded and change.encoded not in self._read
            if change.put.depends_on or (unknown and change.put.expected_version is not None):
                raise NotInThisRound  # for a check of the whole graph, or of a version that only the store knows
        new = {change.encoded for change in made.changes} - self._folded.keys()
        if self.edges or len(self._folded) + len(new) > MAX_COMMIT_KEYS or self._steps + len(made.changes) > MOST_STEPS:
            raise NotInThisRound

    def _count(self, made: Made, writes: tuple[Write, ...]) -> None:
        if self._held is not None and quotas.are_set(self._terms, made.agent, writes):
            excess = quotas.exceeded(self._terms, made.agent, self._held, writes)
            if excess is not None:
                raise excess
        if self._held is not None:
            self._held = self._held.after(made.agent.agent_id, writes)

    def _check_size(self, writes: tuple[Write, ...]) -> None:
        if not self._places:
            check_size(writes)
            return
        others = {encoded: len(folded.write.value) for encoded, folded in self._folded.items()}
        others.update({write.address: len(write.value) for write in writes})
        if sum(others.values()) > MAX_COMMIT_BYTES:
            raise NotInThisRound

    def _lay(self, made: Made, write: Write) -> tuple[str, int]:
        """Take one write over what stands there; return its address, and the number of its step."""
        folded = self._folded.get(write.address)
        if write.operation == "keep":
            if folded is None:
                header = decode_header(self._read[write.address])
                guarded = msgspec.structs.replace(
                    write, expected_version=header.stamp.version, expected_commit=header.stamp.commit_id
                )
                self._folded[write.address] = folded = _Folded(guarded, guarded)
            return write.address, len(folded.steps)
        if folded is None:
            folded = self._folded[write.address] = _Folded(write, write)
        elif not folded.steps:
            folded.write = write  # kept until now
        elif write.ttl_us is None and write.keep_expiry:
            before = folded.write
            folded.write = msgspec.structs.replace(write, ttl_us=before.ttl_us, keep_expiry=before.keep_expiry)
        else:
            folded.write = write
        folded.steps.append(Step(made.agent.agent_id, write.sensitive))
        self._steps += 1
        self._standing[write.address] = self._record(made, write)
        return write.address, len(folded.steps)

    def _record(self, made: Made, write: Write) -> bytes:
        """Return what the next update finds; its version is right wherever something stood before."""
        before = self._standing.get(write.address)
        header = decode_header(before) if before is not None else None
        expires_us = self._head.now_us + write.ttl_us if write.ttl_us else 0
        if write.keep_expiry and write.ttl_us is None and header is not None:
            expires_us = header.expires_us
        stamp = Stamp((header.stamp.version if header else 0) + 1, bytes(8))
        return encode_record(
            stamp,
            self._head.revision + 1,
            self._head.now_us,
            expires_us,
            made.agent.agent_id.encode(),
            write.meta,
            write.value,
        )

    @property
    def first(self) -> Made:
        """The update that it begins with: only that one may bring dependencies."""
        return self._places[0][0]

    def writes(self) -> tuple[Write, ...]:
        """Return the commit's writes, each on the condition that what was read still stands."""
        return tuple(
            msgspec.structs.replace(
                folded.write,
                expected_version=folded.base.expected_version,
                expected_commit=folded.base.expected_commit,
                steps=tuple(folded.steps),
            )
            for folded in self._folded.values()
        )

    def settled(self) -> list[Settled]:
        """Return what comes of the updates, in their order."""
        ordinals = {encoded: ordinal for ordinal, encoded in enumerate(self._folded)}
        return [
            Settled(
                made.ref.update_id,
                made.ref.owner,
                "applied",
                made.digest,
                tuple((ordinals[encoded], len(self._folded[encoded].steps) - step) for encoded, step in places),
                report=made.report,
            )
            for made, places in self._places
        ]
