"""A watch: what has changed, read from the log in its order; being called is only a reason to look.

What a watcher has seen is its own to know: the store keeps nothing of it, and no call that is lost loses a change.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from ctxqueue.clock import MICROSECONDS, microseconds
from ctxqueue.effects import AwaitChange, Head, Load, LoadLog, Open, do
from ctxqueue.errors import InvalidInput
from ctxqueue.flows.logs import LOG_PAGE, Bookmark, check_goes_on, checked_revision, visible
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, Change, Progress, checked_name
from ctxqueue.rules.changes import matches, place_of

if TYPE_CHECKING:
    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent

LOOK_SECONDS = 2.0
"""A watcher that nobody has called for so long looks: what ends a log, and what begins it anew, calls nobody."""


class Course:
    """Where a watch stands, and what it has read that its reader has not taken yet."""

    def __init__(
        self,
        terms: Terms,
        workflow_id: str,
        agent: Agent,
        pattern: str,
        from_revision: int | str | None,
        timeout: float | None,
    ) -> None:
        self._terms = terms
        self._agent = agent
        self._pattern = checked_name(pattern, "pattern")
        self.place = place_of(pattern) or workflow_id
        """The workflow whose log it reads."""
        self._seconds = None if timeout is None else microseconds(timeout, "timeout") / MICROSECONDS
        self._read: Bookmark | None = None
        """Behind all that was read; None: it has not begun."""
        self._taken: Bookmark | None = None
        """Behind what the reader has."""
        self._items: deque[tuple[Change | Progress, Bookmark]] = deque()
        self._is_at_the_end = self._is_closed = False
        """Whether there was nothing more when it looked last, and whether more may come."""
        self.is_over = False
        """Whether nothing more comes, or nobody wants it."""
        if isinstance(from_revision, str):
            self._read = self._taken = Bookmark.parse(from_revision)
        elif from_revision is not None:
            self._read = self._taken = checked_revision(from_revision)

    @property
    def cursor(self) -> str:
        """What another watch goes on from, behind what the reader has."""
        if self._taken is None or not self._taken.incarnation:
            raise InvalidInput("the watch has not begun: enter it, or take something from it")
        return self._taken.text()

    def take(self) -> Change | Progress | None:
        """Return the next of what was read."""
        if not self._items:
            return None
        item, self._taken = self._items.popleft()
        return item

    def rewind(self) -> None:
        """Go back to behind what the reader has: what was read since may be half noted, by a thread that is gone."""
        self._read = self._taken
        self._items.clear()
        self._is_at_the_end = False

    def begin(self) -> Flow[None]:
        """Find out where it begins; raises WorkflowNotFound, HistoryDiverged."""
        if self._read is not None and self._read.incarnation:
            return
        if self.place == GLOBAL_WORKFLOW:  # it is there once it is needed
            _, head = yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", self._terms.idle_us))
        else:
            head, _ = yield from do(Load(self.place, ()))
        if head is None:
            raise unknown_workflow(self.place)
        self._read = self._taken = _begun(head, self._read)

    def gather(self) -> Flow[None]:
        """Wait for what comes next, and read it; nothing is there afterwards if the time is up, or nothing comes.

        Raises RevisionTrimmed, HistoryDiverged, WorkflowNotFound.
        """
        yield from self.begin()
        ends = None if self._seconds is None else time.monotonic() + self._seconds
        while not self._items and not self.is_over:
            if self._is_at_the_end:
                left = LOOK_SECONDS if ends is None else min(LOOK_SECONDS, ends - time.monotonic())
                if left <= 0 or self._is_closed:
                    self.is_over = True
                    return
                yield from do(AwaitChange(self.place, self._stands.revision, left))
            yield from self._look()

    @property
    def _stands(self) -> Bookmark:
        if self._read is None:
            raise AssertionError("a watch begins before it reads")
        return self._read

    def _look(self) -> Flow[None]:
        after = self._stands
        head, oldest, records = yield from do(LoadLog(self.place, after.begin, LOG_PAGE))
        if head is None:
            raise unknown_workflow(self.place)
        check_goes_on(self.place, head, oldest, after, after.begin)
        for record in records:
            seen = visible(self._terms.policy, self._agent, self.place, head.incarnation, record, after)
            found = [each for each in seen if matches((self._pattern,), each[0].key)]
            self._read = Bookmark(record.revision, head.incarnation, record.commit_id.hex())
            # Behind the last that it may see of a revision, a watch is behind the revision.
            self._items.extend(found[:-1])
            self._items.extend((change, self._read) for change, _ in found[-1:])
        if self._stands.revision > (self._items[-1][1] if self._items else after).revision:
            self._items.append((Progress(self._stands.revision), self._stands))
        self._is_at_the_end = not records or records[-1].revision >= head.revision
        self._is_closed = bool(head.closed_us)


def _begun(head: Head, named: Bookmark | None) -> Bookmark:
    """Return where a watch begins: at the present, or at a revision that was named by its number alone."""
    if named is None or named.revision == head.revision:
        return Bookmark.of(head)
    return named._replace(incarnation=head.incarnation)
