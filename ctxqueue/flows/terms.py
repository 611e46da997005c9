"""What the flows of one manager have in common."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctxqueue.clock import microseconds
from ctxqueue.effects import Bounds
from ctxqueue.flows.viewing import Views
from ctxqueue.rules.visibility import ContextFilterRegistry
from ctxqueue.settings import MAX_SCRIPT_MERGE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


SEEN_BYTES = 16 * 1024 * 1024
"""What a process keeps at most to guess from."""
LARGEST_SEEN = 64 * 1024
"""Bytes of a record."""
OVERHEAD = 500
"""Bytes of memory, about, that a record takes beside its own, its place among them."""


class Seen:
    """The records that this process wrote last, so that its next update of them need not read first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, place: tuple[str, str]) -> bytes | None:
        """Return the record last written at (workflow, address), if it is kept."""
        return self._records.get(place)

    def put(self, place: tuple[str, str], record: bytes) -> None:
        """Keep a record, unless it is large; those that were written longest ago go."""
        if len(record) > LARGEST_SEEN:
            return
        with self._lock:
            self._bytes += len(record) + OVERHEAD - self._dropped(place)
            self._records[place] = record
            while self._bytes > SEEN_BYTES:
                _, oldest = self._records.popitem(last=False)
                self._bytes -= len(oldest) + OVERHEAD

    def forget(self, place: tuple[str, str]) -> None:
        """Drop a record that others have written over."""
        with self._lock:
            self._bytes -= self._dropped(place)

    def _dropped(self, place: tuple[str, str]) -> int:
        record = self._records.pop(place, None)
        return 0 if record is None else len(record) + OVERHEAD


@dataclass(slots=True)
class Terms:
    """Settings, filters and names that every flow of one manager goes by."""

    namespace: str
    shards: Sequence[int]
    shard_of: Callable[[str], int]
    settings: Settings = field(default_factory=Settings)
    filters: ContextFilterRegistry = field(default_factory=ContextFilterRegistry)
    app: str = ""
    """The Celery app whose messages this process publishes; empty: none."""
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
        )
        self.idle_us = microseconds(settings.idle_life)
        self.lease_us = microseconds(settings.lease)
