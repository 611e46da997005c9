"""The log as its readers go through it: where one of them stands, and what it may see of what comes next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ctxqueue.clock import instant
from ctxqueue.errors import HistoryDiverged, InvalidInput, RevisionTrimmed
from ctxqueue.models import GLOBAL_WORKFLOW, Address, Change, is_reserved
from ctxqueue.rules.access import may_read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.effects import Head, LogRecord
    from ctxqueue.models import Agent
    from ctxqueue.rules.policy import Policy

LOG_PAGE = 1_000
LAST_REVISION = 2**53
"""Above any; what every store can count to."""

CURSOR: Final = re.compile(r"([^.\s]{1,64})\.([0-9]{1,16})\.([0-9a-f]{1,32})(?:\.([0-9]{1,9}))?", re.ASCII)


class Bookmark(NamedTuple):
    """Where a reader stands: behind a revision, or behind so many of its changes."""

    revision: int
    incarnation: str = ""
    """Of the workflow; empty, and no commit: the reader has named a revision alone."""
    commit: str = ""
    read: int | None = None
    """How many of the revision's changes it is past; None: all."""

    @property
    def begin(self) -> int:
        """The first revision to be read: again the one it is past, to see that it is still the one that it was."""
        return self.revision if self.commit and self.revision else self.revision + 1

    def text(self) -> str:
        """Return it as a cursor; one behind a whole revision is the etag that the workflow had then."""
        etag = f"{self.incarnation}.{self.revision}.{self.commit}"
        return etag if self.read is None else f"{etag}.{self.read}"

    @classmethod
    def parse(cls, cursor: str) -> Bookmark:
        """Undo `text`; raises InvalidInput."""
        found = CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
        if found is None or int(found[2]) > LAST_REVISION:
            raise InvalidInput(f"cursor {cursor!r:.60} is none: give what a page, a watch or an etag said")
        return cls(int(found[2]), found[1], found[3], None if found[4] is None else int(found[4]))

    @classmethod
    def of(cls, head: Head) -> Bookmark:
        """Return where a reader stands that wants nothing of what was."""
        return cls(head.revision, head.incarnation, head.commit_id.hex())


def checked_revision(given: int) -> Bookmark:
    """Return the place behind a revision; raises InvalidInput."""
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= LAST_REVISION:
        raise InvalidInput(f"from_revision is {given!r:.60}: give a revision, 0 for the beginning")
    return Bookmark(given)


def check_reach(workflow_id: str, head: Head, oldest: int, wanted: int, known: int) -> None:
    """Raise RevisionTrimmed if the log no longer has a revision, HistoryDiverged if it never had it."""
    if known > head.revision:
        raise HistoryDiverged(
            f"{_named(workflow_id)} is at revision {head.revision}, revision {known} is not part of its history: it"
            " was made anew, or its server lost commits. Read it again from the beginning"
        )
    if wanted < oldest and wanted <= head.revision:
        raise RevisionTrimmed(
            f"the log of {_named(workflow_id)} begins at revision {oldest}, {wanted} is gone: read the entries"
            f" again and go on from_revision={head.revision}, or raise ctxqueue_log_limit"
        )


def check_goes_on(workflow_id: str, head: Head, oldest: int, after: Bookmark, begin: int) -> None:
    """Raise RevisionTrimmed, HistoryDiverged unless the log goes on without a gap from where a reader stands."""
    if after.incarnation and after.incarnation != head.incarnation:
        raise HistoryDiverged(
            f"{_named(workflow_id)} was made anew since it was read: read it again from the beginning"
        )
    check_reach(workflow_id, head, oldest, begin, after.revision)


def visible(
    policy: Policy, agent: Agent, workflow_id: str, incarnation: str, record: LogRecord, after: Bookmark
) -> Iterator[tuple[Change, Bookmark]]:
    """Yield what an agent may see of a record and is not past yet, each with where that leaves it.

    Raises HistoryDiverged.
    """
    commit = record.commit_id.hex()
    skip = 0
    if record.revision == after.revision:
        if commit != after.commit:
            raise HistoryDiverged(
                f"revision {after.revision} of {_named(workflow_id)} is another one than was read before: its server"
                " lost commits. Read it again from the beginning"
            )
        skip = len(record.changes) if after.read is None else after.read
    for ordinal, logged in enumerate(record.changes):
        if ordinal < skip:
            continue
        address = Address.decode(logged.address, of_global=workflow_id == GLOBAL_WORKFLOW)
        if is_reserved(address.key) or not may_read(policy, agent, address, sensitive=logged.sensitive):
            continue
        change = Change(
            record.revision,
            address.key,
            address.scope,
            address.owner,
            logged.version,
            logged.kind,
            "" if logged.kind in ("expired", "evicted") else logged.agent_id or record.agent_id,
            instant(record.at_us),
        )
        yield change, Bookmark(record.revision, incarnation, commit, ordinal + 1)


def _named(workflow_id: str) -> str:
    return "the global context" if workflow_id == GLOBAL_WORKFLOW else f"workflow {workflow_id!r}"
