"""What a memory is, whose it is, and the bytes it is kept as: the same in every store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ctxqueue import codec
from ctxqueue.clock import instant
from ctxqueue.envelopes import opened
from ctxqueue.errors import InvalidInput, RecordDamaged, RecordTooNew, UnknownScope
from ctxqueue.models import Agent, ContextScope, checked_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

KINDS: Final = ("semantic", "episodic", "procedural")
"""Of long-term memories; working memory belongs to a workflow."""

ROW_VERSION: Final = 1
REDACTED: Final = "<redacted>"
NO_MODEL: Final = ""
"""Of a row that waits for its vector."""
DIGEST_SIZE: Final = 8
"""Bytes of an owner's digest."""


class Owner(NamedTuple):
    """Whose a memory is: everybody's, that of the agents of one type, or one agent's and user's own."""

    scope: ContextScope
    agent: str = ""
    """The agent's id if it is private, the agents' type if it is their group's."""
    user: str = ""

    @property
    def name(self) -> str:
        """The form that stores list; names hold no control characters, so it cannot be ambiguous."""
        return f"{self.scope.letter}\0{self.agent}\0{self.user}"

    @property
    def digest(self) -> str:
        """What a store calls it, and each of its memories' ids begins with."""
        return hashlib.blake2b(self.name.encode(), digest_size=DIGEST_SIZE).hexdigest()

    @classmethod
    def parse(cls, name: str) -> Owner:
        """Undo ``name``."""
        letter, agent, user = name.split("\0", 2)
        return cls(next(scope for scope in SCOPES if scope.letter == letter), agent, user)


SCOPES: Final = (ContextScope.GLOBAL, ContextScope.AGENT_GROUP, ContextScope.PRIVATE)
REQUESTS: Final = tuple(Owner(ContextScope.PRIVATE, f"\x01request{number}") for number in range(4))
"""Under these stands what workers are asked for: on no list, and no name that is checked holds such a character."""


class Reader(NamedTuple):
    """Who remembers or recalls. Nobody is the operator, who sees all."""

    agent_id: str | None
    user_id: str | None
    agent: Agent | None = None
    """Whom the policy is asked about; None: by the id alone."""

    @classmethod
    def checked(cls, agent_id: str | Agent | None, user_id: str | None) -> Reader:
        """Return it; raises InvalidName."""
        if isinstance(agent_id, Agent):
            return cls.checked(agent_id.agent_id, user_id)._replace(agent=agent_id)
        for what, name in (("agent_id", agent_id), ("user_id", user_id)):
            if name is not None:
                checked_name(name, what)
        return cls(agent_id, user_id)

    @property
    def agent_type(self) -> str:
        """The type of the agent that is named, as it was declared, else as its id says."""
        if self.agent is not None and self.agent.agent_id == self.agent_id:
            return self.agent.agent_type
        return Agent(self.agent_id).agent_type if self.agent_id is not None else ""

    @property
    def sees_all(self) -> bool:
        """Whether this is the operator."""
        return self.agent_id is None and self.user_id is None

    def owner(self, scope: str | ContextScope | None) -> Owner:
        """Return whose memory it is that this reader stores; raises UnknownScope, InvalidInput."""
        where = _parsed(scope) if scope is not None else None
        if where is None:
            where = ContextScope.GLOBAL if self.sees_all else ContextScope.PRIVATE
        if where is ContextScope.GLOBAL:
            return Owner(where)
        if where is ContextScope.AGENT_GROUP:
            if self.agent_id is None:
                raise InvalidInput("a memory of scope agent_group belongs to an agent's type: give an agent_id")
            return Owner(where, self.agent_type)
        if self.sees_all:
            raise InvalidInput("a private memory belongs to somebody: give an agent_id or a user_id")
        return Owner(where, self.agent_id or "", self.user_id or "")

    def visible(self, scope: str | ContextScope | None) -> list[Owner]:
        """Return whose memories this reader may see; not for the operator. Raises UnknownScope."""
        wanted = None if scope is None else _parsed(scope)
        owners = [Owner(ContextScope.GLOBAL)]
        if self.agent_id is not None:
            owners += [
                Owner(ContextScope.AGENT_GROUP, self.agent_type),
                Owner(ContextScope.PRIVATE, self.agent_id),
            ]
        if self.user_id is not None:
            owners.append(Owner(ContextScope.PRIVATE, "", self.user_id))
        if self.agent_id is not None and self.user_id is not None:
            owners.append(Owner(ContextScope.PRIVATE, self.agent_id, self.user_id))
        return [owner for owner in owners if wanted is None or owner.scope is wanted]

    def may_see(self, owner: Owner) -> bool:
        """Whether that owner's memories are visible."""
        return self.sees_all or owner in self.visible(None)


def told_of(agent: Agent) -> list[Any]:
    """Return an agent as messages and requests name it."""
    return [agent.agent_id, agent.agent_type, agent.agent_role, list(agent.groups)]


def agent_told(told: Sequence[Any]) -> Agent:
    """Undo `told_of`."""
    agent_id, agent_type, agent_role, groups = told
    return Agent(agent_id, agent_type, agent_role, tuple(groups))


def scoped(owners: list[Owner], scope: str | ContextScope | None) -> list[Owner]:
    """Return those of one scope, all if none is named; raises UnknownScope."""
    wanted = None if scope is None else _parsed(scope)
    return [owner for owner in owners if wanted is None or owner.scope is wanted]


def _parsed(scope: str | ContextScope) -> ContextScope:
    where = ContextScope.parse(scope)
    if where is ContextScope.WORKFLOW:
        raise UnknownScope(
            "a memory outlives workflows: its scope is global, agent_group or private; what is kept with a workflow"
            " is working memory, or an entry"
        )
    return where


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered; it changes only under a key. New fields go to the end, with a default."""

    content: str
    agent_id: str = ""
    user_id: str = ""
    metadata: bytes = b""
    """Packed; empty for none."""
    at_us: int | None = None
    session: str | int | None = None
    sequence: int | float | None = None
    speaker: str = ""
    key: str = ""
    """What tells it from others in its content's place: of a skill, whose words change with what is learned."""


class Body(msgspec.Struct, frozen=True, array_like=True):
    """All that a store keeps of a memory without looking inside. New fields go to the end, with a default."""

    version: int
    owner: str
    said: Said
    importance: float
    model: str
    """The embedder's name and dimension; empty while the row waits for its vector."""
    vector: bytes
    """float32, or the tokens that a pooling embedder makes one of."""
    superseded_by: str = ""
    change: bytes = b""
    """The marks of the changes that wrote it, the last first; see `marked`."""
    previous: tuple[str, bytes] = ("", b"")
    """Model and vector before it was embedded anew: processes that still embed with that one go on finding it."""
    why: str = ""
    """By what it is sensitive; empty: it is not."""

    @property
    def vectors(self) -> tuple[tuple[str, bytes], ...]:
        """The vectors that there are, by model."""
        return ((self.model, self.vector), self.previous) if self.previous[0] else ((self.model, self.vector),)


MARK, MOST_MARKS = 8, 32
"""Bytes of a change's mark, and how many of the last ones a row keeps."""


def marked(body: Body, mark: bytes) -> bytes:
    """Return the marks of a body once a change writes it."""
    return (mark + body.change)[: MARK * MOST_MARKS]


def has_mark(body: Body, mark: bytes) -> bool:
    """Whether a change has written it already: its answer was lost, or it was told again."""
    return any(body.change[place : place + MARK] == mark for place in range(0, len(body.change), MARK))


pack_body = msgspec.msgpack.Encoder().encode
_unpack_body = msgspec.msgpack.Decoder(Body).decode


def body_of(packed: bytes) -> Body:
    """Return a row's body; raises RecordTooNew if a newer version of ctxqueue wrote it."""
    try:
        body = _unpack_body(opened(packed))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"a stored memory is damaged: {type(error).__name__}") from error
    if body.version > ROW_VERSION:
        raise RecordTooNew(f"a memory has version {body.version}, this process knows up to {ROW_VERSION}: upgrade it")
    return body


def memory_id_of(owner: Owner, kind: str, said: Said, *, sensitive: bool) -> str:
    """Return the id of what is said: the same in every process, for the same owner, kind, words and occasion.

    A sensitive one has another id than a plain one that says the same: so whoever sees plain ones alone, and remembers
    what it guesses, gets a memory of its own, and does not learn by its absence that there is one which it may not see.
    """
    words = ["key", said.key] if said.key else said.content
    occasion = [kind, words, said.at_us, said.session, said.sequence, said.speaker]
    if sensitive:
        occasion.append("sensitive")
    digest = hashlib.blake2b(codec.pack(occasion), key=owner.digest.encode(), digest_size=16)
    return f"{owner.digest}-{digest.hexdigest()}"


def owner_digest_of(memory_id: str) -> str:
    """Return the digest of the owner that an id names; raises InvalidInput for what is no id."""
    digest, dash, rest = memory_id.partition("-") if isinstance(memory_id, str) else ("", "", "")
    if not dash or len(digest) != 2 * DIGEST_SIZE or not rest or not (digest + rest).isalnum():
        raise InvalidInput(f"{memory_id!r:.80} is no id of a memory")
    return digest


@dataclass(frozen=True)
class MemoryEntry:
    """One memory, and what is known of it. ``embedding`` is empty unless it was asked for."""

    id: str
    content: str
    memory_type: str
    metadata: Mapping[str, Any]
    timestamp: datetime
    """When it happened, if that was told, else when it was remembered."""
    access_count: int = 0
    relevance_score: float = 0.0
    """Of the recall that found it: its cosine similarity with the query."""
    owner: str = ""
    """The agent's, user's or group's name; empty for everybody's."""
    scope: ContextScope = ContextScope.GLOBAL
    agent_id: str = ""
    user_id: str = ""
    importance: float = 0.5
    pinned: bool = False
    created_at: datetime | None = None
    last_access: datetime | None = None
    expires_at: datetime | None = None
    session: str | int | None = None
    sequence: int | float | None = None
    speaker: str = ""
    model: str = ""
    """The embedder whose vector it has."""
    superseded_by: str = ""
    why_sensitive: str = ""
    """The ``name`` of something in its metadata, or ``detector: ...``; empty: it is not sensitive."""
    embedding: tuple[float, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        """Show its words, unless they are sensitive."""
        words = REDACTED if self.why_sensitive else self.content
        return f"<MemoryEntry {self.id} {self.memory_type} of {self.owner or self.scope.value}: {words!r}>"


@dataclass(frozen=True)
class Recalled:
    """A memory that a query found, best first by ``score``, and with ``explain=True`` what the score is made of."""

    memory: MemoryEntry
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RetentionReport:
    """What retention removed of how many owners, or (``dry_run``) would: by type, and why."""

    owners: int
    removed: Mapping[str, Mapping[str, int]]
    """Type -> {"expired": a time to live has ended, "aged": over its type's age, "surplus": over its number}."""
    dry_run: bool
    complete: bool = True
    """False: the limit was reached, and there may be more."""
    archive: str | None = None
    """The file that has them."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(sum(counts.values()) for counts in self.removed.values())


def entry_of(
    memory_id: str,
    kind: str,
    body: Body,
    created_us: int,
    *,
    expires_us: int = 0,
    pinned: bool = False,
    accesses: int = 0,
    accessed_us: int = 0,
    relevance: float = 0.0,
    conceals: bool = False,
) -> MemoryEntry:
    """Return the memory that a row holds; ``conceals``: without its words if they are sensitive."""
    said, owner = body.said, Owner.parse(body.owner)
    if conceals and body.why:
        said = msgspec.structs.replace(said, content=REDACTED, metadata=b"")
    return MemoryEntry(
        id=memory_id,
        content=said.content,
        memory_type=kind,
        metadata=codec.unpack(said.metadata) if said.metadata else {},
        timestamp=instant(created_us if said.at_us is None else said.at_us),
        access_count=accesses,
        relevance_score=relevance,
        owner="/".join(name for name in (owner.agent, owner.user) if name),
        scope=owner.scope,
        agent_id=said.agent_id,
        user_id=said.user_id,
        importance=body.importance,
        pinned=pinned,
        created_at=instant(created_us),
        last_access=instant(accessed_us) if accessed_us else None,
        expires_at=instant(expires_us) if expires_us else None,
        session=said.session,
        sequence=said.sequence,
        speaker=said.speaker,
        model=body.model,
        superseded_by=body.superseded_by,
        why_sensitive=body.why,
    )
