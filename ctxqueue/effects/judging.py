"""Conditions that no store can evaluate: a parked run is told when one of its addresses is written, and then judged."""

from __future__ import annotations

from typing import Literal

import msgspec

from ctxqueue.effects.base import Effect, Outgoing


class Watched(msgspec.Struct, frozen=True):
    """watched: judge it now, by ``judge``. closed: its workflow takes no writes any more. gone: it does not wait.

    Of one that fires each time, running: what it sent last has not come to its end; others: it is another app's, and
    due at once for that one's next sweep.
    """

    answer: Literal["watched", "closed", "gone", "running", "others"]
    judge: bytes = b""
    addresses: tuple[str, ...] = ()
    """That it is registered on."""
    turn: int = 0
    """Rises with each write that it is told of, and with each look."""
    notes: bytes = b""
    """Of one that fires each time: what the last look left. The same below."""
    number: int = 0
    """How often it has fired."""
    depth: int = 0
    """Of what was written while it ran: the smallest that was told; 0: none was."""


class Rewatch(Effect[Watched], frozen=True):
    """Let a parked run be told of what is written under these addresses from now on; with none, those it had before.

    Whoever writes one takes the run off all of them and makes it due to be judged. So who looks after this, and finds
    that the run may `Rest`, has missed nothing. It is due in a lease at the latest,
    until it rests: whoever looks may die.
    """

    workflow_id: str
    run_id: str
    addresses: tuple[str, ...]
    lease_us: int
    app: str = ""
    """Of whoever looks: one that fires each time is left to processes of its own app."""
    depth: int = 1
    """How many triggers in a row have led to whoever looks, and one more."""


class Rest(Effect[bool], frozen=True):
    """A run was judged to wait on: it is not due any more.

    False: something was written since `Rewatch`, or another looks.
    """

    workflow_id: str
    run_id: str
    turn: int
    """That `Rewatch` answered."""


class ParkedRun(msgspec.Struct, frozen=True):
    """A run that waits: the addresses of its condition, or what judges it."""

    run_id: str
    addresses: tuple[str, ...]
    judge: bytes
    item_id: str = ""
    parked_us: int = 0
    """When it began to wait."""
    deadline_us: int = 0
    """0: it has none."""
    message: bytes = b""
    """If it was asked for."""


class LoadParked(Effect[tuple[list[ParkedRun], str]], frozen=True):
    """Read some runs that wait, from a cursor on ('' at first). Reply: they, and the next cursor, '' at the end."""

    workflow_id: str
    cursor: str
    limit: int
    messages: bool = False


class WatchAfar(Effect[Literal["watched", "absent", "patterns"]], frozen=True):
    """Let a run of another workflow be judged when these addresses are written here, and after a time anyhow.

    ``watcher`` names it (`ctxqueue.rules.dependencies.watcher`). absent: this workflow is not there. patterns: it is
    watched for as many as each commit here can look at; one that was registered before is watched all the same.
    """

    workflow_id: str
    watcher: str
    addresses: tuple[str, ...]
    again_us: int
    first: bool = False
    """It is being registered."""


class RestAfar(Effect[bool], frozen=True):
    """A run of another workflow was judged to wait on. False: an address was written here since `WatchAfar`."""

    workflow_id: str
    watcher: str
    addresses: tuple[str, ...]
    again_us: int


class ForgetAfar(Effect[None], frozen=True):
    """A run of another workflow is not to be judged any more because of what is written here."""

    workflow_id: str
    watcher: str


class Fired(msgspec.Struct, frozen=True):
    """Whether the run was still parked, and its message, if this process is to publish it."""

    fired: bool
    outgoing: tuple[Outgoing, ...] = ()


class Fire(Effect[Fired], frozen=True):
    """Release a parked run; a ``message`` is sent in the place of the one that is stored."""

    workflow_id: str
    run_id: str
    app: str
    lease_us: int
    message: bytes = b""
    item_id: str = ""
    """That the stored one has, and keeps."""
