"""Which call this is: what lets a store recognise a call that it has already carried out.

Inside a task a call is (run, retries, stream, n): the n-th call on the same addresses in this attempt, so that a
body that runs again makes the same calls. Outside, a call borrows a *lane*: an id that has at most one call under
way, so a store need only remember the newest one of each lane, whatever the number of calls.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from ctxqueue.models import checked_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctxqueue.models import Agent

LANE_SECONDS = 900.0
"""How long a store remembers a lane's newest call: far above the longest time a client goes on trying one."""


class WorkflowRef(NamedTuple):
    """The workflow that calls and published messages belong to, and who acts in it."""

    namespace: str
    workflow_id: str
    agent: Agent | None


current_workflow: ContextVar[WorkflowRef | None] = ContextVar("ctxqueue_workflow", default=None)
"""Set by ``with wf:`` and while a task's body runs; published messages carry it on."""


@dataclass(slots=True)
class Attempt:
    """One try at a run: a fenced claim, and the counters that name its calls."""

    run_id: str
    retries: int
    home: str
    """The workflow that holds the run's record; empty for a task that is bound to none."""
    epoch: int
    needed: frozenset[str] = frozenset()
    """The keys that the task needs: relevant for it whatever its filter says."""
    waited: float = 0.0
    """Seconds that the run was parked before this leg."""
    leg: int = 0
    """How often it was parked and went on."""
    waits: int = 0
    """How many waits its body has come to."""
    reads: dict[tuple[Any, str, str], Any] | None = None
    """The entries that its body was handed, by scope, owner and key, where that is noted."""
    passes: int = 0
    """How many of its waits end though they lack something: the operator has let it go on."""
    counters: dict[str, int] = field(default_factory=dict)
    staged: list[Any] = field(default_factory=list)
    """Transactions that go out at its end, in order."""
    counting: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """A run's tools may call from several threads."""

    def passed(self) -> bool:
        """Whether a wait that lacks something ends all the same; so many do, the first ones."""
        with self.counting:
            self.passes -= 1
            return self.passes >= 0

    def next_call(self, kind: str, workflow_id: str, addresses: Sequence[str]) -> str:
        """Return the id of the next call of this kind on these addresses; a body that runs again gets the same."""
        stream = hashlib.blake2b("\0\0".join((workflow_id, kind, *sorted(addresses))).encode(), digest_size=12)
        name = stream.hexdigest()
        with self.counting:
            n = self.counters[name] = self.counters.get(name, 0) + 1
        return f"{self.retries}:{name}:{n}"


def operation_here(kind: str, place: str, *what: str) -> str | None:
    """Return what names this call of the running task, the same when its body runs again; None outside tasks."""
    attempt = current_attempt.get()
    return None if attempt is None else f"{attempt.run_id}:{attempt.next_call(kind, place, what)}"


def note_read(workflow_id: str, entry: Any) -> None:
    """Take note that an entry was handed to the body of a task, where that is wanted."""
    attempt = current_attempt.get()
    if attempt is not None and attempt.reads is not None and workflow_id == attempt.home:
        attempt.reads[entry.scope, entry.owner, entry.key] = entry


declared_agent: ContextVar[Agent | None] = ContextVar("ctxqueue_declared_agent", default=None)
"""Whom the task that runs here was declared for; None outside tasks, and in those of no agent."""

current_attempt: ContextVar[Attempt | None] = ContextVar("ctxqueue_attempt", default=None)

staged_eagerly: ContextVar[list[Any] | None] = ContextVar("ctxqueue_staged_eagerly", default=None)
"""As `Attempt.staged`, of a task that runs eagerly: it is no attempt, but its transactions too go out at its end."""


class Call(msgspec.Struct, frozen=True):
    """The identity of one call. ``owner`` names its journal, ``call_id`` its place there."""

    mode: Literal["lane", "run", "operation"]
    owner: str
    call_id: str
    run_id: str
    epoch: int
    """The attempt that makes the call; 0 outside tasks."""


@dataclass(slots=True)
class Lane:
    """An id with at most one call under way."""

    lane_id: str
    sequence: int = 0


_free_lanes: deque[Lane] = deque()
os.register_at_fork(after_in_child=_free_lanes.clear)


class Identified:
    """One call's identity, for as long as it is under way: ``with Identified(...) as call``.

    Not ``of_run``: made inside a task, it is a new call when that task's body runs again.
    """

    __slots__ = ("_call", "_lane")

    def __init__(
        self,
        kind: str,
        workflow_id: str,
        agent_id: str,
        addresses: Sequence[str],
        operation_id: str | None,
        *,
        of_run: bool = True,
    ) -> None:
        attempt = current_attempt.get() if of_run else None
        run_id, epoch = (attempt.run_id, attempt.epoch) if attempt else ("", 0)
        self._lane: Lane | None = None
        if operation_id is not None:
            checked_name(operation_id, "operation_id")
            # An agent's own: what another one did under the same name is nothing that this one may learn.
            self._call = Call("operation", f"operation:{agent_id}\0{operation_id}", "", run_id, epoch)
        elif attempt is not None:
            self._call = Call("run", run_id, attempt.next_call(kind, workflow_id, addresses), run_id, epoch)
        else:
            self._lane = _borrow_lane()
            self._call = Call("lane", self._lane.lane_id, str(self._lane.sequence), run_id, epoch)

    def __enter__(self) -> Call:
        return self._call

    def __exit__(self, *_exc: object) -> None:
        if self._lane is not None:
            _free_lanes.append(self._lane)


def _borrow_lane() -> Lane:
    try:
        lane = _free_lanes.pop()
    except IndexError:
        lane = Lane(str(uuid.uuid4()))
    lane.sequence += 1
    return lane


def input_digest(owner: str, parts: Sequence[bytes]) -> bytes:
    """Return a keyed digest of a call's input: it tells a repeated call from a changed one and nothing else."""
    lengths = ",".join(map(str, map(len, parts))).encode()
    return hashlib.blake2b(b"".join((lengths, b":", *parts)), key=owner.encode()[:64], digest_size=16).digest()


def new_run_id() -> str:
    """Return a UUID of version 7: it begins with the time of its making."""
    milliseconds = time.time_ns() // 1_000_000
    return _with_time(milliseconds.to_bytes(6), os.urandom(10), version=7)


def derived_run_id(parent: str, task_id: str) -> str:
    """Return the run id of a message that a run publishes: the same one when that run publishes it again."""
    digest = hashlib.blake2b(f"{parent}\0{task_id}".encode(), digest_size=16).digest()
    try:
        made = uuid.UUID(parent).bytes[:6]
    except ValueError:  # a foreign producer's id
        made = digest[10:]
    return _with_time(made, digest[:10], version=8)


def _with_time(made: bytes, rest: bytes, *, version: int) -> str:
    number = int.from_bytes(made + rest)
    number = number & ~(0xF << 76) | version << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    digits = f"{number:032x}"  # as str(UUID(int=number)) writes it
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
