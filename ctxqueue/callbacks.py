"""Functions that are called in this process when others change something: as long as it lives, and no longer.

A thread looks for each what is new in the log: soon after the last change, then ever less often, up to every half
second.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from ctxqueue.errors import CapacityError, InvalidInput, StoreUnavailable
from ctxqueue.flows import following
from ctxqueue.flows.reading import may_be_told
from ctxqueue.flows.subscriptions import resolved_at
from ctxqueue.models import Notification
from ctxqueue.rules.changes import Resolved, matches, place_of
from ctxqueue.settings import MAX_SUBSCRIPTIONS
from ctxqueue.stores.waking import FIRST_PAUSE, LONGEST_PAUSE

if TYPE_CHECKING:
    from ctxqueue.context import SharedContextManager, WorkflowHandle
    from ctxqueue.flows.following import News, Place
    from ctxqueue.handles import Handle
    from ctxqueue.models import Change

logger = logging.getLogger(__name__)

KEPT_NOTICES = 100
LONGEST_LOOK = 5.0
"""Seconds that closing waits for a look that is under way."""

_numbers = itertools.count(1)


def may_tell(handle: Handle, key: str) -> bool:
    """Whether a key may be spoken of to an agent; in another role, or out of a group, it may not be that any more."""
    return may_be_told(handle.terms.policy, handle.agent, key)


def is_local(callback: Any) -> bool:
    """Whether it is a function of this process; a signature, which Celery lets be called too, is a mapping."""
    return callable(callback) and not isinstance(callback, Mapping)


class Wanted(NamedTuple):
    """What a function is to be told of."""

    workflow_id: str
    agent_id: str
    patterns: tuple[str, ...]
    entry_key: str = ""
    """It is about what this entry depends on: whoever writes that, and once all of it is there."""

    def is_of(self, change: Change) -> bool:
        """Whether a change is to be told."""
        return (bool(self.entry_key) or change.agent_id != self.agent_id) and matches(self.patterns, change.key)

    @property
    def when(self) -> Resolved:
        """What must be there."""
        return Resolved(self.entry_key, self.patterns[0])

    def places(self) -> list[str]:
        """Return the workflows that its keys stand in."""
        return list(dict.fromkeys(place_of(pattern) or self.workflow_id for pattern in self.patterns))


class Registry:
    """What both faces have in common: who waits, and what was told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Wanted, Any]] = {}
        self._told: dict[tuple[str, str], deque[Notification]] = {}

    def add(self, wanted: Wanted, subscription: Any) -> int:
        """Enter one; raises CapacityError for one more than an agent may have in a workflow."""
        with self._lock:
            many = sum(each[:2] == wanted[:2] and not each.entry_key for each, _ in self._waiting.values())
            if many >= MAX_SUBSCRIPTIONS and not wanted.entry_key:
                raise CapacityError(
                    f"{wanted.agent_id} has {MAX_SUBSCRIPTIONS} functions that wait for changes in workflow"
                    f" {wanted.workflow_id!r}: cancel some, or give one more patterns"
                )
            number = next(_numbers)
            self._waiting[number] = wanted, subscription
            return number

    def remove(self, number: int) -> bool:
        """Strike one out; False: it was not there."""
        with self._lock:
            return self._waiting.pop(number, None) is not None

    def all(self) -> list[tuple[Wanted, Any]]:
        """Return all that wait."""
        with self._lock:
            return list(self._waiting.values())

    def note(self, number: int, wanted: Wanted, key: str, revision: int, author: str) -> None:
        """Remember what was told."""
        told = Notification(datetime.now(UTC), f"local-{number}", (key,), revision, author)
        with self._lock:
            place = wanted.workflow_id, wanted.agent_id
            self._told.setdefault(place, deque(maxlen=KEPT_NOTICES)).append(told)

    def with_own(self, handle: Handle, kept: list[Notification]) -> list[Notification]:
        """Return what an agent was told of here and by the store, the newest first: the last hundred."""
        with self._lock:
            here = list(self._told.get((handle.workflow_id, handle.agent.agent_id), ()))
        told = [*(each for each in here if may_tell(handle, each.keys[0])), *kept]
        return sorted(told, key=lambda each: each.at, reverse=True)[:KEPT_NOTICES]


class LocalSubscription:
    """A function that is called in a thread of this process."""

    def __init__(
        self, callbacks: Callbacks, handle: WorkflowHandle, wanted: Wanted, callback: Callable[..., Any]
    ) -> None:
        self._callbacks = callbacks
        self.handle = handle
        self._wanted = wanted
        self._callback = callback
        self._stopped = threading.Event()
        self._calling = threading.Lock()
        self._is_pending, self._told_at = bool(wanted.entry_key), 0
        places = [callbacks.present(handle, place) for place in wanted.places()]
        self._number = callbacks.add(wanted, self)
        self.id = f"local-{self._number}"
        self.patterns = wanted.patterns
        self.reason = ""
        for place in places:
            callbacks.start(self._follow, place, f"ctxqueue-callback-{self._number}")

    @property
    def state(self) -> str:
        """ARMED or CANCELLED."""
        return "CANCELLED" if self._stopped.is_set() else "ARMED"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state}: {', '.join(self.patterns)}>"

    def cancel(self) -> bool:
        """Call it no more; False if it had ended."""
        self._stopped.set()
        return self._callbacks.remove(self._number)

    def _follow(self, place: Place) -> None:
        try:
            if self._is_pending:
                self._look()
            pause = FIRST_PAUSE
            while not self._stopped.is_set():
                try:
                    news = self._callbacks.news(self.handle, place)
                except StoreUnavailable as error:
                    logger.warning("%s waits for the store: %s", self, error)
                    news = None
                if news is not None:
                    self._take_all(news)
                    place = news.place
                    if news.over:
                        break
                if news is not None and news.more:
                    continue
                pause = FIRST_PAUSE if news is not None and news.changes else min(LONGEST_PAUSE, 2 * pause)
                self._stopped.wait(pause)
        except Exception:  # the manager may have been closed while it looked
            if not self._stopped.is_set():
                logger.exception("%s ends", self)
        self.cancel()

    def _take_all(self, news: News) -> None:
        if news.missed:
            logger.warning("%s has missed changes: the log does not reach back so far", self)
        for change in news.changes:
            if not self._stopped.is_set():
                self._take(change)

    def _take(self, change: Change) -> None:
        if self._wanted.entry_key:
            if self._wanted.is_of(change) and change.kind == "put" and change.revision > self._told_at:
                self._is_pending = True
            if self._is_pending:
                self._look(change)
        elif self._wanted.is_of(change):
            self.tell(change.key, change.revision, change.agent_id)

    def _look(self, change: Change | None = None) -> None:
        """Call it if the entry's dependencies are all there."""
        seen_at = self._callbacks.resolved_at(self.handle, self._wanted)
        if seen_at is not None:
            self._is_pending, self._told_at = False, seen_at
            self.tell(self._wanted.patterns[0], seen_at, change.agent_id if change else "")

    def tell(self, key: str, revision: int, author: str) -> None:
        """Call it."""
        wanted = self._wanted
        self._callbacks.note(self._number, wanted, key, revision, author)
        given = (wanted.workflow_id, wanted.entry_key or author, key)
        try:
            with self._calling:
                self._callback(*given)
        except Exception:  # the user's function may raise anything: the others go on
            logger.exception("%s: the function has failed", self)


class Callbacks(Registry):
    """The functions of one manager, each in a thread of its own."""

    def __init__(self, manager: SharedContextManager) -> None:
        super().__init__()
        self._manager = manager
        self._threads: WeakSet[threading.Thread] = WeakSet()

    def start(self, follow: Callable[[Place], None], place: Place, name: str) -> None:
        """Follow a log in a thread of its own."""
        thread = threading.Thread(target=follow, args=(place,), name=name, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def subscribe(
        self, handle: WorkflowHandle, patterns: tuple[str, ...], callback: Callable[..., Any], entry_key: str = ""
    ) -> LocalSubscription:
        """Begin to call a function; raises WorkflowNotFound, CapacityError, InvalidInput for a coroutine function."""
        if inspect.iscoroutinefunction(callback):
            raise InvalidInput("the function is a coroutine function: give it to the manager of ctxqueue.aconnect()")
        wanted = Wanted(handle.workflow_id, handle.agent.agent_id, patterns, entry_key)
        return LocalSubscription(self, handle, wanted, callback)

    def present(self, handle: WorkflowHandle, workflow_id: str) -> Place:
        """Return where a log ends now."""
        return self._manager.driver.run(following.present(handle.terms, workflow_id))

    def news(self, handle: WorkflowHandle, place: Place) -> News:
        """Read on in a log."""
        return self._manager.driver.run(following.news(handle.terms.policy, handle.agent, place))

    def resolved_at(self, handle: WorkflowHandle, wanted: Wanted) -> int | None:
        """Return the revision at which all was seen that an entry depends on; None: something lacks."""
        return self._manager.driver.run(resolved_at(handle.terms, handle.workflow_id, handle.agent, wanted.when))

    def announce(self, workflow_id: str, agent_id: str, keys: list[str]) -> int:
        """Call those that wait for changes of such keys by that agent."""
        called = 0
        for wanted, subscription in self.all():
            if wanted.workflow_id == workflow_id and wanted.agent_id != agent_id and not wanted.entry_key:
                for key in keys:
                    if matches(wanted.patterns, key) and may_tell(subscription.handle, key):
                        subscription.tell(key, 0, agent_id)
                        called += 1
        return called

    def look_again(self, workflow_id: str, key: str, agent_id: str) -> int:
        """Call those for whose entry this key is there, with all else that it depends on."""
        called = 0
        for wanted, subscription in self.all():
            if wanted.workflow_id == workflow_id and wanted.entry_key and wanted.patterns[0] == key:
                seen_at = self.resolved_at(self._manager.workflow(workflow_id), wanted)
                if seen_at is not None:
                    subscription.tell(key, seen_at, agent_id)
                    called += 1
        return called

    def close(self) -> None:
        """Call none any more, and return when nobody looks, whose connection would outlive the manager's others."""
        for _, subscription in self.all():
            subscription.cancel()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():  # a function may close its manager
                thread.join(LONGEST_LOOK)
