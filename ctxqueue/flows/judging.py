"""Conditions that are judged here: on values, on how many keys match, on what has become stale.

A run that waits for one is registered on all that it could come true by. Whoever writes such an address takes it off
and makes it due; then it is *watched anew, looked at, and left to rest*, in this order, so that a write after the look
makes it due again. Whoever looks may die: it stays due. What is judged is the state at the look, by what the agent that
waits may see then. A value that came and went before anybody could look was never there for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import Fire, ForgetAfar, Load, Open, Rest, RestAfar, Rewatch, WatchAfar, do
from ctxqueue.errors import CapacityError, WorkflowNotFound
from ctxqueue.flows.publishing import publish
from ctxqueue.flows.reading import list_entries, shown
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Agent, ContextScope
from ctxqueue.rules.conditions import AtLeast, Compared, Condition, Exists, Placed, Stale, leaves_of, truth
from ctxqueue.rules.dependencies import places_of, watched, watcher, watching_run
from ctxqueue.rules.graph import stale
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import ContextEntry

LOOKS = 20
"""In a row, at what is written again and again; then it is left to the sweep."""
AGAIN_US = 3_600 * MICROSECONDS
"""A run that waits for another workflow is looked at so often anyhow: whoever had to tell it may be gone."""


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


def judge_of(kept: bytes) -> Judge:
    """Undo `packed`."""
    return _decode(kept)


def too_many_patterns(workflow_id: str) -> CapacityError:
    """Return the error for one pattern more than each commit can look at."""
    return CapacityError(
        f"workflow {workflow_id!r} is waited on by as many different patterns as are allowed: use some of them again"
    )


class Look:
    """What an agent sees of what a condition is about, workflow by workflow."""

    def __init__(self, condition: Condition, agent: Agent, home: str) -> None:
        self._condition = condition
        self._agent = agent
        self._home = home
        self._leaves = list(leaves_of(condition))
        self._entries: dict[str, dict[str, ContextEntry]] = {}
        self._counts: dict[Placed, int] = {}
        self.watched = {place: dict.fromkeys(addresses) for place, addresses in watched(condition, agent).items()}
        """What it may come true by, by workflow ('': its own)."""

    @property
    def entries(self) -> list[ContextEntry]:
        """What the agent sees of it."""
        return [entry for entries in self._entries.values() for entry in entries.values()]

    def look(self) -> Flow[None]:
        """Read all of it; raises WorkflowNotFound."""
        for place in self.watched:
            leaves = [placed.leaf for placed in self._leaves if placed.workflow_id == place]
            keys = [leaf.key for leaf in leaves if not isinstance(leaf, AtLeast)]
            entries = yield from self._load(place, keys)
            depended_on = {name for key in keys if key in entries for name in entries[key].dependencies}
            if depended_on and any(isinstance(leaf, Stale) for leaf in leaves):
                yield from self._load(place, depended_on - entries.keys())
        for placed in self._leaves:
            if isinstance(placed.leaf, AtLeast):
                self._counts[placed] = yield from self._count(placed.workflow_id, placed.leaf)

    def false_leaves(self) -> tuple[Placed, ...]:
        """Return what keeps the condition from being true, nothing if it is."""
        if truth(self._condition, self._holds):
            return ()
        return tuple(placed for placed in self._leaves if not self._holds(placed))

    def _load(self, place: str, keys: Iterable[str]) -> Flow[dict[str, ContextEntry]]:
        workflow_id = place or self._home
        places = {key: places_of(place, self._agent, key) for key in keys}
        wanted = dict.fromkeys(encoded for addresses in places.values() for encoded in addresses)
        self.watched[place].update(wanted)
        head, records = yield from do(Load(workflow_id, tuple(wanted)))
        if head is None and workflow_id != GLOBAL_WORKFLOW:
            raise unknown_workflow(workflow_id)
        entries = self._entries.setdefault(place, {})
        for key, addresses in places.items():
            for encoded, address in addresses.items():
                entry = shown(self._agent, address, records.get(encoded), reveal=not self._agent.is_operator)
                if entry is not None:
                    entries[key] = entry
                    break
        return entries

    def _count(self, place: str, leaf: AtLeast) -> Flow[int]:
        keys: set[str] = set()
        cursor: str | None = None
        scope = ContextScope.GLOBAL if place == GLOBAL_WORKFLOW else None
        while len(keys) < leaf.number:
            page = yield from list_entries(place or self._home, self._agent, leaf.prefix, scope, MAX_PAGE, cursor)
            keys.update(entry.key for entry in page.items if leaf.matches(entry.key) and _is_at(place, entry))
            cursor = page.next_cursor
            if cursor is None:
                break
        return len(keys)

    def _holds(self, placed: Placed) -> bool:
        leaf = placed.leaf
        if isinstance(leaf, AtLeast):
            return self._counts.get(placed, 0) >= leaf.number
        entries = self._entries.get(placed.workflow_id, {})  # nothing of one that was removed
        entry = entries.get(leaf.key)
        if entry is None or isinstance(leaf, Exists):
            return entry is not None
        if isinstance(leaf, Compared):
            concealed = entry.sensitive and entry.disclosure == "concealed"
            return not concealed and leaf.holds(entry.value)
        return leaf.key in stale(entries)


def _is_at(place: str, entry: ContextEntry) -> bool:
    """Whether it stands in the workflow: what an agent lists there has the global context in it."""
    return (entry.scope is ContextScope.GLOBAL) is (place == GLOBAL_WORKFLOW)


def lacking(workflow_id: str, agent: Agent, condition: Condition) -> Flow[tuple[str, ...]]:
    """Return what keeps a condition from being true, nothing if it is; raises WorkflowNotFound."""
    look = Look(condition, agent, workflow_id)
    yield from look.look()
    return tuple(dict.fromkeys(map(str, look.false_leaves())))


def judge(terms: Terms, workflow_id: str, name: str) -> Flow[int]:
    """Look at what a run waits for that was told of a write here; return how many were released.

    ``name`` is its own, or that of a run of another workflow.
    """
    of_another = watching_run(name)
    if of_another is None:
        return (yield from _judge(terms, workflow_id, name)) or 0
    fired: int | None = yield from _judge(terms, *of_another)
    if fired is None:
        yield from do(ForgetAfar(workflow_id, name))
    return fired or 0


def _judge(terms: Terms, workflow_id: str, run_id: str) -> Flow[int | None]:
    """Return how many were released, None if the run does not wait."""
    watching = yield from do(Rewatch(workflow_id, run_id, (), terms.lease_us))
    for _ in range(LOOKS):
        if watching.answer == "gone":
            return None
        if watching.answer == "closed":  # its end tells the runs, and calls the triggers off
            return 0
        judged = _decode(watching.judge)
        look = Look(judged.condition, judged.agent, workflow_id)
        afar = yield from _watch_afar(terms, look.watched, workflow_id, run_id)
        try:
            yield from look.look()
            holds = not look.false_leaves()
        except WorkflowNotFound:  # another one, that was removed: what it waits for there does not come
            holds = False
        if holds:
            yield from forget_afar(afar, workflow_id, run_id)
            return (yield from fire(terms, workflow_id, run_id))
        if look.watched[""].keys() == set(watching.addresses) and (
            yield from _rest(afar, workflow_id, run_id, watching.turn)
        ):
            return 0
        watching = yield from do(Rewatch(workflow_id, run_id, tuple(look.watched[""]), terms.lease_us))
    return 0


Afar = dict[str, tuple[str, ...]]
"""Other workflow -> what a run waits for there."""


def _watch_afar(terms: Terms, watched: dict[str, dict[str, None]], workflow_id: str, run_id: str) -> Flow[Afar]:
    there: Afar = {}
    for place, addresses in watched.items():
        if place:
            name = watcher(workflow_id, run_id)
            if place == GLOBAL_WORKFLOW:  # it is there once it is needed
                yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", terms.idle_us))
            if (yield from do(WatchAfar(place, name, tuple(addresses), AGAIN_US))):
                there[place] = tuple(addresses)
            else:
                yield from do(ForgetAfar(place, name))  # nothing of it is due any more
    return there


def _rest(afar: Afar, workflow_id: str, run_id: str, turn: int) -> Flow[bool]:
    for place, addresses in afar.items():
        if not (yield from do(RestAfar(place, watcher(workflow_id, run_id), addresses, AGAIN_US))):
            return False
    return (yield from do(Rest(workflow_id, run_id, turn)))


def forget_afar(afar: Afar, workflow_id: str, run_id: str) -> Flow[None]:
    """Let other workflows tell a run of nothing any more."""
    for place in afar:
        yield from do(ForgetAfar(place, watcher(workflow_id, run_id)))


def afar_of(condition: Condition, agent: Agent) -> Afar:
    """Return what a condition waits for in other workflows."""
    return {place: addresses for place, addresses in watched(condition, agent).items() if place}


def fire(terms: Terms, workflow_id: str, run_id: str) -> Flow[int]:
    """Release a parked run; return how many were: none if somebody else has."""
    fired = yield from do(Fire(workflow_id, run_id, terms.app, terms.lease_us))
    yield from publish(terms, workflow_id, fired.outgoing)
    return int(fired.fired)
