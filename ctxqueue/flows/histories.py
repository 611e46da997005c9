"""What was: the log of changes, the values kept of an entry, and a whole workflow as it stood at a revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import Batch, Flow, LoadHistory, LoadLog, Logged, do
from ctxqueue.effects.base import PAGE_BYTES
from ctxqueue.errors import HistoryDiverged, InvalidInput, RevisionTrimmed
from ctxqueue.flows import auditing
from ctxqueue.flows.logs import LOG_PAGE, Bookmark, check_goes_on, check_reach, checked_revision
from ctxqueue.flows.logs import visible as visible_changes
from ctxqueue.flows.reading import denied, shown, where, workflow_context
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.flows.viewing import snapshots, visible
from ctxqueue.models import (
    GLOBAL_WORKFLOW,
    Address,
    Agent,
    Change,
    ContextEntry,
    ContextScope,
    Page,
    checked_name,
    is_reserved,
)
from ctxqueue.records import decode_header
from ctxqueue.rules.access import may_read
from ctxqueue.settings import MAX_PAGE
from ctxqueue.views import AgentContext, Sight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.effects import Kept
    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.policy import Policy

BYTES_A_CHANGE = 128
"""Of a record in the log that holds one, with room to spare: what a page is measured by."""
HISTORY_BATCH = 50
"""Addresses whose kept values are read in one round trip."""


def checked_count(name: str, given: int, most: int) -> int:
    """Return a page's limit; raises InvalidInput."""
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        raise InvalidInput(f"{name} is {given!r}: give a whole number from 1 to {most}")
    return given


# --- one entry -------------------------------------------------------------------------------------------------


def history(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    key: str,
    limit: int,
    scope: str | ContextScope | None,
    group: str | None,
    *,
    reveal: bool = False,
) -> Flow[list[ContextEntry]]:
    """Return an entry's versions, newest first: the innermost address that the agent may see any version of."""
    checked_count("limit", limit, MAX_PAGE)
    checked_name(key, "key")
    inner, outer = where(agent, key, scope, group)
    hidden: list[auditing.Place] = []
    for home, addresses in ((workflow_id, inner), ("", outer)):
        for address in addresses:
            versions, newest = yield from _versions(terms.policy, home, agent, address, limit, reveal=reveal)
            if versions:
                yield from auditing.handed_out(terms, workflow_id, agent, versions, "history")
                return versions
            if newest:
                hidden.append(auditing.place_of(workflow_id, address, newest))
    yield from denied(terms, workflow_id, agent, (*inner, *outer)[-1], hidden, "history")
    return []


def _versions(
    policy: Policy, workflow_id: str, agent: Agent, address: Address, limit: int, *, reveal: bool
) -> Flow[tuple[list[ContextEntry], int]]:
    """Return what the agent may see, and which version was the newest that there was at all."""
    found: list[ContextEntry] = []
    newest = 0
    read: set[int] = set()
    """Versions: what is written between two pages moves all that is kept."""
    skip, more = 0, True
    while more and len(found) < limit:
        effect = LoadHistory(workflow_id or GLOBAL_WORKFLOW, address.encode(), skip)
        head, record, kept, more = yield from do(effect)
        if head is None:
            if workflow_id:
                raise unknown_workflow(workflow_id)
            return [], 0
        records = ([record] if record and not skip else []) + [each.record for each in kept]
        for each in records:
            newest = newest or decode_header(each).stamp.version
            entry = shown(policy, agent, address, each, reveal=reveal) if _fresh(each, head.now_us) else None
            if entry is not None and entry.version not in read:
                read.add(entry.version)
                found.append(entry)
        skip += len(kept)
    return found[:limit], newest


def _fresh(record: bytes, now_us: int) -> bool:
    expires_us = decode_header(record).expires_us
    return not expires_us or expires_us > now_us


# --- the log ---------------------------------------------------------------------------------------------------


def changes(
    terms: Terms, workflow_id: str, agent: Agent, from_revision: int, limit: int, cursor: str | None
) -> Flow[Page[Change]]:
    """Return what has changed after a revision and the agent may see, oldest first.

    Raises RevisionTrimmed, HistoryDiverged.
    """
    checked_count("limit", limit, MAX_PAGE)
    after = checked_revision(from_revision) if cursor is None else Bookmark.parse(cursor)
    found: list[tuple[Change, Bookmark]] = []
    begin = after.begin
    # As a rule each record has something to see: those asked for, the one that was read before, and one to see if there
    # are more; or one record has many. Where that is not enough, because others are hidden, ever larger pages.
    page, enough = limit + 2, limit + 1 + (after.read or 0)
    while True:
        most = min(PAGE_BYTES, enough * BYTES_A_CHANGE)
        head, oldest, records = yield from do(LoadLog(workflow_id, begin, page, most, enough))
        if head is None:
            raise unknown_workflow(workflow_id)
        check_goes_on(workflow_id, head, oldest, after, begin)
        for record in records:
            found += visible_changes(terms.policy, agent, workflow_id, head.incarnation, record, after)
            if len(found) > limit:  # a record may hold two hundred
                break
        if len(found) > limit:
            return Page(tuple(change for change, _ in found[:limit]), found[limit - 1][1].text())
        if not records or records[-1].revision >= head.revision:
            return Page(tuple(change for change, _ in found), None)
        begin, page, enough = records[-1].revision + 1, LOG_PAGE, enough * 8


# --- a whole workflow at a revision ----------------------------------------------------------------------------


def at(terms: Terms, workflow_id: str, agent: Agent, revision: int, *, reveal: bool = False) -> Flow[AgentContext]:
    """Return what the agent would have seen at a revision, without the global context, which has its own.

    Raises RevisionTrimmed if the log or a value's history does not reach back so far.
    """
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0:
        raise InvalidInput(f"revision is {revision!r}: give a whole number, at least 0")
    now, _ = yield from snapshots(terms, workflow_id)
    head = now.head
    records = dict(now.records)
    first: dict[str, Logged] = {}
    """What happened first to each address after the revision."""
    begin = revision + 1
    check_reach(workflow_id, head, begin, begin, revision)
    while begin <= head.revision:
        log_head, oldest, log = yield from do(LoadLog(workflow_id, begin, LOG_PAGE))
        if log_head is None:
            raise unknown_workflow(workflow_id)
        if log_head.incarnation != head.incarnation:
            raise HistoryDiverged(f"workflow {workflow_id!r} was made anew while it was read: read it again")
        check_reach(workflow_id, head, oldest, begin, revision)
        for record in log:
            if record.revision <= head.revision:
                for logged in record.changes:
                    first.setdefault(logged.address, logged)
        begin = log[-1].revision + 1 if log else head.revision + 1
    for address in first:
        records.pop(address, None)
    # What has expired since is not served, as of any revision.
    stood = {address: logged for address, logged in first.items() if logged.before and logged.kind != "expired"}
    records.update((yield from _standing(terms.policy, workflow_id, agent, revision, stood)))
    by_key = visible(terms.policy, agent, records, {}, head.now_us, reveal=reveal)
    innermost = {key: standing[0] for key, standing in by_key.items() if not is_reserved(key)}
    relevant = terms.filters.relevant_keys(list(innermost.values()), agent, needed=frozenset())
    sight = Sight(
        {key: entry for key, entry in innermost.items() if key in relevant}, innermost.keys() - relevant, by_key
    )
    then = workflow_context(workflow_id, head, revision)
    yield from auditing.handed_out(terms, workflow_id, agent, sight.secrets, "at")
    return AgentContext(then, agent, sight, global_revision=0)


def _standing(
    policy: Policy, workflow_id: str, agent: Agent, revision: int, stood: Mapping[str, Logged]
) -> Flow[dict[str, bytes]]:
    """Return the records that stood there before these changes, by address, from what was kept of them."""
    found: dict[str, bytes] = {}
    wanted = dict(stood)
    skips = dict.fromkeys(wanted, 0)
    while wanted:
        batch = list(wanted)[:HISTORY_BATCH]
        answers = yield from do(Batch(tuple(LoadHistory(workflow_id, address, skips[address]) for address in batch)))
        for address, (_, _, kept, more) in zip(batch, answers, strict=True):
            change = wanted[address]
            match = _of_version(kept, change.before)
            if match is not None:
                found[address] = match
            elif more:
                skips[address] += len(kept)
                continue
            elif may_read(policy, agent, Address.decode(address, of_global=False), sensitive=_was_sensitive(change)):
                key = address.rpartition("\0")[2]
                raise RevisionTrimmed(
                    f"version {change.before} of {key!r} in workflow {workflow_id!r}, which stood at revision"
                    f" {revision}, is not kept any more: raise ctxqueue_history, or go less far back"
                )
            del wanted[address]
    return found


def _was_sensitive(change: Logged) -> bool:
    return change.was_sensitive if change.kind == "put" else change.sensitive


def _of_version(kept: list[Kept], version: int) -> bytes | None:
    for each in kept:
        if decode_header(each.record).stamp.version == version:
            return each.record
    return None
