"""Subscriptions: a signature is sent whenever others have changed what an agent wants to know of.

One is told of writes as a judged run is, and then reads in the log what has changed since it looked last. How far it
has read, what it has not told of yet and the numbers that it compares with are its notes, written down with the firing:
so a look that is repeated finds nothing new. One protocol from its registration to its end, read best in one piece.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ctxqueue.clock import MICROSECONDS
from ctxqueue.effects import (
    LASTING,
    Load,
    LoadLog,
    Outgoing,
    Publish,
    RestAfar,
    do,
    work,
)
from ctxqueue.envelopes import opened
from ctxqueue.errors import CapacityError, WorkflowNotFound
from ctxqueue.flows import recurring, viewing
from ctxqueue.flows.looking import AGAIN_US, Look, forget_afar, is_at, watch_afar
from ctxqueue.flows.reading import list_entries, may_be_told, shown
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Address, Agent, ContextScope, is_reserved
from ctxqueue.rules.access import may_read
from ctxqueue.rules.changes import (
    MAX_LEAVES,
    Changed,
    Named,
    Resolved,
    When,
    leaves_of_value,
    matches,
    place_of,
    prefix_of,
)
from ctxqueue.rules.dependencies import OF_PREFIX, places_of, watcher
from ctxqueue.rules.graph import is_resolved
from ctxqueue.settings import MAX_PAGE, MAX_TRIGGER_DEPTH

if TYPE_CHECKING:
    from ctxqueue.effects import Flow, Head, Logged, LogRecord, Watched
    from ctxqueue.flows.terms import Canvases, Terms
    from ctxqueue.models import ContextEntry

logger = logging.getLogger(__name__)

FAMILY = f"{LASTING}s"
"""Of subscriptions, before what stands for the agent."""
LOG_PAGE = 1_000
LONGEST_DEBOUNCE = 10
"""How often its time a subscription waits for quiet at most."""
LONGEST_TIMER_US = 60 * MICROSECONDS
"""For longer no message waits in a worker: the sweep looks."""
SHORTEST_TIMER = 0.01
NAMED_KEYS = 200
"""In a cause, of those changed last."""


class Spec(msgspec.Struct, frozen=True, array_like=True):
    """What an agent wants to know of. New fields go to the end, with a default."""

    patterns: tuple[str, ...]
    when: When | None
    debounce_us: int
    agent_id: str
    agent_type: str
    agent_role: str | None
    groups: tuple[str, ...]
    own: bool = False
    """Whether its own changes count too."""

    @property
    def agent(self) -> Agent:
        """Who wants to know."""
        if self.agent_id == OPERATOR.agent_id:
            return OPERATOR
        return Agent(self.agent_id, self.agent_type, self.agent_role, self.groups)

    def watched(self) -> dict[str, dict[str, None]]:
        """Return the addresses that it is to be told of, by workflow ('': its own)."""
        found: dict[str, dict[str, None]] = {"": {}}
        for pattern in self.patterns:
            place, prefix = place_of(pattern), prefix_of(pattern)
            names = places_of(place, self.agent, pattern) if prefix is None else [OF_PREFIX + prefix]
            found.setdefault(place, {}).update(dict.fromkeys(names))
        return found


class Pending(msgspec.Struct, array_like=True):
    """Changes that it was not told of yet."""

    keys: list[str]
    revision: int
    agent_id: str
    first_us: int
    last_us: int
    depth: int


class Notes(msgspec.Struct, array_like=True):
    """What one look leaves to the next. New fields go to the end, with a default."""

    read: dict[str, tuple[str, int, bytes]]
    """Up to where the log was read, by workflow: incarnation, revision, and which commit that was."""
    leaves: dict[str, str | None]
    pending: Pending | None = None
    timer_us: int = 0
    """When a message brings somebody to look."""


_encode = msgspec.msgpack.Encoder().encode
_spec = msgspec.msgpack.Decoder(Spec).decode
_notes = msgspec.msgpack.Decoder(Notes).decode


def spec_of(kept: bytes) -> Spec:
    """Return what stands with a subscription as what judges it."""
    return _spec(opened(kept))


def judge(terms: Terms, workflow_id: str, subscription_id: str, *, by_timer: bool = False) -> Flow[int | None]:
    """Look what has changed, and send what is due; return how often it has fired, None if it is not there."""
    watched = yield from recurring.watching(terms, workflow_id, subscription_id)
    if watched.answer == "gone":
        return None
    canvases = terms.canvases
    if watched.answer != "watched" or canvases is None:
        return 0
    spec = spec_of(watched.judge)
    if isinstance(spec.when, Resolved):
        watched = yield from _watching_all(terms, workflow_id, subscription_id, spec, spec.when, watched)
        if watched.answer != "watched":
            return 0
    looking = _Looking(terms, workflow_id, subscription_id, spec, watched)
    yield from looking.read()
    try:
        return (yield from looking.conclude(canvases, by_timer=by_timer))
    except CapacityError as error:
        reason = str(error)
    except _PredicateError as error:
        reason = error.reason
    logger.warning("subscription %s in workflow %r is set aside: %s", subscription_id, workflow_id, reason)
    yield from _set_aside(workflow_id, subscription_id, spec, reason)
    return 0


def _watching_all(
    terms: Terms, workflow_id: str, subscription_id: str, spec: Spec, when: Resolved, watched: Watched
) -> Flow[Watched]:
    """Begin the look anew until it is told of all that the entry depends on."""
    for _ in range(recurring.LOOKS):
        addresses = yield from _depended_on(terms, workflow_id, spec, when)
        if watched.answer != "watched" or set(addresses) == set(watched.addresses):
            break
        watched = yield from recurring.watching(terms, workflow_id, subscription_id, addresses)
    return watched


def _depended_on(terms: Terms, workflow_id: str, spec: Spec, when: Resolved) -> Flow[tuple[str, ...]]:
    """Return what an entry depends on now, with the entry: all of it has to be there."""
    seen = (yield from viewing.look(terms, workflow_id, spec.agent)).readable()
    entry = seen.get(when.entry_key)
    names = [when.entry_key, *(entry.dependencies if entry is not None else ())]
    more = [places_of("", spec.agent, name) for name in names]
    return tuple(dict.fromkeys([*spec.watched()[""], *(address for addresses in more for address in addresses)]))


def resolved_at(terms: Terms, workflow_id: str, agent: Agent, when: Resolved) -> Flow[int | None]:
    """Return the revision at which a key was seen with all else that an entry depends on; None: something lacks."""
    view = yield from viewing.look(terms, workflow_id, agent)
    seen = view.readable()
    if when.dependency_key not in seen or not is_resolved(seen, when.entry_key):
        return None
    return view.global_revision if place_of(when.dependency_key) else view.revision


def _set_aside(workflow_id: str, subscription_id: str, spec: Spec, reason: str) -> Flow[None]:
    yield from recurring.set_aside(workflow_id, subscription_id, reason)
    afar = {place: tuple(addresses) for place, addresses in elsewhere(spec.watched()).items()}
    yield from forget_afar(afar, workflow_id, subscription_id)


class _PredicateError(Exception):
    """A function of the user's raised something."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Looking:
    """One look at one subscription."""

    def __init__(self, terms: Terms, workflow_id: str, subscription_id: str, spec: Spec, watched: Watched) -> None:
        self._terms = terms
        self._workflow_id = workflow_id
        self._id = subscription_id
        self._spec = spec
        self._watched = watched
        self._notes = _notes(opened(watched.notes))
        self._now_us = 0

    def read(self) -> Flow[None]:
        """Note what others have changed since the last look."""
        watched = self._spec.watched()
        afar = elsewhere(watched)
        yield from watch_afar(self._terms, afar, self._workflow_id, self._id)
        for place in watched:
            yield from self._read(place)
        name = watcher(self._workflow_id, self._id)
        for place, addresses in afar.items():  # what was written there meanwhile stays due there
            yield from do(RestAfar(place, name, tuple(addresses), AGAIN_US))

    def _read(self, place: str) -> Flow[None]:
        incarnation, revision, commit = self._notes.read.get(place, ("", 0, b""))
        begin = revision  # that one again, to see that it is still the one that was read
        while True:
            head, oldest, records = yield from do(LoadLog(place or self._workflow_id, begin, LOG_PAGE))
            if head is None:
                return
            if not place:
                self._now_us = head.now_us
            if head.incarnation != incarnation:  # the global context was not there yet
                incarnation, revision, begin = head.incarnation, 0, 0
                continue
            if _is_another(head, records, revision, commit):  # the server has lost commits, who knows which
                yield from self._standing(place, 0)
                records = []
            elif oldest > revision + 1 and revision < head.revision:
                yield from self._standing(place, revision)
            for record in records:
                for change in record.changes if record.revision > revision else ():
                    self._note(place, record, change)
            newest = records[-1] if records else head
            revision, commit, begin = newest.revision, newest.commit_id, newest.revision + 1
            self._notes.read[place] = incarnation, revision, commit
            if revision >= head.revision:
                return

    def _note(self, place: str, record: LogRecord, change: Logged) -> None:
        address = Address.decode(change.address, of_global=place == GLOBAL_WORKFLOW)
        author = "" if change.kind in ("expired", "evicted") else change.agent_id or record.agent_id
        patterns = [pattern for pattern in self._spec.patterns if place_of(pattern) == place]
        if (
            (self._spec.own or author != self._spec.agent_id)
            and not is_reserved(address.key)
            and matches(patterns, address.key)
            and may_read(self._terms.policy, self._spec.agent, address, sensitive=change.sensitive)
        ):
            self._add(address.key, record.revision, author, record.at_us)

    def _standing(self, place: str, revision: int) -> Flow[None]:
        """Note what was written since, where the log does not reach back: what has gone is not seen any more."""
        for entry in (yield from matching(self._terms, self._workflow_id, self._spec, place)):
            if entry.revision > revision and (self._spec.own or entry.agent_id != self._spec.agent_id):
                self._add(entry.key, entry.revision, entry.agent_id, self._now_us)

    def _add(self, key: str, revision: int, author: str, at_us: int) -> None:
        add(self._notes, key, revision, author, at_us, recurring.depth_here(self._terms))

    def conclude(self, canvases: Canvases, *, by_timer: bool) -> Flow[int]:
        """Fire, or put it off until it has been quiet, or leave it to rest; write that down."""
        notes, pending = self._notes, self._notes.pending
        if pending is None:
            return (yield from self._recur(None, None))
        quiet_us = self._spec.debounce_us
        due_us = min(pending.last_us + quiet_us, pending.first_us + LONGEST_DEBOUNCE * quiet_us)
        if due_us > self._now_us:
            return (yield from self._put_off(canvases, due_us, by_timer=by_timer))
        # What was noted a while ago may be nothing that it may be told of any more.
        keys = sorted(key for key in pending.keys if may_be_told(self._terms.policy, self._spec.agent, key))
        if not keys:
            notes.pending = None
            return (yield from self._recur(None, None))
        cause = {
            "subscription": self._id,
            "workflow": self._workflow_id,
            "revision": pending.revision,
            "agent": pending.agent_id,
            "keys": keys,
        }
        wanted = yield from self._is_wanted(cause)
        if wanted or not isinstance(self._spec.when, Resolved):  # else it is told once the rest is there
            notes.pending = None
        notes.timer_us = 0
        if not wanted:
            return (yield from self._recur(None, None))
        if pending.depth > MAX_TRIGGER_DEPTH:
            yield from _set_aside(self._workflow_id, self._id, self._spec, recurring.LOOP)
            return 0
        notice = _encode((self._now_us, self._id, cause["keys"], pending.revision, pending.agent_id))
        firing = recurring.fired(
            *(self._terms, canvases, self._workflow_id, self._id, self._watched.number + 1, cause, pending.depth),
            agent_id=self._spec.agent_id,
            notice=notice,
        )
        return (yield from self._recur(None, firing))

    def _put_off(self, canvases: Canvases, due_us: int, *, by_timer: bool) -> Flow[int]:
        left_us = due_us - self._now_us
        timer = None
        if left_us <= LONGEST_TIMER_US and (by_timer or self._notes.timer_us <= self._now_us):
            timer = canvases.look_later(self._workflow_id, self._id, max(left_us / MICROSECONDS, SHORTEST_TIMER))
            self._notes.timer_us = due_us if timer is not None else 0
        yield from self._recur(due_us, None)
        if timer is not None:  # one that gets lost is made up for by the sweep
            yield from do(Publish((Outgoing(self._id, timer),)))
        return 0

    def _recur(self, due_us: int | None, firing: Any) -> Flow[int]:
        notes = _encode(self._notes)
        return recurring.recur(self._terms, self._workflow_id, self._id, self._watched.turn, notes, due_us, firing)

    def _is_wanted(self, cause: dict[str, Any]) -> Flow[bool]:
        """Whether what it asks for besides holds; raises _PredicateError, CapacityError."""
        when, agent = self._spec.when, self._spec.agent
        if when is None:
            return True
        if isinstance(when, Changed):
            now = yield from leaves(self._terms, self._workflow_id, self._spec)
            wanted = when.holds(self._notes.leaves, now)
            if wanted:
                self._notes.leaves = now
            return wanted
        if isinstance(when, Named):
            view = yield from viewing.look(self._terms, self._workflow_id, agent)
            return (yield from do(work(partial(_asked, when, cause, view))))
        if isinstance(when, Resolved):
            return (yield from resolved_at(self._terms, self._workflow_id, agent, when)) is not None
        look = Look(self._terms, when, agent, self._workflow_id)
        try:
            yield from look.look()
        except WorkflowNotFound:  # another one, that was removed
            return False
        return not look.false_leaves()


def _is_another(head: Head, records: list[LogRecord], revision: int, commit: bytes) -> bool:
    """Whether a history is not the one of which a commit was read."""
    read = next((record for record in records if record.revision == revision), None)
    return head.revision < revision or (read is not None and read.commit_id != commit)


def add(notes: Notes, key: str, revision: int, author: str, at_us: int, depth: int) -> None:
    """Note one change that is to be told of."""
    pending = notes.pending or Pending([], 0, "", at_us, at_us, depth)
    if key in pending.keys:
        pending.keys.remove(key)
    pending.keys = [*pending.keys, key][-NAMED_KEYS:]
    pending.revision, pending.agent_id, pending.last_us = revision, author, max(at_us, pending.last_us)
    pending.depth = min(depth, pending.depth)
    notes.pending = pending


def _asked(predicate: Named, cause: dict[str, Any], view: Any) -> bool:
    try:
        return bool(predicate.function()(cause, view))
    except Exception as error:  # the user's function may raise anything: the others go on
        name = f"{predicate.module}.{predicate.name}"
        logger.exception("%s, by which a subscription chooses, has failed", name)
        raise _PredicateError(f"{type(error).__name__} in {name}") from error


def elsewhere(watched: dict[str, dict[str, None]]) -> dict[str, dict[str, None]]:
    """Return what it is to be told of in other workflows."""
    return {place: addresses for place, addresses in watched.items() if place}


def matching(terms: Terms, workflow_id: str, spec: Spec, place: str) -> Flow[list[ContextEntry]]:
    """Return what stands in a workflow that the subscription is about, as its agent finds it."""
    agent = spec.agent
    found: dict[str, ContextEntry] = {}
    for pattern in spec.patterns:
        if place_of(pattern) != place:
            continue
        prefix = prefix_of(pattern)
        if prefix is None:
            names = places_of(place, agent, pattern)
            _, records = yield from do(Load(place or workflow_id, tuple(names)))
            entries = [shown(terms.policy, agent, address, records.get(encoded)) for encoded, address in names.items()]
            found.update((entry.key, entry) for entry in [each for each in entries if each is not None][:1])
            continue
        cursor: str | None = ""
        scope = ContextScope.GLOBAL if place else None
        while cursor is not None:
            page = yield from list_entries(terms, place or workflow_id, agent, prefix, scope, MAX_PAGE, cursor or None)
            for entry in page.items:
                if matches((pattern,), entry.key) and is_at(place, entry):
                    found.setdefault(entry.key, entry)
            cursor = page.next_cursor
    return list(found.values())


def leaves(terms: Terms, workflow_id: str, spec: Spec) -> Flow[dict[str, str | None]]:
    """Return what `changed_by` compares; raises CapacityError."""
    found: dict[str, str | None] = {}
    for place in spec.watched():
        for entry in (yield from matching(terms, workflow_id, spec, place)):
            # Of what is sensitive nothing is written down: it has changed whenever it was written.
            hidden = {f"{entry.key}\0{entry.version}\0{entry.timestamp}": None}
            found.update(hidden if entry.sensitive else leaves_of_value(entry.key, entry.value))
            if len(found) > MAX_LEAVES:
                raise CapacityError(f"what is compared has more than {MAX_LEAVES} leaves: subscribe to less of it")
    return found
