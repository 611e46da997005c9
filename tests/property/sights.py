"""How each path of READ_PATHS is driven: what an agent comes to see by it, as two worlds can be compared."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctxqueue.agents import AsyncContextAwareAgent, ContextAwareAgent
from ctxqueue.effects import Position, family_of
from ctxqueue.flows import attempts, following, triggers
from ctxqueue.flows.publishing import item_id
from ctxqueue.models import Change
from ctxqueue.rules.conditions import all_of, any_of, as_condition, at_least, key, stale
from tests.property.worlds import KEYS, WORKFLOW, Awaited, may_name, plain, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctxqueue.views import AgentContext
    from tests.property.worlds import World

SHORT = 0.001
"""Seconds to wait for what does not come."""

CONDITIONS: dict[str, Any] = {
    **{name: key(name) for name in KEYS},
    "one of two": any_of("zorblax", "quemby_two"),
    "both": all_of("zorblax", "quemby_one"),
    "any of them": at_least(1, "*"),
    "one q": at_least(1, "quemby_*"),
    "two q": at_least(2, "quemby_*"),
    "one global": at_least(1, "global_*"),
    "compared": key("zorblax") != "nothing",
    "compared too": key("quemby_one").in_(["value-000-of-it", "value-001-of-it"]),
    "stale": stale("zorblax"),
    "stale too": stale("quemby_one"),
}
PATTERNS = ("*", "quemby_*", "zorblax", "global_*")


@dataclass(frozen=True)
class Sighting:
    """One way to see something."""

    path: str
    """As READ_PATHS names it."""
    look: Callable[[World], Any]
    of_key: bool
    """The looker names the keys: errors may repeat them."""


SIGHTINGS: list[Sighting] = []


def drives(*paths: str, of_key: bool = False) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
    """Say which paths a function drives."""

    def declared(look: Callable[[World], Any]) -> Callable[[World], Any]:
        SIGHTINGS.extend(Sighting(path, look, of_key) for path in paths)
        return look

    return declared


def each_key(look: Callable[[str], Any]) -> dict[str, Any]:
    return {name: told(lambda name=name: look(name)) for name in KEYS}  # type: ignore[misc]


# --- entries ---------------------------------------------------------------------------------------------------------


@drives("WorkflowHandle.get", of_key=True)
def got(world: World) -> Any:
    places: list[dict[str, Any]] = [{}, {"scope": "private"}, {"group": "g"}, {"group": "h"}]
    places += [{"scope": "workflow"}, {"scope": "global"}]
    return [each_key(lambda name, place=place: world.handle.get(name, **place)) for place in places]  # type: ignore[misc]


@drives("WorkflowHandle.__getitem__", "EntryNotFound", of_key=True)
def taken(world: World) -> Any:
    return each_key(lambda name: world.handle[name])


def pages(call: Callable[..., Any], **given: Any) -> Iterator[Any]:
    cursor = None
    while True:
        page = call(cursor=cursor, **given)
        yield list(page)
        cursor = page.next_cursor
        if cursor is None:
            return


@drives("WorkflowHandle.list")
def listed(world: World) -> Any:
    handle = world.handle
    asked: list[dict[str, Any]] = [{}, {"prefix": "quemby"}, {"limit": 1}, {"limit": 2, "scope": "workflow"}]
    asked += [{"limit": 1, "scope": scope} for scope in ("private", "agent_group", "global")]
    return [told(lambda given=given: list(pages(handle.list, **given))) for given in asked]  # type: ignore[misc]


@drives("WorkflowHandle.history", of_key=True)
def past(world: World) -> Any:
    handle = world.handle
    everywhere = each_key(handle.history)
    return everywhere, each_key(lambda name: handle.history(name, scope="workflow", limit=1))


@drives("VersionConflict", "WorkflowHandle.put", of_key=True)
def refused(world: World) -> Any:
    return each_key(lambda name: world.handle.put(name, "mine", expected_version=999))


@drives("WorkflowHandle.stale")
def outdated(world: World) -> Any:
    return sorted(world.handle.stale())


@drives("WorkflowHandle.graph")
def drawn(world: World) -> Any:
    """Return the lines as labels: numbers of nodes and names of runs are drawn anew each time."""
    found = []
    for form, node in (("mermaid", r'(n\d+)\W+"(.*)"'), ("dot", r'(n\d+) \[label="(.*?)"')):
        text = re.sub(r"waiting \S{8}", "waiting", world.handle.graph(format=form))
        lines = text.splitlines()
        for name, label in re.findall(node, text):
            lines = [re.sub(rf"\b{name}\b", label, line) for line in lines]
        found.append(sorted(re.sub(r" v\d+", "", line) for line in lines if " missing" not in line))
    return found


# --- views -----------------------------------------------------------------------------------------------------------


def seen(view: AgentContext) -> Any:
    entries = {name: view.entry(name) for name in sorted(view)}
    assert sorted(view.keys()) == sorted(entries) == sorted(name for name in KEYS if name in view)
    assert {name: plain(each) for name, each in view.items()} == {name: plain(view[name]) for name in entries}
    assert Counter(map(repr, view.values())) == Counter(repr(view.get(name)) for name in entries)
    return (
        len(view),
        plain(entries),
        plain(view.shadowed),
        [name for name in KEYS if view.hidden_by_filter(name)],
        sorted(view.dependencies),
        plain(dict(sorted(view.readable().items()))),
        view.agent_state,
        re.sub(r"revision \d+", "", repr(view)),
        sorted(re.split(r"\n|\b", view.render())),
        plain({**view.as_dict(), "dependencies": sorted(view.dependencies)}),
    )


@drives(
    "WorkflowHandle.view",
    *(f"AgentContext.{name}" for name in ("__contains__", "__getitem__", "__iter__", "__len__", "__repr__")),
    *(f"AgentContext.{name}" for name in ("agent_state", "as_dict", "dependencies", "entry", "get")),
    *(f"AgentContext.{name}" for name in ("hidden_by_filter", "items", "keys", "readable", "render", "shadowed")),
    "AgentContext.values",
)
def viewed(world: World) -> Any:
    return seen(world.handle.view())


@drives("WorkflowHandle.at")
def viewed_then(world: World) -> Any:
    return {number: told(lambda at=at: seen(world.handle.at(at))) for number, at in world.revisions.items()}  # type: ignore[misc]


@drives("SharedContextManager.get_context_for_agent")
def context(world: World) -> Any:
    found = world.face.get_context_for_agent(WORKFLOW, world.agent)
    return plain({**found, "dependencies": sorted(found["dependencies"])})


class Looking(ContextAwareAgent):
    """Returns what it is given."""

    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        return {**context, "dependencies": sorted(context["dependencies"]), "task": task}


class AsyncLooking(AsyncContextAwareAgent):
    """Returns what it is given."""

    async def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        return {**context, "dependencies": sorted(context["dependencies"]), "task": task}


@drives("ContextAwareAgent.execute_with_context", "ContextAwareAgent.wait_for_dependency", of_key=True)
def executed(world: World) -> Any:
    given: Any = {"role": world.agent.agent_role, "groups": world.agent.groups}
    agent: Any
    if world.awaited is None or world.loop is None:
        agent = Looking(world.agent.agent_id, context_manager=world.manager, **given)
    else:
        agent = Awaited(AsyncLooking(world.agent.agent_id, context_manager=world.awaited, **given), world.loop)
    waited = each_key(lambda name: sorted(agent.wait_for_dependency(WORKFLOW, name, timeout=SHORT)))
    return plain(dict(agent.execute_with_context("look", WORKFLOW))), waited


# --- the log ---------------------------------------------------------------------------------------------------------


def change(each: Change) -> Any:
    return each.kind, each.scope.value, each.owner, each.key, each.agent_id


@drives("WorkflowHandle.changes")
def changed(world: World) -> Any:
    call = world.handle.changes
    return [[[change(each) for each in page] for page in pages(call, limit=limit)] for limit in (1, 100)]


@drives("WorkflowHandle.watch", "Watch.__iter__", "Watch.__next__")
def watched(world: World) -> Any:
    """Progress may show that something hidden has changed."""
    found = []
    for pattern in PATTERNS:
        watch = world.handle.watch(pattern, from_revision=0, timeout=SHORT)
        found.append(told(lambda: [change(each) for each in watch if isinstance(each, Change)]))  # noqa: B023
    return found


@drives("SharedContextManager.subscribe_to_context_changes", "ContextNotificationManager.subscribe_to_context_changes")
def followed(world: World) -> Any:
    """What a function of this process is called for, beside the thread that calls it."""
    handle, run = world.handle_of(world.agent), world.manager.driver.run
    place = run(following.present(handle.terms, WORKFLOW))._replace(revision=0)
    return [change(each) for each in run(following.news(handle.terms.policy, handle.agent, place)).changes]


# --- conditions ------------------------------------------------------------------------------------------------------


@drives("WorkflowHandle.wait_for", "DependencyTimeout", of_key=True)
def waited(world: World) -> Any:
    return {
        label: told(lambda asked=asked: sorted(world.handle.wait_for(asked, timeout=SHORT)))  # type: ignore[misc]
        for label, asked in CONDITIONS.items()
    }


@drives("task.needs", "task.wait_for", of_key=True)
def needed(world: World) -> Any:
    terms, run = world.manager.terms, world.manager.driver.run

    def claimed(label: str, asked: Any) -> Any:
        item = item_id(terms.app, WORKFLOW, f"asks for {label}", Position(0, 0))
        ticket = attempts.Ticket(WORKFLOW, f"asks for {label}", Position(0, 0), item)
        begun = run(attempts.claim(terms, ticket, world.agent, as_condition(asked), lambda: b"message"))
        return begun.claimed.answer, list(begun.missing), begun.error and type(begun.error).__name__

    return {label: told(lambda label=label, asked=asked: claimed(label, asked)) for label, asked in CONDITIONS.items()}  # type: ignore[misc]


def armed(world: World) -> Any:
    """Register triggers on each condition, and subscriptions, before anything happens; return what is refused."""
    handle = world.handle
    refusals: dict[str, Any] = {}

    def kept(label: str, register: Callable[[], Any]) -> None:
        def registered() -> str:
            world.armed[register().id] = label
            return ""

        refusals[label] = told(registered)

    for label, asked in CONDITIONS.items():
        kept(label, lambda asked=asked: handle.when(asked).then(b"canvas"))  # type: ignore[misc]
        kept(f"{label}, each time", lambda asked=asked: handle.when(asked).then(b"canvas", every=True))  # type: ignore[misc]
    for pattern in PATTERNS:
        kept(f"changes of {pattern}", lambda pattern=pattern: handle.subscribe(pattern, b"canvas"))  # type: ignore[misc]
    return refusals


@drives(
    *("WorkflowHandle.when", "When.then", "WorkflowHandle.triggers", "WorkflowHandle.subscribe"),
    *("WorkflowHandle.subscriptions", "task.cause", "ContextAwareAgent.subscribe_to_context_changes"),
)
def fired(world: World) -> Any:
    """What was sent of it, in which order, for which reasons; and how it stands."""
    handle = world.handle
    sent = [message.decode().split(" ")[0] for message in world.published]
    states: list[Any] = [(world.armed[each.id], each.state, each.condition) for each in handle.triggers()]
    states += [(world.armed[each.id], each.state, each.patterns) for each in handle.subscriptions()]
    causes = [
        (world.armed[cause.get("trigger") or cause["subscription"]], cause["keys"], cause["agent"])
        for cause in world.canvases.causes.values()
    ]
    for trigger_id in dict.fromkeys(sent):
        if trigger_id in world.armed and not family_of(trigger_id):
            launch = world.manager.driver.run(triggers.launched(world.manager.terms, WORKFLOW, trigger_id, late=False))
            causes.append((world.armed[trigger_id], launch and launch.cause["keys"], launch and launch.cause["agent"]))
    number = Counter(world.armed[each] for each in sent if each in world.armed)
    # Those that are due at once fire in no order; of one the order counts.
    return number, sorted(states), sorted(causes, key=lambda cause: cause[0])


@drives("WorkflowHandle.notifications", "ContextNotificationManager.notification_history")
def notified(world: World) -> Any:
    kept = world.handle.notifications()
    by_name = world.manager.notification_manager.notification_history(WORKFLOW, world.agent)
    found = [[(world.armed[each.subscription], each.keys, each.agent_id) for each in some] for some in (kept, by_name)]
    return [sorted(some, key=lambda each: each[0]) for some in found]


# --- what it writes itself: last, as the worlds differ from then on --------------------------------------------------


@drives("EntryExists", "WorkflowHandle.create", "CircularDependencyError", of_key=True)
def wrote(world: World) -> Any:
    """Whether there was something a writer learns; nothing else."""
    for name in KEYS:
        found = told(lambda name=name: world.handle.create(name, "mine", depends_on=["quemby_one"]))  # type: ignore[misc]
        named = [each for each in KEYS if each in repr(found) and each not in (name, "quemby_one")]
        assert [each for each in named if not may_name(world.policy, world.agent, each)] == []
        assert "value" not in repr(found)
