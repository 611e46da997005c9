"""What a team allows: rules by agent, scope and key pattern. Deny wins; to read what is sensitive defaults to no.

A policy says what agents may do with entries that lie where they may look at all. `ctxqueue.rules.policies` reads one.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

import msgspec

from ctxqueue.models import OPERATOR_ID, ContextScope
from ctxqueue.rules.patterns import Patterns, any_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ctxqueue.models import Address, Agent
    from ctxqueue.rules.detectors import Detector
    from ctxqueue.rules.guards import Guard

Action = Literal["read", "write", "delete"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

MOST_REMEMBERED = 4_096
"""Agents of which a policy remembers which rules are about them; then it thinks anew."""
MOST_KEYS = 16_384
"""Keys of which it remembers, for each set of rules, what they say."""
MOST_SETS = 64
"""Such sets."""


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a rule is about: agents that match each pattern that is given; none is everybody."""

    agent_type: tuple[str, ...] = ()
    agent_role: tuple[str, ...] = ()
    group: tuple[str, ...] = ()

    def includes(self, agent: Agent) -> bool:
        """Whether the rule is about the agent."""
        return (
            any_of(self.agent_type, (agent.agent_type,))
            and any_of(self.agent_role, (agent.agent_role,) if agent.agent_role else ())
            and any_of(self.group, agent.groups)
        )


class Where(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Which entries a rule is about; nothing given is all. Patterns of keys know no case."""

    scope: tuple[str, ...] = ()
    key: tuple[str, ...] = ()

    def includes(self, address: Address) -> bool:
        """Whether the rule is about the address."""
        if self.scope and address.scope.value not in self.scope:
            return False
        return not self.key or self._patterns.match(address.key.lower())

    @cached_property
    def _patterns(self) -> Patterns:
        return Patterns(pattern.lower() for pattern in self.key)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What some agents may do, or may not, with some entries."""

    name: str
    who: Who = Who()
    where: Where = Where()
    allow: frozenset[Action] = frozenset()
    deny: frozenset[Action] = frozenset()
    sensitive: bool = False
    """What it allows it allows of sensitive entries too."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are sensitive whatever their writers say."""

    name: str
    where: Where


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """As whom some agents may act besides themselves."""

    name: str
    who: Who
    agent: tuple[str, ...]
    """Patterns of agent ids; the operator is meant only by its name, SYSTEM."""
    role: tuple[str, ...] = ()
    """Patterns of roles that they may take on; none: only their own, or no role."""

    def includes(self, wanted: Agent, declared: Agent) -> bool:
        """Whether an agent that ``who`` is about may act as another."""
        if wanted.is_operator:
            return OPERATOR_ID in self.agent
        role = wanted.agent_role
        own_groups = set(wanted.groups) <= set(declared.groups)
        return (
            any(fnmatchcase(wanted.agent_id, pattern) for pattern in self.agent)
            and own_groups
            and (role is None or role == declared.agent_role or any(fnmatchcase(role, each) for each in self.role))
        )


class Verdict(NamedTuple):
    """Whether an agent may, and which rule says so."""

    allowed: bool
    rule: str


class Policy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All rules of a deployment."""

    rules: tuple[Rule, ...] = ()
    marks: tuple[Mark, ...] = ()
    grants: tuple[Grant, ...] = ()
    detectors: tuple[Detector, ...] = ()
    guards: tuple[Guard, ...] = ()
    default: frozenset[Action] = frozenset({"read", "write", "delete"})
    """What everybody may do where no rule says otherwise: of sensitive entries, never to read them."""

    def rights_of(self, agent: Agent) -> Rights:
        """Return what the policy says of one agent."""
        # The last one that was asked about is told by itself: to look it up takes reading all that it is.
        last: tuple[Agent, Rights] | None = self.__dict__.get("_last")
        if last is not None and last[0] is agent:
            return last[1]
        remembered: dict[Agent, Rights] = self.__dict__.setdefault("_rights", {})
        rights = remembered.get(agent)
        if rights is None:
            if len(remembered) >= MOST_REMEMBERED:
                remembered.clear()
            rights = remembered[agent] = self._of_rules(tuple(rule for rule in self.rules if rule.who.includes(agent)))
        self.__dict__["_last"] = agent, rights
        return rights

    def _of_rules(self, rules: tuple[Rule, ...]) -> Rights:
        """Return what some rules say: to all agents that just these are about the same."""
        remembered: dict[tuple[int, ...], Rights] = self.__dict__.setdefault("_sets", {})
        numbers = tuple(map(id, rules))
        rights = remembered.get(numbers)
        if rights is None:
            if len(remembered) >= MOST_SETS:
                remembered.clear()
            rights = remembered[numbers] = Rights(self, rules)
        return rights

    def mark_of(self, address: Address) -> str:
        """Return the name of the rule by which an entry is sensitive; empty: none says so."""
        if not self.marks or not self._marked.match(address.key.lower()):
            return ""
        return next((mark.name for mark in self.marks if mark.where.includes(address)), "")

    @cached_property
    def _marked(self) -> Patterns:
        return of_all(mark.where for mark in self.marks)

    def may_act_as(self, declared: Agent, wanted: Agent) -> bool:
        """Whether a task of one agent may act as another."""
        return any(grant.who.includes(declared) and grant.includes(wanted, declared) for grant in self.grants)


BY_DEFAULT = "the default"
SENSITIVE_BY_DEFAULT = "the default for sensitive entries"


class Sight(NamedTuple):
    """What is said of reading one key: of a plain entry, of a sensitive one, and by which mark it is that."""

    plain: bool
    sensitive: bool
    mark: str


class Rights:
    """What some rules of a policy say, with what they have said already."""

    __slots__ = ("_changing", "_default", "_policy", "_rules", "_said", "_seen", "_unsaid", "told")

    def __init__(self, policy: Policy, rules: tuple[Rule, ...]) -> None:
        self._policy = policy
        self._default = policy.default
        self._rules = {action: _Rules(rule for rule in rules if action in rule.allow | rule.deny) for action in ACTIONS}
        of_reading = [rule.where for rule in rules if "read" in rule.allow | rule.deny]
        self._said = of_all([*of_reading, *(mark.where for mark in policy.marks)])
        self._unsaid = Sight("read" in policy.default, False, "")  # noqa: FBT003 - nobody reads secrets by default
        self._seen: tuple[dict[str, Sight], ...] = tuple({} for _ in ContextScope)
        self._changing: dict[tuple[Action, int], dict[str, Verdict]] = {
            (action, scope.ordinal): {} for action in ACTIONS for scope in ContextScope
        }
        self.told: tuple[dict[str, bool], dict[str, bool]] = {}, {}
        """Keys that may be spoken of or not, as far as that was asked: for agents in no group, for those in some."""

    def verdict(self, address: Address, action: Action, *, sensitive: bool) -> Verdict:
        """Return what is said of a plain entry, or of a sensitive one."""
        about = self._rules[action].about(address)
        for rule in about:
            if action in rule.deny:
                return Verdict(False, rule.name)  # noqa: FBT003 - a verdict is yes or no
        for rule in about:
            if action in rule.allow and (rule.sensitive or not sensitive):
                return Verdict(True, rule.name)  # noqa: FBT003
        if sensitive and action == "read":
            return Verdict(False, SENSITIVE_BY_DEFAULT)  # noqa: FBT003
        return Verdict(action in self._default, BY_DEFAULT)

    def changing(self, address: Address, action: Action, is_named_so: Callable[[str], bool]) -> Verdict:
        """Return the same for what is sensitive by its name or a mark alone, so by its address."""
        said = self._changing[action, address.scope.ordinal]
        verdict = said.get(address.key)
        if verdict is None:
            if len(said) >= MOST_KEYS:
                said.clear()
            sensitive = is_named_so(address.key) or self._policy.mark_of(address) != ""
            verdict = said[address.key] = self.verdict(address, action, sensitive=sensitive)
        return verdict

    def sight(self, address: Address) -> Sight:
        """Return what is said of reading an entry."""
        seen = self._seen[address.scope.ordinal]
        sight = seen.get(address.key)
        if sight is None:
            if len(seen) >= MOST_KEYS:
                seen.clear()
            sight = seen[address.key] = self._sight(address) if self._said.match(address.key.lower()) else self._unsaid
        return sight

    def _sight(self, address: Address) -> Sight:
        mark = self._policy.mark_of(address)
        of_secrets = self.verdict(address, "read", sensitive=True).allowed
        return Sight(of_secrets if mark else self.verdict(address, "read", sensitive=False).allowed, of_secrets, mark)


class _Rules:
    """Rules in their order, and what they have in common: most keys are no rule's."""

    __slots__ = ("_patterns", "_rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._patterns = of_all(rule.where for rule in self._rules)

    def about(self, address: Address) -> list[Rule]:
        if not self._patterns.match(address.key.lower()):
            return []
        return [rule for rule in self._rules if rule.where.includes(address)]


def of_all(places: Iterable[Where]) -> Patterns:
    """Return what matches each key that one of some places may have."""
    return Patterns(pattern.lower() for where in places for pattern in where.key or ("*",))
