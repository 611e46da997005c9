"""Random policies, agents and entries; the oracle that says who may read what; and the worlds that are made of them."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hypothesis import strategies as st

from ctxqueue.aio import AsyncSharedContextManager
from ctxqueue.context import SharedContextManager
from ctxqueue.drivers import AsyncDriver, Driver
from ctxqueue.errors import AccessDenied, CtxqueueError
from ctxqueue.models import OPERATOR, Agent, ContextEntry, Secret
from ctxqueue.testing.contract.triggers import PlainCanvases

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.effects import Outgoing

WORKFLOW = "w"
KEYS = ("zorblax", "quemby_one", "quemby_two", "quemby_api_key", "private_wuxle", "global_fendo")
"""No one of them, nor a value, stands in any other text."""
SENSITIVE_NAMES = ("quemby_api_key",)
PATTERNS = ("*", "quemby_*", "zorblax", "*_wuxle", "Global_*", "quemby_api_key", "quemby_o[mn]e")
TOKEN = "ghp_" + "a1" * 18

AGENTS = (
    Agent("ann_1", groups=("g",)),
    Agent("bob_2", agent_role="intern", groups=("g", "h")),
    Agent("cyd_3", agent_role="lead"),
    Agent("web_extractor_4"),
)


class Place(NamedTuple):
    """Where an entry stands."""

    scope: str
    owner: str
    key: str


@dataclass(frozen=True)
class Event:
    """One write, or one deletion, by an agent."""

    number: int
    author: Agent
    place: Place
    given: bool | None
    """Whether the writer says that it is sensitive."""
    token: bool
    depends_on: tuple[str, ...]
    deletes: bool

    @property
    def value(self) -> str:
        return f"value-{self.number:03}-of-it{' ' + TOKEN if self.token else ''}"

    @property
    def sensitive(self) -> bool:
        """As the writer, the name or the value says."""
        return self.given if self.given is not None else self.place.key in SENSITIVE_NAMES or self.token


Policy = dict[str, Any]


# --- the oracle ------------------------------------------------------------------------------------------------------


def may_read(policy: Policy, agent: Agent, place: Place, *, sensitive: bool) -> bool:
    """Whether an agent may know of an entry: the whole of what the one visibility rule says."""
    if {"private": place.owner != agent.agent_id, "agent_group": place.owner not in agent.groups}.get(place.scope):
        return False
    return is_allowed(policy, agent, place, sensitive=sensitive)


def is_allowed(policy: Policy, agent: Agent, place: Place, *, sensitive: bool) -> bool:
    """Whether the policy lets an agent read what stands where it may look."""
    about = [rule for rule in policy["rule"] if is_about(rule, agent) and covers(rule, place)]
    sensitive = sensitive or any(covers(mark, place) for mark in policy["sensitive"])
    if any("read" in rule["deny"] for rule in about):
        return False
    if any("read" in rule["allow"] and (rule["sensitive"] or not sensitive) for rule in about):
        return True
    return "read" in policy["default"] and not sensitive


def is_about(rule: Mapping[str, Any], agent: Agent) -> bool:
    whose: dict[str, Any] = {"agent_type": [agent.agent_type], "agent_role": [agent.agent_role], "group": agent.groups}
    return all(any(name == rule[each] for name in names) for each, names in whose.items() if each in rule)


def covers(rule: Mapping[str, Any], place: Place) -> bool:
    keys = rule.get("key", ["*"])
    return place.scope in rule.get("scope", [place.scope]) and any(fnmatchcase(place.key, key.lower()) for key in keys)


def may_name(policy: Policy, agent: Agent, key: str) -> bool:
    """Whether a key may be spoken of to an agent, whether anything stands there or not."""
    scopes = [("private", agent.agent_id), *(("agent_group", group) for group in agent.groups)]
    places = [Place(scope, owner, key) for scope, owner in [*scopes, ("workflow", ""), ("global", "")]]
    return any(may_read(policy, agent, place, sensitive=key in SENSITIVE_NAMES) for place in places)


# --- what is drawn ---------------------------------------------------------------------------------------------------

actions = st.sampled_from([["read"], []])


def lists_of(*names: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)


rules = st.builds(
    lambda who, where, allow, deny, sensitive: {
        **{name: each for name, each in {**who, **where}.items() if each is not None},
        "allow": allow if deny == [] else [],
        "deny": deny,
        "sensitive": sensitive,
    },
    st.fixed_dictionaries(
        {
            "agent_type": st.sampled_from([None, None, "ann", "bob", "cyd", "web_extractor"]),
            "agent_role": st.sampled_from([None, None, None, "intern", "lead"]),
            "group": st.sampled_from([None, None, None, "g", "h"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "key": st.none() | lists_of(*PATTERNS),
            "scope": st.none() | lists_of("private", "agent_group", "workflow", "global"),
        }
    ),
    st.just(["read"]),
    actions,
    st.booleans(),
)
marks = st.builds(lambda key: {"key": [key]}, st.sampled_from(PATTERNS[1:]))
policies = st.fixed_dictionaries(
    {
        "default": st.sampled_from([["read", "write", "delete"]] * 3 + [["write", "delete"]]),
        "rule": st.lists(rules, max_size=4),
        "sensitive": st.lists(marks, max_size=1),
    }
)
agents = st.sampled_from(AGENTS)


def placed(author: Agent, key: str, scope: str) -> Place:
    """Return where an agent writes a key, if a scope is wished for that it has."""
    if key.startswith("global_") or scope == "global":
        return Place("global", "", key)
    if key.startswith("private_") or scope == "private":
        return Place("private", author.agent_id, key)
    if scope == "agent_group" and author.groups:
        return Place("agent_group", author.groups[-1], key)
    return Place("workflow", "", key)


events = st.lists(
    st.builds(
        lambda author, key, scope, given, token, needs, deletes: Event(
            0,
            author,
            placed(author, key, scope),
            given,
            token,
            tuple(each for each in needs if KEYS.index(each) > KEYS.index(key)),
            deletes,
        ),
        agents,
        st.sampled_from(KEYS),
        st.sampled_from(["workflow", "workflow", "private", "agent_group", "global"]),
        st.sampled_from([None, None, True, False]),
        st.sampled_from([False, False, False, True]),
        st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
        st.sampled_from([False, False, False, False, True]),
    ),
    min_size=1,
    max_size=9,
).map(lambda drawn: [replace(event, number=number) for number, event in enumerate(drawn)])


# --- worlds ----------------------------------------------------------------------------------------------------------


def hidden_places(policy: Policy, agent: Agent, happened: list[Event]) -> set[Place]:
    """Return where nothing ever stood that the agent may know of."""
    return {event.place for event in happened} - {
        event.place
        for event in happened
        if not event.deletes and may_read(policy, agent, event.place, sensitive=event.sensitive)
    }


@dataclass
class World:
    """A workflow in which some things have happened, and an agent who looks at it."""

    policy: Policy
    agent: Agent
    manager: SharedContextManager
    awaited: AsyncSharedContextManager | None
    loop: asyncio.Runner | None
    published: list[bytes] = field(default_factory=list)
    canvases: PlainCanvases = field(default_factory=PlainCanvases)
    revisions: dict[int, int] = field(default_factory=dict)
    """By event, for those in the workflow: the revision after it."""
    armed: dict[str, str] = field(default_factory=dict)
    """By id: what a trigger, a subscription or a parked run waits for."""

    @classmethod
    def of(cls, url: str, policy: Policy, agent: Agent, loop: asyncio.Runner | None = None) -> World:
        """Make an empty one; with a loop it is looked at by the async face."""
        options = {"namespace": f"n{uuid.uuid4().hex[:20]}", "policy": policy}
        awaited = AsyncSharedContextManager(url, options) if loop is not None else None
        _taking_in.set(loop)
        world = cls(policy, agent, SharedContextManager(url, options), awaited, loop)
        world.manager.terms = replace(world.manager.terms, app="app", canvases=world.canvases)
        world.manager.driver = Driver(world.manager.store, world.publish)
        if awaited is not None:
            awaited.terms = replace(awaited.terms, app="app", canvases=world.canvases)
            awaited.driver = AsyncDriver(awaited.store, world.publish)
        world.manager.workflow(WORKFLOW).open({"about": "nothing"})
        return world

    def publish(self, items: tuple[Outgoing, ...]) -> tuple[str, ...]:
        self.published += [item.message for item in items]
        return tuple(item.item_id for item in items)

    def handle_of(self, agent: Agent) -> WorkflowHandle:
        if agent.is_operator:
            return self.manager.workflow(WORKFLOW)
        named: Any = {"agent_id": agent.agent_id, "agent_role": agent.agent_role, "groups": agent.groups}
        return self.manager.workflow(WORKFLOW, **named)

    @property
    def handle(self) -> WorkflowHandle:
        """The agent's, blocking: what it awaits is awaited."""
        if self.awaited is None or self.loop is None:
            return self.handle_of(self.agent)
        agent = self.agent
        named: dict[str, Any] = {}
        if not agent.is_operator:
            named = {"agent_id": agent.agent_id, "agent_role": agent.agent_role, "groups": agent.groups}
        return cast("WorkflowHandle", Awaited(self.awaited.workflow(WORKFLOW, **named), self.loop))

    @property
    def face(self) -> Any:
        """The manager, blocking: what it awaits is awaited."""
        return self.manager if self.awaited is None or self.loop is None else Awaited(self.awaited, self.loop)

    def happen(self, happened: list[Event]) -> None:
        for event in happened:
            handle, place = self.handle_of(event.author), event.place
            where: dict[str, Any] = {"scope": place.scope}
            if place.scope == "agent_group":
                where["group"] = place.owner
            if event.deletes:
                handle.delete(place.key, **where)
            else:
                handle.put(place.key, event.value, sensitive=event.given, depends_on=event.depends_on, **where)
            if place.scope != "global":
                self.revisions[event.number] = self.handle_of(OPERATOR).open().revision

    def close(self) -> None:
        if self.awaited is not None and self.loop is not None:
            self.loop.run(self.awaited.close())
        self.manager.close()


class Awaited:
    """Something of the async face, as its blocking twin."""

    def __init__(self, inner: Any, loop: asyncio.Runner) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return (
            self._awaited(found) if not callable(found) else lambda *args, **given: self._awaited(found(*args, **given))
        )

    def __getitem__(self, key: str) -> Any:
        return self._awaited(self._inner[key])

    def _awaited(self, found: Any) -> Any:
        if hasattr(found, "__await__"):
            found = self._loop.run(_of(found))
        kept = hasattr(found, "then") or hasattr(found, "__aiter__")
        return Awaited(found, self._loop) if kept else found

    def __iter__(self) -> Any:
        while True:
            try:
                yield self._loop.run(_of(self._inner.__anext__()))
            except StopAsyncIteration:
                return


async def _of(awaitable: Any) -> Any:
    return await awaitable


# --- what is compared ------------------------------------------------------------------------------------------------


def told(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or what its error says; versions may tell that something has changed."""
    try:
        return plain(call())
    except CtxqueueError as error:
        current = getattr(error, "current", None)
        return type(error).__name__, re.sub(r"\d+", "N", str(error)), current and plain(current)


def plain(found: Any) -> Any:
    """Return what is comparable of what was found: all but times, revisions and versions."""
    if isinstance(found, ContextEntry):
        of_whom = found.agent_id, found.created_by, found.sensitive, found.why_sensitive, found.priority.value
        place = found.scope.value, found.owner, found.key
        return (*place, shown(found.value), *of_whom, found.dependencies, sorted(found.metadata.items()))
    if isinstance(found, list | tuple):
        return [plain(each) for each in found]
    if isinstance(found, dict):
        return {key: plain(each) for key, each in found.items()}
    return shown(found)


_taking_in: ContextVar[asyncio.Runner | None] = ContextVar("taking_in", default=None)


def shown(value: Any) -> Any:
    if not isinstance(value, Secret):
        return value
    try:
        loop = _taking_in.get()
        # In its loop, which runs no more between two calls: there what is taken could not be recorded.
        return value.reveal() if loop is None else loop.run(value.areveal())
    except AccessDenied:
        return "<concealed>"
