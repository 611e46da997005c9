"""What the flows of one manager have in common."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ctxqueue.clock import microseconds
from ctxqueue.effects import AuditBounds, Bounds
from ctxqueue.flows import guarding
from ctxqueue.flows.viewing import Views
from ctxqueue.rules.guards import Guards
from ctxqueue.rules.policies import SHIPPED
from ctxqueue.rules.visibility import ContextFilterRegistry
from ctxqueue.settings import MAX_SCRIPT_MERGE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ctxqueue.effects import Flow
    from ctxqueue.records import Standing
    from ctxqueue.rules.policy import Policy
    from ctxqueue.signing import Signer


SHARE_OF_A_SHARD = 100
"""What one workflow does must not take the place of all others' in the audit log, where there are many shards."""
SEEN_BYTES = 16 * 1024 * 1024
"""What a process keeps at most to guess from."""
LARGEST_SEEN = 64 * 1024
"""Bytes of a value with what is known of it."""
OVERHEAD = 500
"""Bytes of memory, about, that each takes beside these, its place among them."""


class Seen:
    """What this process wrote last, so that its next update of it need not read first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, str], Standing] = OrderedDict()
        self._bytes = 0

    def get(self, place: tuple[str, str]) -> Standing | None:
        """Return what was last written at (workflow, address), if it is kept."""
        return self._records.get(place)

    def put(self, workflow_id: str, written: Iterable[tuple[str, Standing]]) -> None:
        """Keep what was written at some addresses, unless it is large; what was written longest ago goes."""
        with self._lock:
            records, change = self._records, 0
            for address, record in written:
                place = workflow_id, address
                before = records.pop(place, None)
                if before is not None:
                    change -= _size(before)
                size = _size(record)
                if size <= LARGEST_SEEN:
                    records[place] = record
                    change += size
            self._bytes += change
            while self._bytes > SEEN_BYTES:
                _, oldest = self._records.popitem(last=False)
                self._bytes -= _size(oldest)

    def forget(self, place: tuple[str, str]) -> None:
        """Drop what others have written over."""
        with self._lock:
            before = self._records.pop(place, None)
            self._bytes -= _size(before) if before else 0


class Canvases(Protocol):
    """What only a Celery app can do with a signature."""

    def frozen(self, signature: Any) -> bytes:
        """Return any canvas as bytes, its tasks' ids fixed; raises InvalidInput for what is none."""
        ...

    def launch(self, workflow_id: str, trigger_id: str, *, late: bool) -> bytes:
        """Return the message of the task that launches what a trigger holds."""
        ...

    def launch_again(
        self, workflow_id: str, trigger_id: str, run_id: str, number: int, cause: dict[str, Any], depth: int
    ) -> bytes:
        """Return the message of the task that launches it for the n-th time, as the run that is named."""
        ...

    def look_later(self, workflow_id: str, subscription_id: str, seconds: float) -> bytes | None:
        """Return a message by which a worker looks at a subscription after a time; None: nobody would wait for it."""
        ...

    def depth(self) -> int:
        """Return how many triggers have led to what runs here."""
        ...


class Recorder(Protocol):
    """What carries out the flow that records a reveal."""

    def now(self, flow: Flow[None]) -> None:
        """Carry it out before returning, where that would stall no event loop."""
        ...

    def aside(self, flow: Flow[None]) -> None:
        """Carry it out as far as that stalls no event loop."""
        ...

    async def soon(self, flow: Flow[None]) -> None:
        """Carry it out, awaited."""
        ...

    def handing_out(self) -> None:
        """Take note of where a value is handed out."""
        ...


def nowhere() -> tuple[str, str]:
    """Return that neither a task's id nor a trace's is known."""
    return "", ""


def _size(record: Standing) -> int:
    return len(record.value) + len(record.meta) + OVERHEAD


@dataclass(slots=True)
class Terms:
    """Settings, filters and names that every flow of one manager goes by."""

    namespace: str
    shards: Sequence[int]
    shard_of: Callable[[str], int]
    settings: Settings = field(default_factory=Settings)
    filters: ContextFilterRegistry = field(default_factory=ContextFilterRegistry)
    policy: Policy = SHIPPED
    guards: Guards = field(default_factory=Guards)
    policy_source: str = ""
    """The file that it was read from; empty: it was given in Python, or is the shipped one."""
    app: str = ""
    """The Celery app whose messages this process publishes; empty: none."""
    canvases: Canvases | None = None
    """Makes messages of signatures; None: outside any Celery app."""
    signer: Signer | None = None
    """Signs what is stored, and is asked before that is carried out; None: this manager has no keys."""
    tell: Callable[[guarding.Refusal], None] = guarding.log
    """Brings the operator a write that a guard did not let pass."""
    merges_in_store: bool = True
    """False: all values are encrypted, so none can be merged but here."""
    whence: Callable[[], tuple[str, str]] = nowhere
    """Returns the ids of the Celery task and of the trace that a call is made in; empty: there is none."""
    recorder: Recorder | None = None
    seen: Seen = field(default_factory=Seen)
    views: Views = field(default_factory=Views)
    bounds: Bounds = field(init=False)
    lease_us: int = field(init=False)
    idle_us: int = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.bounds = Bounds(
            max_entries=settings.max_entries,
            max_bytes=settings.max_bytes,
            max_merge=min(MAX_SCRIPT_MERGE, settings.max_value),
            horizon_us=microseconds(settings.horizon),
            history=settings.history,
            log_limit=settings.log_limit,
            audit=AuditBounds(
                settings.audit_limit if len(self.shards) == 1 else -(-settings.audit_limit // SHARE_OF_A_SHARD),
                microseconds(settings.audit_age),
                lenient=settings.audit_failure == "warn",
            ),
        )
        self.idle_us = microseconds(settings.idle_life)
        self.lease_us = microseconds(settings.lease)
