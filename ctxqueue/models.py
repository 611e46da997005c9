"""What a caller meets: scopes, priorities, agents, entries, views and results.

One file, if a long one: whoever asks what a call takes or returns finds it here, and nothing here does anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta  # at run time too: tools read the signature of `Put`
from enum import Enum
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, NoReturn, Protocol, TypeVar

import msgspec

from ctxqueue import codec
from ctxqueue.clock import EPOCH
from ctxqueue.errors import AccessDenied, InvalidName, UnknownPriority, UnknownScope

T = TypeVar("T")

MAX_NAME = 256
"""Bytes of UTF-8 in a key, workflow id, agent id or group."""

GLOBAL_WORKFLOW = "\x1fglobal"
"""The workflow that holds a namespace's global context; no caller's id has a control character."""

AGENT_STATE = "\x1fstate"
"""The key, in an agent's private scope, of what `set_agent_state` keeps."""

WORKING_MEMORY = "\x1fworking"
"""The key, in an agent's private scope, of its working memory."""

READS = "\x1fread"
"""The key, in an agent's private scope, of which entries of others its tasks have read, where that is noted."""


def is_reserved(key: str) -> bool:
    """Whether a key is one of ours, which no path shows as an entry."""
    return key.startswith("\x1f")


CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


def checked_name(name: str, what: str) -> str:
    """Return ``name``; raises InvalidName if it is not a usable key, workflow id, agent id or group."""
    if not isinstance(name, str):
        raise InvalidName(f"{what} is a {type(name).__name__}: give a string")
    if not name:
        raise InvalidName(f"{what} is empty: give it a name of 1 to {MAX_NAME} bytes")
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidName(f"{what} {name[:40]!r} is not valid Unicode: {error.reason}") from error
    if size > MAX_NAME:
        raise InvalidName(f"{what} {name[:40]!r}... has {size} bytes: at most {MAX_NAME} are allowed")
    if CONTROL_CHARACTERS.search(name):
        raise InvalidName(f"{what} {name[:40]!r} has control characters: leave them out")
    return name


class ContextScope(Enum):
    """Where an entry stands, from the widest to the innermost."""

    GLOBAL = "global"
    WORKFLOW = "workflow"
    AGENT_GROUP = "agent_group"
    PRIVATE = "private"

    letter: str
    """What an address of this scope begins with."""
    ordinal: int
    """0 for global up to 3 for private."""

    @classmethod
    def parse(cls, scope: str | ContextScope) -> ContextScope:
        """Return the member; raises UnknownScope."""
        try:
            return cls(scope)
        except ValueError:
            raise UnknownScope(f"scope {scope!r} is none of {', '.join(member.value for member in cls)}") from None


ContextScope.GLOBAL.letter = "w"  # the global context is a workflow of its own, with plain addresses
ContextScope.WORKFLOW.letter = "w"
ContextScope.AGENT_GROUP.letter = "g"
ContextScope.PRIVATE.letter = "p"
for _ordinal, _scope in enumerate(ContextScope):
    _scope.ordinal = _ordinal


class ContextPriority(Enum):
    """How much an entry matters when room runs out, and how its lists merge; never how long it lives."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    rank: int
    """3 for critical down to 0 for low: priorities are ordered by this, never by their text."""

    @classmethod
    def parse(cls, priority: str | ContextPriority) -> ContextPriority:
        """Return the member; raises UnknownPriority."""
        try:
            return cls(priority)
        except ValueError:
            raise UnknownPriority(
                f"priority {priority!r} is none of {', '.join(member.value for member in cls)}"
            ) from None


BY_RANK = (ContextPriority.LOW, ContextPriority.MEDIUM, ContextPriority.HIGH, ContextPriority.CRITICAL)
for _rank, _priority in enumerate(BY_RANK):
    _priority.rank = _rank


class Address(NamedTuple):
    """Where one entry stands in its workflow. ``owner`` is the agent, the group, or empty."""

    scope: ContextScope
    owner: str
    key: str

    def encode(self) -> str:
        """Return the form the stores use; names hold no control characters, so it cannot be ambiguous."""
        return f"{self.scope.letter}\0{self.owner}\0{self.key}"

    @classmethod
    def decode(cls, encoded: str, *, of_global: bool) -> Address:
        """Undo ``encode``; ``of_global`` says that it was read from the global context."""
        letter, owner, key = encoded.split("\0", 2)
        if letter == "w":
            return cls(ContextScope.GLOBAL if of_global else ContextScope.WORKFLOW, "", key)
        return cls(ContextScope.PRIVATE if letter == "p" else ContextScope.AGENT_GROUP, owner, key)


AGENT_SUFFIX = re.compile(r"(?<=.)_(?:\d+|[0-9a-fA-F]{6,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\Z")


OPERATOR_ID = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Agent:
    """Who reads and writes.

    ``agent_type`` defaults to the id without a last part that is digits, a UUID or six or more hex digits:
    ``web_extractor_001`` is a ``web_extractor``, ``financial_validator`` stays whole.
    """

    agent_id: str
    agent_type: str = ""
    agent_role: str | None = None
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.agent_id, "agent_id")
        if self.agent_id == OPERATOR_ID and "OPERATOR" in globals():
            raise InvalidName(f"agent_id {OPERATOR_ID!r} is the operator's: name no agent to act as the operator")
        for group in self.groups:
            checked_name(group, "group")
        object.__setattr__(self, "groups", tuple(dict.fromkeys(self.groups)))
        if self.agent_role is not None:
            checked_name(self.agent_role, "agent_role")
        if self.agent_type:
            checked_name(self.agent_type, "agent_type")
        else:
            object.__setattr__(self, "agent_type", AGENT_SUFFIX.sub("", self.agent_id))

    @property
    def is_operator(self) -> bool:
        """Whether this is the operator, who acts where no agent was named."""
        return self is OPERATOR


OPERATOR = Agent(OPERATOR_ID, OPERATOR_ID)


GIVEN = "given"
"""Why an entry is sensitive: its writer said so."""


Disclosure = Literal["clear", "secret", "concealed"]
"""How a sensitive value arrives: as it is, as a `Secret` that its reader may reveal, as one that nobody can."""


class Revealing(Protocol):
    """What records that a value is taken."""

    def now(self, entry: ContextEntry) -> None:
        """Record it; raises StoreError, SyncInAsyncError."""
        ...

    async def soon(self, entry: ContextEntry) -> None:
        """Record it, awaited; raises StoreError."""
        ...


class Secret:
    """A sensitive value, in clear only by ``reveal()``; its text and repr show nothing of it."""

    __slots__ = ("_entry", "_value")

    def __init__(self, *value: Any, entry: ContextEntry | None = None) -> None:
        self._value = value
        self._entry = entry

    def reveal(self) -> Any:
        """Return the value in clear, and record that it was taken.

        In an event loop that record is on its way when this returns: `areveal` awaits it. Raises AccessDenied if its
        reader was not given it, StoreError if it cannot be recorded, SyncInAsyncError in a loop for one that was not
        handed out there.
        """
        value = self._taken()
        if self._entry is not None and self._entry.revealing is not None:
            self._entry.revealing.now(self._entry)
        return value

    async def areveal(self) -> Any:
        """Return the value in clear once it is recorded that it was taken; raises AccessDenied, StoreError."""
        value = self._taken()
        if self._entry is not None and self._entry.revealing is not None:
            await self._entry.revealing.soon(self._entry)
        return value

    def _taken(self) -> Any:
        if not self._value:
            raise AccessDenied("the operator reads a sensitive value only with reveal=True")
        return self._value[0]

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be copied or pickled: that would put its value in clear elsewhere")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    __hash__ = None  # type: ignore[assignment]  # values may be unhashable


class Veiled:
    """A sensitive value's bytes in an entry: what shows or copies all fields of an entry does not show or copy them."""

    __slots__ = ("_packed",)

    def __init__(self, packed: bytes = b"") -> None:
        self._packed = packed

    def taken(self) -> bytes:
        """Return them."""
        return self._packed

    def __repr__(self) -> str:
        return "<redacted>"

    def __reduce__(self) -> tuple[type[Veiled], tuple[()]]:
        return Veiled, ()

    def __getstate__(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Veiled) and self._packed == other._packed

    def __hash__(self) -> int:
        return hash(self._packed)


@dataclass(frozen=True)
class ContextEntry:
    """One value at one address, with what is known of it. ``value`` is unpacked when first asked for."""

    key: str
    scope: ContextScope
    owner: str
    agent_id: str
    """Who wrote this version."""
    created_by: str
    priority: ContextPriority
    version: int
    revision: int
    """The workflow's revision that wrote this version."""
    timestamp: datetime
    expires_at: datetime | None
    metadata: Mapping[str, Any]
    dependencies: tuple[str, ...]
    pinned: bool
    sensitive: bool
    disclosure: Disclosure = field(repr=False)
    packed: bytes | Veiled = field(repr=False)
    why_sensitive: str = ""
    """``given`` by its writer, its ``name``, ``rule: ...`` of the policy, ``detector: ...``; empty: it is not."""

    @cached_property
    def value(self) -> Any:
        """The value; a `Secret` if the entry is sensitive and was not read with ``reveal=True``."""
        if not self.sensitive or self.disclosure == "clear":
            return codec.unpack(self.packed_value())
        return Secret() if self.disclosure == "concealed" else Secret(codec.unpack(self.packed_value()), entry=self)

    def packed_value(self) -> bytes:
        """Return the value by the codec, in clear; empty if it is concealed."""
        return self.packed.taken() if isinstance(self.packed, Veiled) else self.packed

    @property
    def revealing(self) -> Revealing | None:
        """What is told when the value is taken; None: nobody wants to know."""
        found: Revealing | None = vars(self).get("_revealing")
        return found

    @classmethod
    def of(
        cls,
        key: str,
        value: Any,
        agent_id: str,
        scope: str | ContextScope = ContextScope.WORKFLOW,
        priority: str | ContextPriority = ContextPriority.MEDIUM,
        *,
        owner: str = "",
        metadata: Mapping[str, Any] | None = None,
        version: int = 1,
        expires_at: datetime | None = None,
        dependencies: Sequence[str] = (),
        pinned: bool = False,
        sensitive: bool = False,
    ) -> ContextEntry:
        """Make an entry for a `ContextStorage` to write. Raises InvalidInput."""
        where = ContextScope.parse(scope)
        return cls(
            key=checked_name(key, "key"),
            scope=where,
            owner=owner or (agent_id if where is ContextScope.PRIVATE else ""),
            agent_id=checked_name(agent_id, "agent_id"),
            created_by=agent_id,
            priority=ContextPriority.parse(priority),
            version=version,
            revision=0,
            timestamp=datetime.now(UTC),
            expires_at=expires_at,
            metadata=dict(metadata or {}),
            dependencies=tuple(dependencies),
            pinned=pinned,
            sensitive=sensitive,
            disclosure="clear",
            packed=Veiled(codec.pack(value)) if sensitive else codec.pack(value),
            why_sensitive=GIVEN if sensitive else "",
        )

    @property
    def place(self) -> str:
        """What it is called among all entries of its workflow: the key, after its owner's name if it has one."""
        return f"{self.owner}/{self.key}" if self.owner else self.key

    def __getstate__(self) -> dict[str, Any]:
        """Leave a sensitive value behind: a pickled entry may lie in a broker or a result backend."""
        state = dict(self.__dict__)
        state.pop("_revealing", None)
        if self.sensitive:
            state.pop("value", None)
            state |= {"disclosure": "concealed", "packed": b""}
        return state

    def to_dict(self) -> dict[str, Any]:
        """Return the entry's fields as JSON-like values, its own value as it is read."""
        return {
            "key": self.key,
            "value": self.value,
            "agent_id": self.agent_id,
            "timestamp": self.timestamp.isoformat(),
            "scope": self.scope.value,
            "priority": self.priority.value,
            "metadata": dict(self.metadata),
            "version": self.version,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "dependencies": list(self.dependencies),
        }


class Put(msgspec.Struct, frozen=True):
    """A value with its own options, for use inside ``update``; what is left out is kept, or as by rule."""

    value: Any
    priority: str | ContextPriority | None = None
    scope: str | ContextScope | None = None
    group: str | None = None
    ttl: float | timedelta | None = None
    pinned: bool | None = None
    depends_on: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    sensitive: bool | None = None
    expected_version: int | None = None

    def __repr__(self) -> str:
        """Show how it is to be written, not what: whether that is sensitive is not known before its key is."""
        options = {name: getattr(self, name) for name in self.__struct_fields__ if name != "value"}
        given = [f"{name}={option!r}" for name, option in options.items() if option is not None]
        return f"Put({', '.join(['...', *given])})"


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """What is known of a workflow; a `ContextStorage` fills in its entries and agents' states too."""

    workflow_id: str
    revision: int = 0
    created_at: datetime = EPOCH
    metadata: Mapping[str, Any] = field(default_factory=dict)
    context_entries: dict[str, ContextEntry] = field(default_factory=dict)
    """By key; those of one agent or group by ``owner/key``, those of the global context are not among them."""
    agent_states: dict[str, dict[str, Any]] = field(default_factory=dict)
    updated_at: datetime | None = None
    """When the last commit was; None where it was not looked for: a `ContextStorage` does."""
    etag: str = ""
    """Of the state that was read; empty for one that is made here, and of an earlier revision."""

    def add_entry(self, entry: ContextEntry) -> None:
        """Add or replace an entry in this copy; a storage writes it."""
        self.context_entries[entry.place] = entry

    def get_entry(self, key: str) -> ContextEntry | None:
        """Return an entry of this copy."""
        return self.context_entries.get(key)


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    """What the operator sees of a workflow at a glance."""

    workflow_id: str
    revision: int
    created_at: datetime
    closed_at: datetime | None
    entries: int
    """Those that have expired and are not swept yet, and agents' states, among them."""
    bytes: int
    """Of all entries with what is known of them."""
    log_records: int
    stored_updates: int
    """In its inbox, dead letters among them."""
    dead_letters: int
    triggers: int
    """Armed, fired or ended, as far as they are kept."""
    waiting: bool
    """Whether a task, a trigger or a caller waits in it; it may be true for a little longer."""
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What one update did."""

    revision: int
    versions: Mapping[str, int]
    replayed: bool
    """The call had taken effect before; this is its first outcome."""
    attempts: int
    """1, and one more for each time another writer came first."""
    fired: int
    """How many parked tasks the commit released at once."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and where the next page starts (None: this was the last)."""

    items: tuple[T, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a workflow, as its log has it: metadata only."""

    revision: int
    key: str
    scope: ContextScope
    owner: str
    version: int
    """That was written, or that was removed."""
    kind: Literal["put", "deleted", "expired", "evicted"]
    agent_id: str
    """Who wrote or deleted; empty where nobody did."""
    at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """What a watch says where it has nothing to show: that it has seen all up to a revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class EraseReport:
    """What ``erase`` removed: memories, entries and earlier values of others, in as many workflows as there are."""

    workflows: int
    entries: int
    values: int
    memories: int = 0
    updates: int = 0
    """Stored ones that had yet to be done, and dead letters."""
    triggers: int = 0
    """Subscriptions among them, and what was kept of those that have ended."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a namespace has yet to do: nothing of it for long, while beat and a worker run."""

    overdue: int
    """Expiries, deadlines, messages to be sent again and the like whose time has come."""
    oldest_overdue: float
    """Seconds since the first of them was due; 0 if nothing is."""
    outbox: int
    """Messages that were released and that no broker has taken yet."""
    outbox_age: float
    """Seconds for which the oldest has been left to whoever comes; 0 while its committer is publishing it."""


@dataclass(frozen=True, slots=True)
class ParkedTask:
    """A task that waits without a worker, as the operator sees it."""

    run_id: str
    workflow_id: str
    needs: tuple[str, ...]
    """The keys of its condition, or their terms where it is not about presence alone."""
    parked_at: datetime
    deadline: datetime | None
    task: str = ""
    """Its name; with `task_id`, only the app's own `ContextQueue.parked` can tell."""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class RotationReport:
    """What `rotate_keys` encrypted anew: entries' values, earlier ones too, and memories."""

    workflows: int
    values: int
    memories: int
    refused: int
    """That do not open, or are in clear where they may not be: they are left as they are."""
    left: int
    """Under an older key, until they end by themselves: armed triggers, and what workflows were opened with."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A stored update that came to no outcome: it waits to be replayed or dropped, and is tried no more."""

    id: str
    workflow_id: str
    agent_id: str
    at: datetime
    """When it was set aside."""
    attempts: int
    reason: str
    size: int
    """Bytes of the stored update; its values are not shown."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a subscription has told its agent of: the keys that others had changed, and the newest of those commits."""

    at: datetime
    subscription: str
    keys: tuple[str, ...]
    revision: int
    agent_id: str
    """Who made it; empty where nobody did, as for an entry that expired."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did: ``scanned`` due items, of which some were renewed meanwhile (``kept``)."""

    scanned: int = 0
    expired: int = 0
    evicted: int = 0
    kept: int = 0
    seconds: float = 0.0
    complete: bool = True
    """False: the limit was reached, more is due."""


EntryFilter = Callable[[list[ContextEntry], Agent], list[ContextEntry]]
"""Narrows what is relevant for an agent; it cannot add to what the agent may see."""
