"""What an agent sees of what a condition is about, wherever that is, and being told of it."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import ForgetAfar, Open, WatchAfar, do
from ctxqueue.envelopes import opened
from ctxqueue.errors import CapacityError, DecryptionError
from ctxqueue.flows.loading import load
from ctxqueue.flows.reading import list_entries, shown
from ctxqueue.flows.refusals import unknown_workflow
from ctxqueue.identity import new_run_id
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Agent, ContextScope
from ctxqueue.rules.conditions import AtLeast, Compared, Condition, Exists, Placed, Stale, leaves_of, truth
from ctxqueue.rules.dependencies import places_of, watched, watcher
from ctxqueue.rules.graph import stale
from ctxqueue.settings import MAX_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.effects import Flow
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import ContextEntry

logger = logging.getLogger(__name__)

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
    return _decode(opened(kept))


def too_many_patterns(workflow_id: str) -> CapacityError:
    """Return the error for one pattern more than each commit can look at."""
    return CapacityError(
        f"workflow {workflow_id!r} is waited on by as many different patterns as are allowed: use some of them again"
    )


class Look:
    """What an agent sees of what a condition is about, workflow by workflow."""

    def __init__(self, terms: Terms, condition: Condition, agent: Agent, home: str, *, whole: bool = False) -> None:
        """``whole``: all that matches a pattern is to be seen, not only whether it is enough."""
        self._terms = terms
        self._whole = whole
        self._condition = condition
        self._agent = agent
        self._home = home
        self._leaves = list(leaves_of(condition))
        self._entries: dict[str, dict[str, ContextEntry]] = {}
        self._matches: dict[Placed, dict[str, ContextEntry]] = {}
        self.watched = {place: dict.fromkeys(addresses) for place, addresses in watched(condition, agent).items()}
        """What it may come true by, by workflow ('': its own)."""

    @property
    def entries(self) -> list[ContextEntry]:
        """What the agent sees of it."""
        seen = [*self._entries.values(), *(self._matches.values() if self._whole else ())]
        return list({id(entry): entry for entries in seen for entry in entries.values()}.values())

    def fingerprint(self) -> bytes:
        """Return what tells what was seen from what is seen once any of it has been written, or has gone."""
        seen = sorted(
            f"{entry.scope.value}\0{entry.owner}\0{entry.key}\0{entry.version}\0{entry.revision}\0{entry.timestamp}"
            for entry in self.entries
        )
        # As text, which is never taken for the envelope of encrypted bytes.
        return hashlib.blake2b("\n".join(seen).encode(), digest_size=16).hexdigest().encode()

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
                self._matches[placed] = yield from self._matching(placed.workflow_id, placed.leaf)

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
        head, records = yield from load(workflow_id, wanted)
        if head is None and workflow_id != GLOBAL_WORKFLOW:
            raise unknown_workflow(workflow_id)
        entries = self._entries.setdefault(place, {})
        for key, addresses in places.items():
            for encoded, address in addresses.items():
                entry = shown(
                    self._terms.policy, self._agent, address, records.get(encoded), reveal=not self._agent.is_operator
                )
                if entry is not None:
                    entries[key] = entry
                    break
        return entries

    def _matching(self, place: str, leaf: AtLeast) -> Flow[dict[str, ContextEntry]]:
        found: dict[str, ContextEntry] = {}
        cursor: str | None = None
        scope = ContextScope.GLOBAL if place == GLOBAL_WORKFLOW else None
        while self._whole or len(found) < leaf.number:
            page = yield from list_entries(
                self._terms, place or self._home, self._agent, leaf.prefix, scope, MAX_PAGE, cursor
            )
            for entry in page.items:
                if leaf.matches(entry.key) and is_at(place, entry):
                    found.setdefault(entry.key, entry)
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def _holds(self, placed: Placed) -> bool:
        leaf = placed.leaf
        if isinstance(leaf, AtLeast):
            return len(self._matches.get(placed, ())) >= leaf.number
        entries = self._entries.get(placed.workflow_id, {})  # nothing of one that was removed
        entry = entries.get(leaf.key)
        if entry is None or isinstance(leaf, Exists):
            return entry is not None
        if isinstance(leaf, Compared):
            concealed = entry.sensitive and entry.disclosure == "concealed"
            return not concealed and _holds_for(leaf, entry)
        return leaf.key in stale(entries)


def _holds_for(leaf: Compared, entry: ContextEntry) -> bool:
    try:
        return leaf.holds(entry.value)
    except DecryptionError as error:  # what cannot be read is not what it waits for
        logger.error("a condition on %r is not met: %s", entry.key, error)  # noqa: TRY400
        return False


def is_at(place: str, entry: ContextEntry) -> bool:
    """Whether it stands in the workflow: what an agent lists there has the global context in it."""
    return (entry.scope is ContextScope.GLOBAL) is (place == GLOBAL_WORKFLOW)


def lacking(terms: Terms, workflow_id: str, agent: Agent, condition: Condition) -> Flow[tuple[str, ...]]:
    """Return what keeps a condition from being true, nothing if it is; raises WorkflowNotFound."""
    look = Look(terms, condition, agent, workflow_id)
    yield from look.look()
    return tuple(dict.fromkeys(map(str, look.false_leaves())))


Afar = dict[str, tuple[str, ...]]
"""Other workflow -> what a run waits for there."""


def watch_afar(
    terms: Terms, watched: dict[str, dict[str, None]], workflow_id: str, run_id: str, *, first: bool = False
) -> Flow[Afar]:
    """Let other workflows tell a run of what is written there; return what is watched in those that are there."""
    there: Afar = {}
    for place, addresses in watched.items():
        if place:
            name = watcher(workflow_id, run_id)
            if place == GLOBAL_WORKFLOW:  # it is there once it is needed
                yield from do(Open(GLOBAL_WORKFLOW, new_run_id(), b"", terms.idle_us))
            answer = yield from do(WatchAfar(place, name, tuple(addresses), AGAIN_US, first=first))
            if answer == "patterns":
                yield from forget_afar(there, workflow_id, run_id)
                raise too_many_patterns(place)
            if answer == "watched":
                there[place] = tuple(addresses)
            else:
                yield from do(ForgetAfar(place, name))  # nothing of it is due any more
    return there


def begin_afar(terms: Terms, workflow_id: str, agent: Agent, condition: Condition, run_id: str) -> Flow[Afar]:
    """Watch what a run is about to wait for in other workflows; raises CapacityError for too many patterns there."""
    there = {place: dict.fromkeys(addresses) for place, addresses in afar_of(condition, agent).items()}
    return (yield from watch_afar(terms, there, workflow_id, run_id, first=True))


def forget_afar(afar: Afar, workflow_id: str, run_id: str) -> Flow[None]:
    """Let other workflows tell a run of nothing any more."""
    for place in afar:
        yield from do(ForgetAfar(place, watcher(workflow_id, run_id)))


def afar_of(condition: Condition, agent: Agent) -> Afar:
    """Return what a condition waits for in other workflows."""
    return {place: addresses for place, addresses in watched(condition, agent).items() if place}
