"""The records that the engine reads and writes: what a store holds, beside entries, as the engine sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ctxqueue import effects as fx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class Workflow:
    """Where a workflow stands."""

    workflow_id: str
    incarnation: str
    created_us: int
    metadata: bytes
    clock_us: int
    """What commits have shown of the clock."""
    revision: int = 0
    commit_id: bytes = bytes(8)
    floor: int = 0
    """The highest version that a removed address had."""
    entries: int = 0
    size: int = 0
    """Bytes of all its records."""
    parked: int = 0
    """Runs that wait."""
    closed_us: int = 0
    """When it was closed; 0: it is open."""
    removing: bool = False
    """It is being removed: to callers it is not there."""
    graph: int = 0
    """Rises with each commit that adds a dependency."""
    inbox: bytes = b""
    """Its `Inbox`, packed; empty: there was never an update in it."""
    watched: bool = False
    """Whether runs of other workflows wait for something here, or ever did."""

    def head(self, now_us: int) -> fx.Head:
        """Return what callers are told of it."""
        return fx.Head(
            *(self.incarnation, self.revision, self.commit_id, self.created_us, self.metadata),
            *(now_us, self.closed_us, self.graph),
        )


class Standby(NamedTuple):
    """A message to be sent should the attempt that is alive die."""

    item_id: str
    message: bytes


class Run(msgspec.Struct, array_like=True):
    """A run's attempt. New fields go to the end, with a default: stores may keep it packed."""

    state: str = ""
    position: fx.Position = fx.Position(0, 0)
    epoch: int = 0
    claim_id: bytes = b""
    lease_us: int = 0
    deadline_us: int | None = None
    parked_us: int | None = None
    outcome: bytes = b""
    standby: Standby | None = None
    calls: int = 0
    """How many its journal holds."""
    ends_us: int = 0
    """When the store forgets it, and its journal with it."""
    waits: dict[str, int] = {}  # msgspec copies it
    """Deadlines of the waits in its body, by their names."""
    lost: int = 0
    """How many attempts at its position were taken over."""

    def deadline_of(self, wait: str) -> int | None:
        """Return the deadline of one of its waits, if it has one; '' is for what the task needs."""
        return self.waits.get(wait) if wait else self.deadline_us


class Repeats(msgspec.Struct, array_like=True):
    """Of a parked one that fires each time. New fields go to the end, with a default."""

    number: int = 0
    """How often it has fired."""
    until_us: int = 0
    """When the end of what it sent last is waited for no more; 0: it runs no more, or nobody waits for that."""
    depth: int = 0
    """Of what was written while it ran: see `ctxqueue.effects.Watched`."""
    ended: list[int] = []  # msgspec copies it
    """The parts of what it sent last that have come to their end."""


class Parked(msgspec.Struct, array_like=True):
    """A run that waits, registered on the addresses of its witness. New fields go to the end, with a default."""

    item_id: str
    message: bytes
    deadline_us: int
    condition: list[Any]
    """As `rules.dependencies.Tree`."""
    witness: list[str]
    """Of a judged one: empty from when it is told of a write until it is registered anew."""
    judge: bytes = b""
    """What judges it; empty: its condition is evaluated here."""
    late_message: bytes = b""
    """Of a trigger: sent in the place of the other when the time is up."""
    turn: int = 0
    """Of a judged one: rises when it is told of a write, and when it is registered anew."""
    parked_us: int = 0
    """When it began to wait."""
    repeats: Repeats | None = None
    """Of one that fires each time."""


class Trigger(msgspec.Struct, frozen=True, array_like=True):
    """A trigger's record. New fields go to the end, with a default."""

    state: fx.TriggerState
    record: bytes
    reason: str = ""
    ended_us: int = 0
    """0: it waits, or its message is on its way."""
    notes: bytes = b""
    """Of one that fires each time: what the last look at it left."""


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """A message to be sent again until its run is claimed. New fields go to the end, with a default."""

    item_id: str
    message: bytes
    first_us: int
    """When it was first sent."""
    again: int = 0
    """How often it was sent again."""
    ends_us: int = 0
    """When it is given up; 0: a horizon after it was first sent."""
    due_us: int = 0
    """When it is sent the next time, as its due entry says."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a call was answered, and the digest of its input. New fields go to the end, with a default."""

    digest: bytes
    revision: int
    now_us: int
    commit_id: bytes
    versions: tuple[int, ...]
    addresses: tuple[str, ...]
    """Of a named operation: what it wrote."""
    incarnation: str
    """Of the workflow: a call of an earlier one of this name is none of this one's."""
    failure: bytes = b""
    """Of a stored update that failed: to other calls there is no answer."""
    value: bytes = b""
    """Of a step whose result is kept."""


class Entry(NamedTuple):
    """The place of a call in a journal. A lane and a named operation have one place each, whose name is empty."""

    owner: str
    call_id: str


class Journaled(NamedTuple):
    """An answer in its place."""

    answer: Answer
    number: int
    """Of a lane: which call it was."""


class Wanted(NamedTuple):
    """What the engine is going to look at in a workflow."""

    addresses: Sequence[str] = ()
    """Their records."""
    present: Sequence[str] = ()
    """Whether an entry stands there, no more."""
    run: str = ""
    ready: bool = False
    """With ``run``: the message that is sent again until it is claimed."""
    call: Entry | None = None


NOTHING = Wanted()


@dataclass(slots=True)
class Held:
    """A workflow in this transaction's hands: nobody else changes it, or its runs, before the end."""

    workflow: Workflow | None
    now_us: int
    """The store's clock, read once the workflow was held; never behind what its commits have shown."""
    records: Mapping[str, bytes] = field(default_factory=dict)
    """Expired ones too."""
    present: Mapping[str, bool] = field(default_factory=dict)
    """Those of the addresses asked for that hold a fresh entry, each with whether that is sensitive."""
    run: Run = field(default_factory=Run)
    """A new one if there is none, or the last one has ended."""
    ready: Ready | None = None
    journaled: Journaled | None = None


class Due(NamedTuple):
    """The name of something to be done."""

    kind: str
    workflow_id: str
    detail: str


class Removable(NamedTuple):
    """An entry that may go: by its expiry, or to make room."""

    order: int
    """Its expiry; or when it was written, medium ones after all low ones."""
    address: str
    version: int
    size: int
    sensitive: bool


class Inbox(msgspec.Struct, array_like=True):
    """Who settles a workflow's queued updates. New fields go to the end, with a default."""

    stored: int = 0
    """Updates in it, dead letters among them."""
    queued: int = 0
    last: int = 0
    """The highest place in the queue that was given."""
    announced_us: int = 0
    """Until when the announced drain is left alone; 0: none is announced."""
    drain_id: bytes = b""
    lease_us: int = 0
    crashes: int = 0
    careful: int = 0
    """How many updates are still to be tried one by one."""
    item_id: str = ""
    """Of the drain's message."""
    message: bytes = b""


class StoredUpdate(msgspec.Struct, array_like=True):
    """An update that waits for its outcome, or as a dead letter."""

    update_id: str
    payload: bytes
    item_id: str
    message: bytes
    enqueued_us: int
    queued: bool
    ends_us: int
    """When it is dropped instead of being sent again; 0: never."""
    place: int | None = None
    """In the queue."""
    remind_us: int | None = None
    """When its message is due again."""
    attempts: int = 0
    about: bytes | None = None
    """Of a dead letter."""
