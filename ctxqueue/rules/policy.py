"""What a team allows: rules by agent, scope and key pattern. Deny wins; to read what is sensitive defaults to no.

A policy says what agents may do with entries that lie where they may look at all. `ctxqueue.rules.policies` reads one.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from ctxqueue.models import OPERATOR_ID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.models import Address, Agent
    from ctxqueue.rules.detectors import Detector
    from ctxqueue.rules.guards import Guard

Action = Literal["read", "write", "delete"]

MOST_REMEMBERED = 4_096
"""Keys of which a policy remembers, for each agent, what it says; then it thinks anew."""


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a rule is about: agents that match each pattern that is given; none is everybody."""

    agent_type: tuple[str, ...] = ()
    agent_role: tuple[str, ...] = ()
    group: tuple[str, ...] = ()

    def includes(self, agent: Agent) -> bool:
        """Whether the rule is about the agent."""
        return (
            _any(self.agent_type, (agent.agent_type,))
            and _any(self.agent_role, (agent.agent_role,) if agent.agent_role else ())
            and _any(self.group, agent.groups)
        )


def _any(patterns: tuple[str, ...], names: Iterable[str]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries a rule is about; nothing given is all. Patterns of keys know no case."""

    scope: tuple[str, ...] = ()
    key: tuple[str, ...] = ()

    def includes(self, address: Address) -> bool:
        """Whether the rule is about the address."""
        if self.scope and address.scope.value not in self.scope:
            return False
        key = address.key.lower()
        return not self.key or any(fnmatchcase(key, pattern.lower()) for pattern in self.key)


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
        remembered: dict[Agent, Rights] = self.__dict__.setdefault("_rights", {})
        rights = remembered.get(agent)
        if rights is None:
            if len(remembered) >= MOST_REMEMBERED:
                remembered.clear()
            rights = remembered[agent] = Rights(self, agent)
        return rights

    def mark_of(self, address: Address) -> str:
        """Return the name of the rule by which an entry is sensitive; empty: none says so."""
        if not self.marks:
            return ""
        remembered: dict[Address, str] = self.__dict__.setdefault("_marked", {})
        name = remembered.get(address)
        if name is None:
            if len(remembered) >= MOST_REMEMBERED:
                remembered.clear()
            name = remembered[address] = next((mark.name for mark in self.marks if mark.where.includes(address)), "")
        return name

    def may_act_as(self, declared: Agent, wanted: Agent) -> bool:
        """Whether a task of one agent may act as another."""
        return any(grant.who.includes(declared) and grant.includes(wanted, declared) for grant in self.grants)


BY_DEFAULT = "the default"
SENSITIVE_BY_DEFAULT = "the default for sensitive entries"


class Rights:
    """What a policy says of one agent, with what it has said already."""

    __slots__ = ("_default", "_rules", "_said", "told")

    def __init__(self, policy: Policy, agent: Agent) -> None:
        self._rules = [rule for rule in policy.rules if rule.who.includes(agent)]
        self._default = policy.default
        self._said: dict[tuple[Address, Action], tuple[Verdict, Verdict]] = {}
        self.told: dict[str, bool] = {}
        """Keys that may be spoken of or not, as far as that was asked."""

    def verdict(self, address: Address, action: Action, *, sensitive: bool) -> Verdict:
        """Return what is said of a plain entry, or of a sensitive one."""
        said = self._said.get((address, action))
        if said is None:
            if len(self._said) >= MOST_REMEMBERED:
                self._said.clear()
            said = self._decided(address, action, sensitive=False), self._decided(address, action, sensitive=True)
            self._said[address, action] = said
        return said[sensitive]

    def _decided(self, address: Address, action: Action, *, sensitive: bool) -> Verdict:
        about = [rule for rule in self._rules if rule.where.includes(address)]
        for rule in about:
            if action in rule.deny:
                return Verdict(False, rule.name)  # noqa: FBT003 - a verdict is yes or no
        for rule in about:
            if action in rule.allow and (rule.sensitive or not sensitive):
                return Verdict(True, rule.name)  # noqa: FBT003
        if sensitive and action == "read":
            return Verdict(False, SENSITIVE_BY_DEFAULT)  # noqa: FBT003
        return Verdict(action in self._default, BY_DEFAULT)
