"""What stands in the store, for Prometheus: read when it is asked for; what takes going through all, now and then.

One of these is enough for a namespace: what it shows is the store's, whoever asks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import GaugeMetricFamily

from ctxqueue.errors import CtxqueueError, WorkflowNotFound
from ctxqueue.observability.inquiries import Inquiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.context import SharedContextManager
    from ctxqueue.models import Page, ParkedTask, WorkflowSummary

T = TypeVar("T")

logger = logging.getLogger(__name__)

AGES = ((60.0, "1m"), (600.0, "10m"), (3_600.0, "1h"), (24 * 3_600.0, "1d"), (float("inf"), "more"))
"""How long tasks have been parked: up to so many seconds, and what that is called."""
PAGE = 1_000
PATIENCE = 3.0
"""Seconds: Prometheus gives up after ten, and then knows of no store that is away."""
REST = 10
"""A survey rests at least so many times as long as it took."""


class StoreCollector:
    """A collector of a registry: what is overdue as of now, totals as of the last survey."""

    def __init__(self, manager: SharedContextManager, survey_interval: float, patience: float = PATIENCE) -> None:
        self._manager = manager
        self._backlog = Inquiry(manager.backlog, patience)
        self._interval = survey_interval
        self._labels = [manager.terms.namespace]
        self._totals: dict[str, float] = {}
        self._parked: Counter[str] = Counter()
        self._surveyed = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="ctxqueue-survey", daemon=True)

    def start(self) -> None:
        """Begin to survey."""
        self._thread.start()

    def stop(self) -> None:
        """Survey no more."""
        self._ending.set()
        self._thread.join()

    def _go_on(self) -> None:
        pause = 0.0
        while not self._ending.wait(pause):
            begun = time.monotonic()
            try:
                self.survey()
            except CtxqueueError as error:
                logger.warning("the store could not be surveyed: %s", error)
            pause = max(self._interval, REST * (time.monotonic() - begun))

    def survey(self) -> None:
        """Go through all workflows, a page at a time."""
        totals, parked = Counter[str](workflows=0, entries=0, bytes=0, dead_letters=0), Counter[str]()
        totals.update(stored_updates=0, triggers_armed=0)
        for each in _pages(lambda cursor: self._manager.workflows(limit=PAGE, cursor=cursor)):
            if self._ending.is_set():
                return
            self._add(each, totals, parked)
        gone = self._manager.audit_gone()
        known = {} if gone is None else {"audit_records_gone": gone}
        self._totals, self._parked, self._surveyed = {**totals, **known}, parked, time.time()

    def _add(self, each: WorkflowSummary, totals: Counter[str], parked: Counter[str]) -> None:
        totals["workflows"] += 1
        for name in ("entries", "bytes", "dead_letters", "stored_updates"):
            totals[name] += getattr(each, name)
        if not each.waiting:
            return
        try:
            if each.triggers:
                triggers = self._manager.workflow(each.workflow_id).triggers()
                totals["triggers_armed"] += sum(trigger.state == "ARMED" for trigger in triggers)
            for task in _pages(lambda cursor: self._manager.parked(each.workflow_id, limit=PAGE, cursor=cursor)):
                parked[_age(task)] += 1
        except WorkflowNotFound:
            pass  # it was removed since it was listed

    def describe(self) -> list[GaugeMetricFamily]:
        """Say nothing: a registry would else collect, and so reach the store, when this is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; without a store only that it is away."""
        try:
            backlog = self._backlog.answer()
        except CtxqueueError as error:
            logger.warning("the store does not say what is overdue: %s", error)
            yield self._gauge("store_up", "Whether the store answers", 0)
            return
        yield self._gauge("store_up", "Whether the store answers", 1)
        yield self._gauge("overdue", "Things to be done whose time has come", backlog.overdue)
        yield self._gauge("oldest_overdue_seconds", "How long the first of them has waited", backlog.oldest_overdue)
        yield self._gauge("outbox_items", "Messages that no broker has taken yet", backlog.outbox)
        yield self._gauge("outbox_age_seconds", "How long the first of them has been anybody's", backlog.outbox_age)
        if self._surveyed:
            yield from self._survey_gauges()

    def _survey_gauges(self) -> Iterator[GaugeMetricFamily]:
        for name, total in sorted(self._totals.items()):
            yield self._gauge(name, f"{name.replace('_', ' ')}, as of the last survey".capitalize(), total)
        ages = GaugeMetricFamily(
            "ctxqueue_parked", "Tasks that wait, by for how long at most", labels=["namespace", "age"]
        )
        for _, name in AGES:
            ages.add_metric([*self._labels, name], self._parked[name])
        yield ages
        yield self._gauge("survey_age_seconds", "How old the survey is", time.time() - self._surveyed)

    def _gauge(self, name: str, what: str, value: float) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(f"ctxqueue_{name}", what, labels=["namespace"])
        gauge.add_metric(self._labels, value)
        return gauge


def _age(task: ParkedTask) -> str:
    seconds = (datetime.now(UTC) - task.parked_at).total_seconds()
    return next(name for most, name in AGES if seconds <= most)


def _pages(page_of: Callable[[str | None], Page[T]]) -> Iterator[T]:
    cursor: str | None = None
    while True:
        page = page_of(cursor)
        yield from page
        cursor = page.next_cursor
        if cursor is None:
            return
