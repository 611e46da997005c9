"""What is allowed: which names are sensitive, and who may read what is.

The words are matched whole, in ``snake_case``, ``camelCase`` and ``dotted.names`` alike.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ctxqueue.errors import AccessDenied
from ctxqueue.models import GIVEN, ContextScope
from ctxqueue.rules.detectors import detected
from ctxqueue.rules.policy import Sight, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from ctxqueue.models import Address, Agent
    from ctxqueue.rules.detectors import Detector
    from ctxqueue.rules.policy import Action, Policy

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SENSITIVE_WORD = re.compile(r"\w*passw(?:or)?ds?|secrets?|credentials?|apikeys?")
HARMLESS_AFTER_TOKEN = frozenset({"count", "usage", "budget", "limit"})
BEFORE_SENSITIVE_KEY = frozenset({"api", "access", "private", "signing", "encryption", "ssh"})

NAMED = "name"


@lru_cache(maxsize=4_096)
def is_sensitive_name(key: str) -> bool:
    """Whether a key's name says that its value is a secret."""
    words = [word.lower() for word in WORD.findall(key)]
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if SENSITIVE_WORD.fullmatch(word):
            return True
        if word == "token" and following not in HARMLESS_AFTER_TOKEN:
            return True
        if word in BEFORE_SENSITIVE_KEY and following in ("key", "keys"):
            return True
    return False


def owns_scope(agent: Agent, address: Address) -> bool:
    """Whether the address lies where the agent may look at all."""
    if address.scope is ContextScope.PRIVATE:
        return agent.is_operator or address.owner == agent.agent_id
    if address.scope is ContextScope.AGENT_GROUP:
        return agent.is_operator or address.owner in agent.groups
    return True


def verdict(policy: Policy, agent: Agent, address: Address, action: Action, *, sensitive: bool) -> Verdict:
    """Return whether an agent may, and why. ``sensitive``: as the entry, or its name where there is none, says.

    The operator may do all; whoever acts as it sees a sensitive value only with ``reveal=True``.
    """
    if agent.is_operator:
        return OPERATORS
    if not owns_scope(agent, address):
        return ELSEWHERE
    return policy.rights_of(agent).verdict(
        address, action, sensitive=sensitive or (policy.marks != () and policy.mark_of(address) != "")
    )


def sights(policy: Policy, agent: Agent) -> Callable[[Address], Sight]:
    """Return what says of reading each address the same as `verdict`, plain and sensitive at once."""
    if agent.is_operator:
        return lambda address: Sight(True, True, policy.mark_of(address))  # noqa: FBT003
    sight_of = policy.rights_of(agent).sight

    def sight(address: Address) -> Sight:
        return sight_of(address) if not address.owner or owns_scope(agent, address) else NOWHERE

    return sight


NOWHERE = Sight(False, False, "")  # noqa: FBT003
OPERATORS = Verdict(True, "the operator stands outside the policy")  # noqa: FBT003 - a verdict is yes or no
ELSEWHERE = Verdict(False, "another agent's scope, or that of a group it is not in")  # noqa: FBT003


def may_read(policy: Policy, agent: Agent, address: Address, *, sensitive: bool) -> bool:
    """Whether a path may show an entry, its key, or count it: the one rule that all of them go by.

    The operator sees that a sensitive entry is there, not its value.
    """
    if agent.is_operator:
        return True
    if address.owner and not owns_scope(agent, address):
        return False
    plain, of_secrets, _ = policy.rights_of(agent).sight(address)
    return of_secrets if sensitive else plain


def may_name(policy: Policy, agent: Agent, address: Address) -> bool:
    """Whether a path may speak of a key of which it knows no more than the name."""
    return may_read(policy, agent, address, sensitive=is_sensitive_name(address.key))


def hold(policy: Policy, agent: Agent, address: Address, action: Literal["write", "delete"]) -> None:
    """Raise AccessDenied unless an agent may write or delete there, whether something sensitive stands there or not."""
    if agent.is_operator:
        return
    if address.owner and not owns_scope(agent, address):
        said = ELSEWHERE
    else:
        said = policy.rights_of(agent).changing(address, action, is_sensitive_name)
    if not said.allowed:
        error = AccessDenied(f"{agent.agent_id} may not {action} {address.key!r}: {said.rule} says so")
        error.denied = action, address, said.rule
        raise error


def why_sensitive(policy: Policy, address: Address, given: bool | None, packed: bytes) -> str:  # noqa: FBT001 - as a Put has it
    """Return why what is written is sensitive; empty: it is not.

    A rule says so whatever else; then what the writer says; then the name; then what the value holds.
    """
    if given is not None and not (policy.marks and policy.mark_of(address)):
        return GIVEN if given else ""
    return why_named(policy, address) or why_detected(policy.detectors, packed)


def why_named(policy: Policy, address: Address) -> str:
    """Return why whatever is written there is sensitive; empty: its value may still be."""
    if policy.marks and (mark := policy.mark_of(address)):
        return f"rule: {mark}"
    return NAMED if is_sensitive_name(address.key) else ""


def why_detected(detectors: Iterable[Detector], packed: bytes) -> str:
    """Return why a value is sensitive by what it holds."""
    found = detected(detectors, packed)
    return f"detector: {found}" if found else ""
