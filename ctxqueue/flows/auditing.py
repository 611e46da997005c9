"""What is recorded in the audit log besides commits, which record themselves: reads, reveals, denials."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec
from msgspec.structs import replace

from ctxqueue.effects import Audit, AuditBounds, Audited, Committed, Flow, NotePolicy, do
from ctxqueue.errors import (
    AccessDenied,
    BadSignature,
    IdentityMismatch,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
    VersionConflict,
)
from ctxqueue.identity import current_attempt
from ctxqueue.models import GLOBAL_WORKFLOW, OPERATOR, Address, ContextScope
from ctxqueue.rules.dependencies import resolve
from ctxqueue.rules.policies import SHIPPED, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ctxqueue.effects import AuditAction, Commit, Conflict, Refused
    from ctxqueue.errors import AccessError, CtxqueueError
    from ctxqueue.flows.terms import Terms
    from ctxqueue.models import Agent, ContextEntry
    from ctxqueue.rules.conditions import Condition
    from ctxqueue.rules.dependencies import Tree

T = TypeVar("T")

logger = logging.getLogger(__name__)

PLACES = 200
"""Entries of one record; of more there are several."""

Place = tuple[str, str, int]
"""Workflow, encoded address, version."""

_encode = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=1_024)
def _packed(*parts: str) -> bytes:
    return _encode(parts)


def origin_of(terms: Terms, agent: Agent | None) -> bytes:
    """Return who acts, as what, and from where, as far as it is known; see `effects.Audited`."""
    if not terms.bounds.audit.limit:
        return b""
    attempt = current_attempt.get()
    task_id, trace_id = terms.whence()
    kind = "" if agent is None or agent.is_operator else agent.agent_type
    role = (agent and agent.agent_role) or ""
    return _packed(kind, role, task_id, attempt.run_id if attempt else "", trace_id)


def place_of(workflow_id: str, address: Address, version: int = 0) -> Place:
    """Return what a record names of an entry."""
    return (GLOBAL_WORKFLOW if address.scope is ContextScope.GLOBAL else workflow_id, address.encode(), version)


def resolved(terms: Terms, workflow_id: str, agent: Agent, condition: Condition) -> Flow[Tree]:
    """Return a condition's tree of addresses, as `resolve` does, and record what it denies."""
    try:
        return resolve(terms.policy, condition, agent)
    except AccessDenied as error:
        yield from refused(terms, workflow_id, agent, error)
        raise


def record(
    terms: Terms,
    workflow_id: str,
    agent: Agent | None,
    action: AuditAction,
    places: Iterable[Place],
    detail: str = "",
    revision: int = 0,
    *,
    needed: bool = True,
) -> Flow[None]:
    """Add to the audit log, in one round trip, in the name of an agent, or of nobody who is known.

    Raises StoreError if the record is ``needed`` and the setting says so.
    """
    bounds = terms.bounds.audit
    if not bounds.limit:
        return
    origin, agent_id = origin_of(terms, agent), agent.agent_id if agent else ""
    by_home: dict[str, list[tuple[str, int]]] = {}
    for home, address, version in places:
        by_home.setdefault(home, []).append((address, version))
    records = tuple(
        Audited(
            *(os.urandom(8), action, agent_id, home, origin, detail, revision),
            tuple(found[first : first + PLACES]),
        )
        for home, found in (by_home or {workflow_id: []}).items()
        for first in range(0, len(found) or 1, PLACES)
    )
    try:
        yield from do(Audit(workflow_id or GLOBAL_WORKFLOW, records, bounds))
    except StoreError as error:
        if needed and terms.settings.audit_failure == "refuse":
            raise
        # Of the keys the log of a process says nothing: who may read that is another question.
        logger.warning("the audit log could not be written (%s by %s): %s", action, agent_id or "nobody known", error)


def committed(effect: Commit) -> Flow[Committed | Conflict | Refused]:
    """Carry out a commit; where its record cannot be written, and a warning is enough, without it.

    A store whose commit ends with its log is asked again, for the commit alone: what was answered with an error has
    changed nothing. If the log was not the reason that fails too, and the first error is raised.
    """
    audit = effect.bounds.audit
    try:
        reply = yield from do(effect)
    except StoreError as error:
        unanswered = isinstance(error, StoreUnavailable) and not error.answered
        if unanswered or not audit.lenient or not audit.limit:
            raise
        bare = replace(effect, bounds=replace(effect.bounds, audit=AuditBounds()))
        try:
            reply = yield from do(bare)
        except StoreError:
            raise error from None
        logger.warning("the audit log could not be written: %s", error)
        reply = replace(reply, unrecorded=True) if isinstance(reply, Committed) else reply
    if isinstance(reply, Committed) and reply.unrecorded:
        logger.warning(
            *("a commit of %s to workflow %r could not be recorded in the audit log", effect.agent_id),
            effect.workflow_id,
        )
    return reply


def handed_out(terms: Terms, workflow_id: str, agent: Agent, entries: Sequence[ContextEntry], how: str) -> Flow[None]:
    """Record the sensitive ones among entries, before they are handed out; what is concealed is not handed out."""
    secrets = [entry for entry in entries if entry.sensitive and entry.disclosure != "concealed"]
    if not secrets:
        return
    clear = secrets[0].disclosure == "clear"
    if not clear and terms.recorder is not None:
        terms.recorder.handing_out()
        for entry in secrets:
            vars(entry)["_revealing"] = Revealed(terms, workflow_id, agent)
    places = [place_of(workflow_id, _address(entry), entry.version) for entry in secrets]
    yield from record(terms, workflow_id, agent, "revealed" if clear else "read", places, how)


def denied(terms: Terms, workflow_id: str, agent: Agent, action: str, place: Place, rule: str) -> Flow[None]:
    """Record that an agent may not; whether that succeeds changes nothing of what it is told."""
    yield from record(terms, workflow_id, agent, "denied", [place], f"{action}: {rule}", needed=False)


def note_policy(terms: Terms) -> Flow[None]:
    """Record that another policy holds than before: once, whichever process comes first. Raises StoreError."""
    bounds = terms.bounds.audit
    if not bounds.limit:
        return
    shipped = terms.policy == SHIPPED
    digest = digest_of(terms.policy)
    what = terms.policy_source or ("the shipped policy" if shipped else "a policy given in Python")
    made = Audited(
        os.urandom(8), "policy", OPERATOR.agent_id, GLOBAL_WORKFLOW, origin_of(terms, OPERATOR), f"{digest} {what}"
    )
    try:
        yield from do(NotePolicy(GLOBAL_WORKFLOW, digest, made, bounds, shipped))
    except StoreReadOnly:
        logger.info("which policy holds is not noted: the store takes no writes")
    except StoreError as error:
        if terms.settings.audit_failure == "refuse":
            raise
        logger.warning("which policy holds could not be noted: %s", error)


def told(terms: Terms, workflow_id: str, agent: Agent, make: Callable[[], Flow[T]]) -> Flow[T]:
    """Carry out a flow, and record what its errors deny, or show."""
    try:
        return (yield from make())
    except AccessDenied as error:
        yield from refused(terms, workflow_id, agent, error)
        raise
    except VersionConflict as error:
        if error.current is not None:
            yield from handed_out(terms, workflow_id, agent, [error.current], "conflict")
        raise


def refused(terms: Terms, workflow_id: str, agent: Agent, error: CtxqueueError) -> Flow[None]:
    """Record what an error says was denied, or forged; of others nothing."""
    if isinstance(error, BadSignature):
        yield from record(terms, workflow_id, agent, "refused", (), str(error), needed=False)
    elif isinstance(error, AccessDenied) and error.denied is not None:
        action, address, rule = error.denied
        yield from denied(terms, workflow_id, agent, action, place_of(workflow_id, address), rule)


def tell(terms: Terms, workflow_id: str, agent: Agent, error: AccessError) -> None:
    """Record what was denied before there was a flow: as somebody else to act, or what is checked without I/O."""
    if terms.recorder is None:
        return
    if isinstance(error, IdentityMismatch):
        terms.recorder.aside(record(terms, workflow_id, agent, "denied", (), f"act as: {error}", needed=False))
    else:
        terms.recorder.aside(refused(terms, workflow_id, agent, error))


def forged(terms: Terms, error: BadSignature, task: str) -> Flow[NoReturn]:
    """Record a message that is not carried out, in nobody's name: what it says of itself is not to be believed."""
    yield from record(terms, "", None, "refused", (), f"{task}: {error}", needed=False)
    raise error


def _address(entry: ContextEntry) -> Address:
    return Address(entry.scope, entry.owner, entry.key)


class Revealed:
    """Records that an agent takes the value of a `Secret` that it was handed."""

    __slots__ = ("_agent", "_terms", "_workflow_id")

    def __init__(self, terms: Terms, workflow_id: str, agent: Agent) -> None:
        self._terms = terms
        self._workflow_id = workflow_id
        self._agent = agent

    def _flow(self, entry: ContextEntry) -> Flow[None]:
        places = [place_of(self._workflow_id, _address(entry), entry.version)]
        return record(self._terms, self._workflow_id, self._agent, "revealed", places, "reveal")

    def now(self, entry: ContextEntry) -> None:
        """Record it; raises StoreError, SyncInAsyncError."""
        if self._terms.recorder is not None and self._terms.bounds.audit.limit:
            self._terms.recorder.now(self._flow(entry))

    async def soon(self, entry: ContextEntry) -> None:
        """Record it without blocking an event loop; raises StoreError."""
        if self._terms.recorder is not None and self._terms.bounds.audit.limit:
            await self._terms.recorder.soon(self._flow(entry))
