"""What tasks have read, where that is noted; and what nobody but its writer ever read.

What an agent's tasks were handed of others stands in an entry of its own, and ends with the workflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import LoadGraph, LoadPage, do
from ctxqueue.flows.reading import list_entries, shown
from ctxqueue.flows.updating import merged
from ctxqueue.flows.writing import checked_at
from ctxqueue.models import OPERATOR, READS, Address, ContextEntry, ContextScope, Page, Put
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent

SHARED = (ContextScope.WORKFLOW, ContextScope.AGENT_GROUP)
"""Where an entry is for others too."""


def of_others(agent: Agent, entries: Iterable[ContextEntry]) -> list[ContextEntry]:
    """Return those of the entries that others wrote, for others too."""
    return [entry for entry in entries if entry.scope in SHARED and entry.agent_id != agent.agent_id]


def note(terms: Terms, workflow_id: str, agent: Agent, entries: Iterable[ContextEntry]) -> Flow[None]:
    """Write down that an agent has read these entries."""
    places = sorted(Address(entry.scope, entry.owner, entry.key).encode() for entry in entries)
    address = Address(ContextScope.PRIVATE, agent.agent_id, READS)
    yield from merged(terms, workflow_id, agent, [checked_at(terms, address, Put(places, priority="high"))], "union")


def unread(terms: Terms, workflow_id: str, limit: int, cursor: str | None) -> Flow[Page[ContextEntry]]:
    """Return entries that no agent but their writer was handed, and that nothing depends on.

    A page may hold fewer than ``limit``, or none and a cursor.
    """
    page = yield from list_entries(terms, workflow_id, OPERATOR, "", None, limit, cursor)
    read = yield from _readers(terms, workflow_id)
    _, edges = yield from do(LoadGraph(workflow_id))
    needed = {key for keys in edges.values() for key in keys}

    def is_unread(entry: ContextEntry) -> bool:
        readers = read.get(Address(entry.scope, entry.owner, entry.key).encode(), set())
        return entry.scope in SHARED and entry.key not in needed and not readers - {entry.agent_id}

    return Page(tuple(filter(is_unread, page)), page.next_cursor)


def _readers(terms: Terms, workflow_id: str) -> Flow[dict[str, set[str]]]:
    """Return who has read what, by address."""
    read: dict[str, set[str]] = {}
    after: str | None = ""
    while after is not None:
        _, pairs, after = yield from do(LoadPage(workflow_id, f"{ContextScope.PRIVATE.letter}\0", after, MAX_PAGE))
        for encoded, record in pairs:
            address = Address.decode(encoded, of_global=False)
            entry = shown(terms.policy, OPERATOR, address, record, reveal=True) if address.key == READS else None
            for place in entry.value if entry is not None else ():
                read.setdefault(place, set()).add(address.owner)
    return read
