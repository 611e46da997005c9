"""Counts and times for Prometheus: what this process does. Labels are few, and each has a fixed set of values.

Only counters and histograms: these add up over the processes of a forking worker, by prometheus_client's own
multiprocess mode. What stands in the store is not a process's to say: see `exporter`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ctxqueue import effects as fx
from ctxqueue.errors import AccessDenied, ConfigurationError, CtxqueueError

try:
    from prometheus_client import REGISTRY, Counter, Histogram
except ImportError as error:
    raise ConfigurationError(
        "metrics need prometheus-client: pip install 'ctxqueue[metrics]', or unset ctxqueue_metrics"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry

    from ctxqueue.identity import Call

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
"""Upper ends of the buckets of all histograms but one."""
PARKED = (1, 10, 60, 600, 3_600, 6 * 3_600, 24 * 3_600)

_counting = threading.Lock()
"""Held while something is counted, and over a fork: prometheus_client's own locks would else be copied as they are, and
a process forked while a thread counts could never count, nor go on."""
os.register_at_fork(before=_counting.acquire, after_in_parent=_counting.release, after_in_child=_counting.release)

_refused: ContextVar[Call | None] = ContextVar("ctxqueue_refused", default=None)
"""The call whose commit met another writer last: the same once more is a retry."""


class Meters:
    """All of them, once a registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"ctxqueue_{name}", what, ("namespace", *labels), registry=registry)

        def histogram(name: str, what: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
            return Histogram(f"ctxqueue_{name}", what, ("namespace", *labels), buckets=buckets, registry=registry)

        self.commits = counter("commits", "Commits that took effect")
        self.replays = counter("replays", "Calls made again that were answered with their first outcome")
        self.divergences = counter("divergences", "Replayed calls whose input was another the second time")
        self.conflicts = counter("conflicts", "Commits that wrote nothing as another writer had come first")
        self.retries = counter("retries", "Commits tried again after such a conflict")
        self.entries = counter("written_entries", "Entries written")
        self.bytes = counter("written_bytes", "Bytes of values sent to be written")
        self.armed = counter("armed", "Triggers registered and tasks parked that wait", "kind")
        self.fired = counter("fired", "Triggers, subscriptions and parked tasks let go by a condition that came true")
        self.late = counter("late", "Triggers and parked tasks let go as their time was up")
        self.expired = counter("expired", "Expired entries that were swept")
        self.denied = counter("denied", "Calls refused by the access rules")
        self.refused = counter("refused_writes", "Writes that a guard refused, or failed over", "guard", "kind")
        self.forged = counter("refused_work", "Messages and stored updates that were unsigned or forged")
        self.audited = counter("audited", "Records of the audit log that stand alone, by what was done", "action")
        self.errors = counter("errors", "Calls that ended in an error of ours", "error")
        self.calls = histogram("call_seconds", "How long calls took, waiting included", "call")
        self.works = histogram("work_seconds", "How long embedding and ranking took", "work")
        self.parked = histogram("parked_seconds", "For how long tasks that went on had been parked", buckets=PARKED)

    def begin(self, namespace: str) -> None:
        """Let counts begin at 0: one that is not there cannot be seen to rise."""
        for meter in vars(self).values():
            if meter._labelnames == ("namespace",):  # noqa: SLF001 - it has no other name
                meter.labels(namespace)
        for meter, labels in (
            *((self.armed, kind) for kind in ("trigger", "task")),
            *(
                (self.errors, error)
                for error in ("AccessDenied", "BadSignature", "StoreUnavailable", "VersionConflict")
            ),
            *((self.audited, action) for action in ("denied", "read", "revealed")),
            *((self.calls, call) for call in ("recall", "sweep")),
            *((self.works, work) for work in ("embed", "search")),
        ):
            meter.labels(namespace, labels)


_making = threading.Lock()
_made: list[Meters] = []
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def shared() -> Meters:
    """Return this process's, in prometheus_client's own registry: the app may serve them beside its own.

    Raises ConfigurationError if the folder for counts that the environment names is none.
    """
    with _making:
        if not _made:
            folder = os.environ.get(FOLDER)
            if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - "" is no folder
                raise ConfigurationError(f"{FOLDER} is {folder!r}, which is no folder: make it, or unset the variable")
            _made.append(Meters())
        return _made[0]


def count_refused_write(namespace: str, guard: str, kind: str) -> None:
    """Count a write that a guard did not let pass."""
    meters = shared()
    with _counting:
        meters.refused.labels(namespace, guard, kind).inc()


class Metrics:
    """The observer of one namespace."""

    def __init__(self, namespace: str, meters: Meters | None = None) -> None:
        self._meters = meters or shared()
        self._namespace = namespace
        self._meters.begin(namespace)
        self._see: dict[type[fx.Effect[Any]], Callable[[Any, Any], None]] = {
            fx.Commit: self._committed,
            fx.Register: self._registered,
            fx.Arm: self._parked,
            fx.Claim: self._claimed,
            fx.Fire: self._fired,
            fx.Recur: self._recurred,
            fx.FanOut: self._fanned,
            fx.Release: self._released,
            fx.Expire: self._expired,
            fx.Audit: self._audited,
        }

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Time a call."""
        begun = time.perf_counter()
        try:
            yield
        except CtxqueueError as error:
            with _counting:
                if isinstance(error, AccessDenied):
                    self._count(self._meters.denied)
                self._meters.errors.labels(self._namespace, type(error).__name__).inc()
            raise
        finally:
            with _counting:
                self._meters.calls.labels(self._namespace, name).observe(time.perf_counter() - begun)

    def worked(self, name: str, seconds: float) -> None:
        """Take note of how long embedding or ranking took."""
        with _counting:
            self._meters.works.labels(self._namespace, name).observe(seconds)

    def saw(self, effect: fx.Effect[Any], reply: Any) -> None:
        """Count what an effect did."""
        see = self._see.get(type(effect))
        if see is not None:
            with _counting:
                see(effect, reply)

    def _count(self, counter: Counter, amount: float = 1) -> None:
        if amount:
            counter.labels(self._namespace).inc(amount)

    def _committed(self, effect: fx.Commit, reply: fx.Committed | fx.Conflict | fx.Refused) -> None:
        meters = self._meters
        self._count(meters.retries, effect.call == _refused.get())
        _refused.set(None)
        if isinstance(reply, fx.Committed):
            self._count(meters.replays, reply.replayed)
            self._count(meters.divergences, reply.diverged)
            if not reply.replayed:
                self._count(meters.commits)
                self._count(meters.entries, len(effect.writes))
                self._count(meters.bytes, sum(len(write.value) for write in effect.writes))
                self._count(meters.fired, reply.fired)
        elif isinstance(reply, fx.Conflict) or reply.reason in ("moved", "graph_moved"):
            self._count(meters.conflicts)
            _refused.set(effect.call)

    def _audited(self, effect: fx.Audit, _reply: None) -> None:
        for record in effect.records:
            self._meters.audited.labels(self._namespace, record.action).inc()
            self._count(self._meters.forged, record.action == "refused")

    def _registered(self, _effect: fx.Register, reply: fx.Registered) -> None:
        if reply.answer == "armed":
            self._meters.armed.labels(self._namespace, "trigger").inc()
        self._count(self._meters.fired, reply.answer == "fired")

    def _parked(self, _effect: fx.Arm, reply: fx.Armed) -> None:
        if reply.answer == "parked":
            self._meters.armed.labels(self._namespace, "task").inc()

    def _claimed(self, _effect: fx.Claim, reply: fx.Claimed) -> None:
        if reply.answer == "run" and reply.parked_us:
            self._meters.parked.labels(self._namespace).observe(reply.parked_us / 1_000_000)

    def _fired(self, _effect: fx.Fire, reply: fx.Fired) -> None:
        self._count(self._meters.fired, reply.fired)

    def _recurred(self, effect: fx.Recur, reply: fx.Recurred) -> None:
        self._count(self._meters.fired, effect.firing is not None and reply.answer == "done")

    def _fanned(self, _effect: fx.FanOut, reply: fx.FannedOut) -> None:
        self._count(self._meters.fired, reply.fired)

    def _released(self, effect: fx.Release, reply: str) -> None:
        self._count(self._meters.late, effect.due.kind == "deadline" and reply == "sent")

    def _expired(self, _effect: fx.Expire, reply: fx.Expired) -> None:
        self._count(self._meters.expired, reply.expired)
