"""Conditions that are judged here: on values, on how many keys match, on what has become stale.

A run that waits for one is registered on all that it could come true by. Whoever writes such an address takes it off
and makes it due; then it is *watched anew, looked at, and left to rest*, in this order, so that a write after the look
makes it due again. Whoever looks may die: it stays due. What is judged is the state at the look, by what the agent that
waits may see then. A value that came and went before anybody could look was never there for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ctxqueue.effects import Fire, Load, Rest, Rewatch, do
from ctxqueue.errors import CapacityError
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.reading import list_entries, shown
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.models import OPERATOR, Agent
from ctxqueue.rules.conditions import AtLeast, Compared, Condition, Exists, leaves_of, truth
from ctxqueue.rules.dependencies import watched
from ctxqueue.rules.graph import stale
from ctxqueue.rules.visibility import inner_addresses
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import ContextEntry
    from ctxqueue.rules.conditions import Leaf

LOOKS = 20
"""In a row, at what is written again and again; then it is left to the sweep."""


class Judge(msgspec.Struct, frozen=True, array_like=True):
    """What a parked run is judged by. New fields go to the end, with a default."""

    condition: Condition
    agent_id: str
    agent_type: str
    agent_role: str | None
    groups: tuple[str, ...]

    @classmethod
    def of(cls, condition: Condition, agent: Agent) -> Judge:
        """Return it for an agent that waits."""
        return cls(condition, agent.agent_id, agent.agent_type, agent.agent_role, tuple(agent.groups))

    @property
    def agent(self) -> Agent:
        """Who waits."""
        if self.agent_id == OPERATOR.agent_id:
            return OPERATOR
        return Agent(self.agent_id, self.agent_type, self.agent_role, self.groups)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Judge).decode


def packed(condition: Condition, agent: Agent) -> bytes:
    """Return what is kept with a parked run."""
    return _encode(Judge.of(condition, agent))


def too_many_patterns(workflow_id: str) -> CapacityError:
    """Return the error for one pattern more than each commit can look at."""
    return CapacityError(
        f"workflow {workflow_id!r} is waited on by as many different patterns as are allowed: use some of them again"
    )


class Look:
    """What an agent sees of what a condition is about, at one moment or at several."""

    def __init__(self, condition: Condition, agent: Agent) -> None:
        self._condition = condition
        self._agent = agent
        self.entries: dict[str, ContextEntry] = {}
        """What the agent sees of it, by key."""
        self._counts: dict[AtLeast, int] = {}
        self.addresses: dict[str, None] = dict.fromkeys(watched(condition, agent))
        """What it may come true by, and what is looked at."""

    def look(self, workflow_id: str) -> Flow[None]:
        """Read all of it; raises WorkflowNotFound."""
        leaves = list(leaves_of(self._condition))
        keys = [leaf.key for leaf in leaves if not isinstance(leaf, AtLeast)]
        yield from self._load(workflow_id, keys)
        depended_on = [name for entry in self.entries.values() for name in entry.dependencies]
        yield from self._load(workflow_id, depended_on)
        for leaf in leaves:
            if isinstance(leaf, AtLeast):
                self._counts[leaf] = yield from self._count(workflow_id, leaf)

    def false_leaves(self) -> tuple[Leaf, ...]:
        """Return what keeps the condition from being true, nothing if it is."""
        if truth(self._condition, self._holds):
            return ()
        return tuple(leaf for leaf in leaves_of(self._condition) if not self._holds(leaf))

    def _load(self, workflow_id: str, keys: Iterable[str]) -> Flow[None]:
        places = {key: inner_addresses(self._agent, key) for key in keys if key not in self.entries}
        wanted = [address.encode() for addresses in places.values() for address in addresses]
        self.addresses.update(dict.fromkeys(wanted))
        if not wanted and self.entries:
            return
        head, records = yield from do(Load(workflow_id, tuple(wanted)))
        if head is None:
            raise unknown_workflow(workflow_id)
        reveal = not self._agent.is_operator
        for key, addresses in places.items():
            seen = (shown(self._agent, address, records.get(address.encode()), reveal=reveal) for address in addresses)
            entry = next((each for each in seen if each is not None), None)
            if entry is not None:
                self.entries[key] = entry

    def _count(self, workflow_id: str, leaf: AtLeast) -> Flow[int]:
        keys: set[str] = set()
        cursor: str | None = None
        while len(keys) < leaf.number:
            page = yield from list_entries(workflow_id, self._agent, leaf.prefix, None, MAX_PAGE, cursor)
            keys.update(entry.key for entry in page.items if leaf.matches(entry.key))
            cursor = page.next_cursor
            if cursor is None:
                break
        return len(keys)

    def _holds(self, leaf: Leaf) -> bool:
        if isinstance(leaf, AtLeast):
            return self._counts[leaf] >= leaf.number
        entry = self.entries.get(leaf.key)
        if entry is None or isinstance(leaf, Exists):
            return entry is not None
        if isinstance(leaf, Compared):
            concealed = entry.sensitive and entry.disclosure == "concealed"
            return not concealed and leaf.holds(entry.value)
        return leaf.key in stale(self.entries)


def lacking(workflow_id: str, agent: Agent, condition: Condition) -> Flow[tuple[str, ...]]:
    """Return what keeps a condition from being true, nothing if it is; raises WorkflowNotFound."""
    look = Look(condition, agent)
    yield from look.look(workflow_id)
    return tuple(dict.fromkeys(map(str, look.false_leaves())))


def judge(terms: Terms, workflow_id: str, run_id: str) -> Flow[int]:
    """Look at what a parked run waits for, and release it if that is there; return how many were released."""
    watching = yield from do(Rewatch(workflow_id, run_id, ()))
    for _ in range(LOOKS):
        if watching.answer == "gone":
            return 0
        if watching.answer == "closed":
            return (yield from fire(terms, workflow_id, run_id))
        judged = _decode(watching.judge)
        look = Look(judged.condition, judged.agent)
        yield from look.look(workflow_id)
        if not look.false_leaves():
            return (yield from fire(terms, workflow_id, run_id))
        if look.addresses.keys() == set(watching.addresses) and (yield from do(Rest(workflow_id, run_id))):
            return 0
        watching = yield from do(Rewatch(workflow_id, run_id, tuple(look.addresses)))
    return 0


def fire(terms: Terms, workflow_id: str, run_id: str) -> Flow[int]:
    """Release a parked run; return how many were: none if somebody else has."""
    fired = yield from do(Fire(workflow_id, run_id, terms.app, terms.lease_us))
    yield from publish(terms, workflow_id, fired.outgoing)
    return int(fired.fired)
