"""Getting and listing entries; every path shows what `rules.access.may_read` allows, before any limit."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

from ctxqueue.clock import instant
from ctxqueue.codec import unpack
from ctxqueue.effects import Flow, Head, Load, LoadPage, do
from ctxqueue.errors import AccessDenied, InvalidInput, InvalidName
from ctxqueue.flows import auditing
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.models import (
    GLOBAL_WORKFLOW,
    Address,
    Agent,
    ContextEntry,
    ContextScope,
    Disclosure,
    Page,
    WorkflowContext,
    checked_name,
    is_reserved,
)
from ctxqueue.records import decode_entry, decode_header
from ctxqueue.rules.access import may_name, owns_scope, sights
from ctxqueue.rules.policy import MOST_KEYS
from ctxqueue.rules.visibility import inner_addresses
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctxqueue.flows.terms import Terms
    from ctxqueue.rules.policy import Policy


def shown(
    policy: Policy, agent: Agent, address: Address, record: bytes | None, *, reveal: bool = False
) -> ContextEntry | None:
    """Return the entry as the agent may see it, None if it may not or there is none."""
    return None if record is None else reader(policy, agent, reveal=reveal)(address, record)


def reader(policy: Policy, agent: Agent, *, reveal: bool = False) -> Callable[[Address, bytes], ContextEntry | None]:
    """Return what shows the agent many records: what `rules.access.may_read` says of each, by one look at the key."""
    disclosure: Disclosure = "clear" if reveal else "concealed" if agent.is_operator else "secret"
    sight_of = sights(policy, agent)

    def read(address: Address, record: bytes) -> ContextEntry | None:
        plain, sensitive, mark = sight_of(address)
        if not plain and not sensitive:
            return None
        entry = decode_entry(address, record, disclosure, mark)
        if not (sensitive if entry.sensitive else plain):
            return None
        if entry.dependencies:
            named = tuple(key for key in entry.dependencies if may_be_told(policy, agent, key))
            entry = entry if len(named) == len(entry.dependencies) else replace(entry, dependencies=named)
        return entry

    return read


def may_be_told(policy: Policy, agent: Agent, key: str) -> bool:
    """Whether a key may be spoken of to the agent, wherever it would find it, and whether it is there or not."""
    if agent.is_operator:
        return True
    told = policy.rights_of(agent).told[bool(agent.groups)]
    answer = told.get(key)
    if answer is None:
        if len(told) >= MOST_KEYS:
            told.clear()
        places = (*inner_addresses(agent, key), Address(ContextScope.GLOBAL, "", key))
        answer = told[key] = any(may_name(policy, agent, address) for address in places)
    return answer


def workflow_context(workflow_id: str, head: Head, revision: int | None = None) -> WorkflowContext:
    """Return what a head says, at its own revision or an earlier one."""
    metadata = unpack(head.metadata) if head.metadata else {}
    at = head.revision if revision is None else revision
    created = instant(head.created_us)
    return WorkflowContext(
        workflow_id,
        at,
        created,
        metadata,
        updated_at=None if head.revision else created,
        etag=etag_of(head) if at == head.revision else "",
    )


def etag(workflow_id: str) -> Flow[str]:
    """Return what tells the workflow's present state from every other one that it had or may have."""
    head, _ = yield from do(Load(workflow_id, ()))
    if head is None:
        raise unknown_workflow(workflow_id)
    return etag_of(head)


def etag_of(head: Head) -> str:
    """Return the etag of a head."""
    return f"{head.incarnation}.{head.revision}.{head.commit_id.hex()}"


def get(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    key: str,
    scope: str | ContextScope | None = None,
    group: str | None = None,
    *,
    reveal: bool = False,
) -> Flow[ContextEntry | None]:
    """Return the innermost entry that the agent may see, or the one in the named scope."""
    checked_name(key, "key")
    inner, outer = where(agent, key, scope, group)
    hidden: list[auditing.Place] = []
    for home, addresses in ((workflow_id, inner), (GLOBAL_WORKFLOW, outer)):
        if not addresses:
            continue
        head, records = yield from do(Load(home, tuple(address.encode() for address in addresses)))
        if head is None and home == workflow_id:
            raise unknown_workflow(workflow_id)
        for address in addresses:
            record = records.get(address.encode())
            entry = shown(terms.policy, agent, address, record, reveal=reveal)
            if entry is not None:
                if entry.sensitive:
                    yield from auditing.handed_out(terms, workflow_id, agent, [entry], "get")
                return entry
            if record is not None:
                hidden.append(auditing.place_of(workflow_id, address, decode_header(record).stamp.version))
    yield from denied(terms, workflow_id, agent, (*inner, *outer)[-1], hidden, "get")
    return None


def denied(
    terms: Terms, workflow_id: str, agent: Agent, named: Address, hidden: list[auditing.Place], how: str
) -> Flow[None]:
    """Record that an agent asked by name for what it may not read: as far as there is any, else by the name alone."""
    if hidden:
        yield from auditing.denied(terms, workflow_id, agent, how, hidden[0], "it may not read it")
    elif not may_name(terms.policy, agent, named):
        yield from auditing.denied(terms, workflow_id, agent, how, auditing.place_of(workflow_id, named), "by its name")


NOT_IN_GROUP = "it is not in the group"


def where(
    agent: Agent, key: str, scope: str | ContextScope | None, group: str | None
) -> tuple[list[Address], list[Address]]:
    """Return the addresses to look at in the workflow, innermost first, and in the global context."""
    everywhere = Address(ContextScope.GLOBAL, "", key)
    if scope is None and group is None:
        return inner_addresses(agent, key), [everywhere]
    wanted = ContextScope.parse(scope) if scope is not None else ContextScope.AGENT_GROUP
    checked_group(key, wanted, group)
    if wanted is ContextScope.GLOBAL:
        return [], [everywhere]
    owner = {ContextScope.PRIVATE: agent.agent_id, ContextScope.AGENT_GROUP: group or ""}.get(wanted, "")
    address = Address(wanted, owner, key)
    if not owns_scope(agent, address):
        error = AccessDenied(f"{agent.agent_id} is not in group {group!r}")
        error.denied = "read", address, NOT_IN_GROUP
        raise error
    return [address], []


def checked_group(key: str, scope: ContextScope, group: str | None) -> None:
    """Raise InvalidName unless a group is named, and well, where the scope is one, and nowhere else."""
    if scope is ContextScope.AGENT_GROUP:
        if group is None:
            raise InvalidName(f"scope 'agent_group' for {key!r} needs group=")
        checked_name(group, "group")
    elif group is not None:
        raise InvalidName(f"group={group!r:.60} goes with scope 'agent_group', not {scope.value!r}")


# --- lists -----------------------------------------------------------------------------------------------------


def list_entries(
    terms: Terms,
    workflow_id: str,
    agent: Agent,
    prefix: str,
    scope: str | ContextScope | None,
    limit: int,
    cursor: str | None,
    *,
    reveal: bool = False,
) -> Flow[Page[ContextEntry]]:
    """Return the entries that the agent may see, by scope and key; an entry in each scope counts as one."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"limit is {limit!r}: give a whole number from 1 to {MAX_PAGE}")
    if prefix != "":
        checked_name(prefix, "prefix")
    segments = _segments(agent, prefix, scope)
    first, after = _read_cursor(cursor, segments)
    found: list[tuple[int, ContextEntry]] = []
    for index in range(first, len(segments)):
        home, start = segments[index][0] or workflow_id, segments[index][1]
        more: str | None = after
        while more is not None:
            head, pairs, more = yield from do(LoadPage(home, start, more, limit + 1))
            if head is None and home != GLOBAL_WORKFLOW:
                raise unknown_workflow(workflow_id)
            for encoded, record in pairs:
                address = Address.decode(encoded, of_global=home == GLOBAL_WORKFLOW)
                wanted = address.key.startswith(prefix) and not is_reserved(address.key)
                entry = shown(terms.policy, agent, address, record, reveal=reveal) if wanted else None
                if entry is not None:
                    found.append((index, entry))
            if len(found) > limit:
                last = found[limit - 1]
                found = found[:limit]
                yield from auditing.handed_out(terms, workflow_id, agent, [entry for _, entry in found], "list")
                return Page(tuple(entry for _, entry in found), _cursor(*last))
        after = ""
    yield from auditing.handed_out(terms, workflow_id, agent, [entry for _, entry in found], "list")
    return Page(tuple(entry for _, entry in found), None)


def _segments(agent: Agent, prefix: str, scope: str | ContextScope | None) -> list[tuple[str, str]]:
    """Return (workflow or '', address prefix) for each stretch of addresses that may hold what is asked for."""
    wanted = list(ContextScope) if scope is None else [ContextScope.parse(scope)]
    segments = []
    for each in reversed(wanted):
        letter = each.letter
        home = GLOBAL_WORKFLOW if each is ContextScope.GLOBAL else ""
        if each in (ContextScope.GLOBAL, ContextScope.WORKFLOW):
            segments.append((home, f"{letter}\0\0{prefix}"))
        elif agent.is_operator:
            segments.append((home, f"{letter}\0"))
        else:
            owners = (agent.agent_id,) if each is ContextScope.PRIVATE else agent.groups
            segments += [(home, f"{letter}\0{owner}\0{prefix}") for owner in owners]
    return segments


def _cursor(segment: int, last: ContextEntry) -> str:
    encoded = Address(last.scope, last.owner, last.key).encode()
    return urlsafe_b64encode(f"{segment}\0{encoded}".encode()).decode()


def _read_cursor(cursor: str | None, segments: list[tuple[str, str]]) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    try:
        segment, after = urlsafe_b64decode(cursor).decode().split("\0", 1)
        start = segments[int(segment)][1]
        if int(segment) >= 0 and after.startswith(start):
            return int(segment), after
    except (ValueError, TypeError, IndexError):
        pass
    raise InvalidInput(f"cursor {cursor!r:.60} is not one that list() returned for these arguments")
