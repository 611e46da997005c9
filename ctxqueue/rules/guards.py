"""Write guards: what a team lets stand at which keys, and what it makes of what its agents write.

A guard sees what would stand there, so what was merged, and says nothing, refuses, or has something else stand instead.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ctxqueue import codec
from ctxqueue.errors import ConfigurationError
from ctxqueue.rules import checks
from ctxqueue.rules.policy import MOST_REMEMBERED, Where, Who

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ctxqueue.models import Address, Agent, ContextScope

    Check = Callable[["Proposed"], "Instead | None"]


class Instead(msgspec.Struct, frozen=True):
    """What a guard returns to have another value stand there."""

    value: Any


UNSEEN = object()


class Proposed:
    """A write as a guard sees it. Nobody else holds ``value``: what is changed in it changes nothing."""

    __slots__ = ("_packed", "_value", "address", "agent", "metadata", "operation", "sensitive", "workflow_id")

    def __init__(
        self,
        workflow_id: str,
        address: Address,
        agent: Agent,
        operation: Literal["write", "delete"],
        packed: bytes,
        metadata: Mapping[str, Any],
        *,
        sensitive: bool,
    ) -> None:
        self.workflow_id = workflow_id
        self.address = address
        self.agent = agent
        """Who writes."""
        self.operation = operation
        self.metadata = metadata
        """What this write says of itself; not what stands there, whose metadata it may leave as they are."""
        self.sensitive = sensitive
        """Nothing of the value is for a message."""
        self._packed = packed
        self._value: Any = UNSEEN

    @property
    def key(self) -> str:
        """The entry's key."""
        return self.address.key

    @property
    def scope(self) -> ContextScope:
        """The entry's scope."""
        return self.address.scope

    @property
    def size(self) -> int:
        """Bytes of the value, packed."""
        return len(self._packed)

    @property
    def value(self) -> Any:
        """What would stand there, as who reads it gets it; None for a deletion."""
        if self._value is UNSEEN:
            self._value = codec.unpack(self._packed) if self._packed else None
        return self._value


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the writes that some agents make of some entries."""

    name: str
    who: Who = Who()
    where: Where = Where()
    checks: tuple[Check, ...]
    deletes: bool = False
    """It is asked about deletions too."""


KINDS = ("max_bytes", "provenance", "schema", "model", "check", "deletes")


def guard_of(
    name: str,
    who: Who,
    where: Where,
    *,
    max_bytes: Any = None,
    provenance: Any = None,
    schema: Any = None,
    model: Any = None,
    check: Any = None,
    deletes: Any = False,
) -> Guard:
    """Return a guard by what is asked; the cheap comes first, and a function sees what all else has let pass.

    Raises ConfigurationError.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the name of a guard is {name!r:.60}: give a text")
    found: list[Check] = []
    if max_bytes is not None:
        found.append(partial(checks.at_most, checks.checked_size(max_bytes)))
    if provenance is not None:
        found.append(partial(checks.labelled, checks.checked_labels(provenance)))
    if schema is not None:
        found.append(checks.of_schema(schema))
    if model is not None:
        found.append(checks.of_model(model))
    if check is not None:
        if not callable(check):
            raise ConfigurationError(f"check is a {type(check).__name__}: give a function of a Proposed")
        found.append(check)
    if not found:
        raise ConfigurationError(f"guard {name!r} asks nothing: give max_bytes, provenance, schema, model or check")
    if not isinstance(deletes, bool) or (deletes and check is None):
        raise ConfigurationError(f"deletes of guard {name!r} is {deletes!r:.60}: it is True or False, and is for check")
    return Guard(name=name, who=who, where=where, checks=tuple(found), deletes=deletes)


class Guards:
    """Those of the policy, then those registered by this process, in that order."""

    def __init__(self, guards: Iterable[Guard] = ()) -> None:
        self._lock = threading.Lock()
        self._registered: tuple[Guard, ...] = ()
        self.set_policy(guards)

    def set_policy(self, guards: Iterable[Guard]) -> None:
        """Let those of a policy come first."""
        with self._lock:
            self._of_policy = tuple(guards)
            self._begin()

    def _begin(self) -> None:
        self._guards = (*self._of_policy, *self._registered)
        self._found: dict[tuple[Agent, Address], tuple[Guard, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._guards)

    def register(
        self,
        name: str,
        *,
        key: str | Iterable[str] = (),
        scope: str | Iterable[str] = (),
        agent_type: str | Iterable[str] = (),
        agent_role: str | Iterable[str] = (),
        group: str | Iterable[str] = (),
        max_bytes: int | None = None,
        provenance: Iterable[str] | Mapping[str, str | Iterable[str]] | None = None,
        schema: Mapping[str, Any] | None = None,
        model: Any = None,
        check: Check | None = None,
        deletes: bool = False,
    ) -> None:
        """Add a guard; one registered by the same name gives way. Each process that writes registers its own.

        ``key``, ``scope`` and the rest are patterns as in a policy; what is left out is all. ``max_bytes``: of the
        packed value. ``provenance``: labels that the write's own ``metadata`` must have, with patterns of which one
        must match, or merely labels. ``schema``: a JSON Schema (extra ``schemas``). ``model``: a pydantic model, or a
        ``TypeAdapter``. ``check``: a function of a `Proposed`, which raises `WriteRefused`, or returns `Instead` or
        None; of deletions too, with ``deletes``. It must be pure and deterministic: a commit may be tried again.
        Raises ConfigurationError.
        """
        who = Who(
            agent_type=checks.texts("agent_type", agent_type),
            agent_role=checks.texts("agent_role", agent_role),
            group=checks.texts("group", group),
        )
        where = Where(scope=checks.checked_scopes(checks.texts("scope", scope)), key=checks.texts("key", key))
        asked = {"max_bytes": max_bytes, "provenance": provenance, "schema": schema, "model": model, "check": check}
        guard = guard_of(name, who, where, **asked, deletes=deletes)
        with self._lock:
            self._registered = (*(each for each in self._registered if each.name != name), guard)
            self._begin()

    def of(self, agent: Agent, address: Address) -> tuple[Guard, ...]:
        """Return those that are asked about what an agent writes at an address, in order."""
        if not self._guards:
            return ()
        found = self._found.get((agent, address))
        if found is None:
            with self._lock:
                guards, known = self._guards, self._found  # a registration begins others
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            found = tuple(each for each in guards if each.who.includes(agent) and each.where.includes(address))
            known[agent, address] = found
        return found
