"""What the policy says of memories: to it a memory stands at (scope, owner, ``memory:<type>``).

A reader looks among its own owners anyhow; the policy narrows that, before anything is ranked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ctxqueue import codec
from ctxqueue.errors import AccessDenied
from ctxqueue.models import Address, Agent
from ctxqueue.remembered import KINDS, Owner
from ctxqueue.rules.access import is_sensitive_name
from ctxqueue.rules.detectors import detected

if TYPE_CHECKING:
    from ctxqueue.remembered import Body, Reader, Said
    from ctxqueue.rules.policy import Action, Policy

USER = Agent("user")
"""Whom the policy is asked about where a user is named, and no agent."""


class Part(NamedTuple):
    """An owner's memories as far as somebody may see them: of which types, plain and sensitive ones."""

    owner: Owner
    plain: tuple[str, ...] = KINDS
    sensitive: tuple[str, ...] = KINDS

    def holds(self, kind: str, body: Body) -> bool:
        """Whether a memory is part of it."""
        return kind in (self.sensitive if body.why else self.plain)


def may(policy: Policy, reader: Reader, owner: Owner, kind: str, action: Action, *, sensitive: bool) -> bool:
    """Whether a reader may do something with such a memory of an owner's; the operator may all."""
    if reader.sees_all:
        return True
    address = Address(owner.scope, owner.agent or owner.user, f"memory:{kind}")
    sensitive = sensitive or (policy.marks != () and policy.mark_of(address) != "")
    agent = reader.agent or (Agent(reader.agent_id) if reader.agent_id is not None else USER)
    return policy.rights_of(agent).verdict(address, action, sensitive=sensitive).allowed


def part_of(policy: Policy, reader: Reader, owner: Owner) -> Part:
    """Return what a reader may see of an owner's memories."""
    plain, sensitive = (
        tuple(kind for kind in KINDS if may(policy, reader, owner, kind, "read", sensitive=is_sensitive))
        for is_sensitive in (False, True)
    )
    return Part(owner, plain, sensitive)


def hold(policy: Policy, reader: Reader, owner: Owner, kind: str, action: Action, *, sensitive: bool = False) -> None:
    """Raise AccessDenied unless a reader may write or delete such a memory."""
    if not may(policy, reader, owner, kind, action, sensitive=sensitive):
        who = reader.agent_id or reader.user_id
        raise AccessDenied(f"{who} may not {action} {kind} memories of scope {owner.scope.value!r}: the policy says so")


def why_sensitive(policy: Policy, said: Said) -> str:
    """Return why a memory is sensitive, as of an entry's value; empty: it is not."""
    metadata = codec.unpack(said.metadata) if said.metadata else {}
    if any(is_sensitive_name(name) for name in metadata):
        return "name"
    found = detected(policy.detectors, said.content.encode() + said.metadata)
    return f"detector: {found}" if found else ""
