"""Storing memories: checked, embedded, each once."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ctxqueue import codec
from ctxqueue.clock import microseconds, since_epoch
from ctxqueue.effects import Flow, NewMemory, StoreMemories, do, work
from ctxqueue.errors import InvalidInput, ModelMismatch, NotSerializable, ValueTooLarge
from ctxqueue.flows.superseding import supersede_alike
from ctxqueue.models import checked_name
from ctxqueue.remembered import KINDS, NO_MODEL, ROW_VERSION, Body, Reader, Said, memory_id_of, pack_body
from ctxqueue.rules.remembering import why_sensitive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ctxqueue.effects import MemoryKind
    from ctxqueue.flows.memory_terms import MemoryTerms
    from ctxqueue.models import Agent, ContextScope
    from ctxqueue.remembered import Owner
    from ctxqueue.rules.policy import Policy

MAX_CONTENT = 64 * 1024
"""Bytes of one memory's text, and of its packed metadata."""
MOST = 2**63 - 1
"""The largest whole number that a row can hold."""
ROWS_A_CALL = 50
BYTES_A_CALL = 256 * 1024


class Item(NamedTuple):
    """One memory to be stored, checked."""

    owner: Owner
    kind: MemoryKind
    said: Said
    importance: float
    pinned: bool
    ttl_us: int | None
    agent: Agent | None = None
    """Who remembers, where that was told with type, role and groups."""

    def memory_id(self, policy: Policy) -> str:
        """Return the id that it will have."""
        return memory_id_of(self.owner, self.kind, self.said, sensitive=why_sensitive(policy, self.said) != "")


def checked(
    content: str,
    memory_type: str = "semantic",
    *,
    metadata: Mapping[str, Any] | None = None,
    agent_id: str | Agent | None = None,
    user_id: str | None = None,
    scope: str | ContextScope | None = None,
    at: datetime | str | None = None,
    session: str | int | None = None,
    sequence: float | None = None,
    speaker: str | None = None,
    importance: float = 0.5,
    pinned: bool = False,
    ttl: float | timedelta | None = None,
) -> Item:
    """Return what a caller wants remembered; raises InvalidInput."""
    kind = checked_kind(memory_type)
    reader = Reader.checked(agent_id, user_id)
    if isinstance(session, bool) or not isinstance(session, str | int | None):
        raise InvalidInput(f"session is {session!r:.80}: give a name or a number")
    if isinstance(session, int) and abs(session) > MOST:
        raise InvalidInput(f"session is {_shown(session)}: give a name, or a number of at most 63 bits")
    if sequence is not None and not _is_number(sequence):
        raise InvalidInput(f"sequence is {_shown(sequence)}: give a number of at most 63 bits")
    if not _is_number(importance) or not 0 <= importance <= 1:
        raise InvalidInput(f"importance is {_shown(importance)}: give a number from 0 to 1")
    said = Said(
        content=checked_text(content, "content"),
        agent_id=reader.agent_id or "",
        user_id=user_id or "",
        metadata=_packed_metadata(metadata),
        at_us=None if at is None else checked_instant(at, "at"),
        session=checked_name(session, "session") if isinstance(session, str) else session,
        sequence=sequence,
        speaker=checked_name(speaker, "speaker") if speaker else "",
    )
    ttl_us = None if ttl is None else microseconds(ttl, "ttl")
    return Item(reader.owner(scope), kind, said, float(importance), bool(pinned), ttl_us, reader.agent)


def checked_item(item: Any) -> Item:
    """Return an item of `remember_many`: a text, or a mapping of `remember`'s arguments; raises InvalidInput."""
    if isinstance(item, str):
        return checked(item)
    if not isinstance(item, Mapping):
        raise InvalidInput(f"an item is a {type(item).__name__}: give a text, or a mapping of remember's arguments")
    try:
        return checked(**item)
    except TypeError as error:
        raise InvalidInput(f"an item of remember_many: {error}") from error


def checked_text(text: Any, what: str) -> str:
    """Return a text; raises InvalidInput for none, ValueTooLarge for a very long one."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is a {type(text).__name__}: give a text")
    if not text.strip():
        raise InvalidInput(f"{what} is empty: give a text")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise NotSerializable(f"{what} is not valid Unicode: {error.reason}") from error
    if size > MAX_CONTENT:
        raise ValueTooLarge(f"{what} has {size} bytes: at most {MAX_CONTENT}; remember its parts")
    return text


def checked_kind(memory_type: str) -> MemoryKind:
    """Return the type of a long-term memory; raises InvalidInput."""
    if memory_type not in KINDS:
        hint = "; working memory is kept with a workflow: memory.working(workflow_id, agent_id)"
        raise InvalidInput(
            f"memory_type {memory_type!r:.80} is none of {', '.join(KINDS)}{hint if memory_type == 'working' else ''}"
        )
    kind: MemoryKind = memory_type  # type: ignore[assignment]  # it is one of them
    return kind


def checked_instant(moment: datetime | str, what: str) -> int:
    """Return a datetime, or one in ISO form, in microseconds since 1970; one without a zone is UTC."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise InvalidInput(f"{what} is {moment!r:.80}: give a datetime, or one in ISO form") from error
    if not isinstance(moment, datetime):
        raise InvalidInput(f"{what} is a {type(moment).__name__}: give a datetime, or one in ISO form")
    return since_epoch(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _shown(value: Any) -> str:
    """Return it for an error; Python writes no number of very many digits."""
    return f"of {value.bit_length()} bits" if isinstance(value, int) and abs(value) > MOST else f"{value!r:.80}"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MOST if isinstance(value, int) else math.isfinite(value)


def _packed_metadata(metadata: Mapping[str, Any] | None) -> bytes:
    if not metadata:
        if metadata is None or isinstance(metadata, Mapping):
            return b""
    elif isinstance(metadata, Mapping):
        if wrong := [name for name in metadata if not isinstance(name, str)]:
            raise InvalidInput(f"metadata has a key {wrong[0]!r:.80}: give names as texts")
        packed = codec.pack(dict(metadata))
        if len(packed) > MAX_CONTENT:
            raise ValueTooLarge(f"metadata of a memory takes {len(packed)} bytes: at most {MAX_CONTENT}")
        return packed
    raise InvalidInput(f"metadata is a {type(metadata).__name__}: give a mapping")


def remember(terms: MemoryTerms, items: Sequence[Item], *, embedded: bool = True) -> Flow[list[str]]:
    """Store memories, and return their ids: "" for one that is not worth keeping.

    Without being ``embedded`` they wait for their vectors, and neither model nor numpy is loaded for them. Raises
    EmbedderError, DimensionMismatch, ModelMismatch before anything is stored.
    """
    kept = [item for item in items if _is_worth(terms, item)]
    ids: dict[int, str] = {}
    if kept:
        model, vectors = NO_MODEL, [b""] * len(kept)
        if embedded:
            library = terms.library()
            vectors = yield from do(work(partial(library.encode, [item.said for item in kept])))
            model = library.model
        by_owner: dict[Owner, list[NewMemory]] = {}
        for item, vector in zip(kept, vectors, strict=True):
            row = _row(terms, item, model, vector)
            ids[id(item)] = row.memory_id
            by_owner.setdefault(item.owner, []).append(row)
        if len(by_owner) > 1 or len(kept) > ROWS_A_CALL:
            for owner in by_owner:  # nothing goes in unless all can
                yield from _stored(owner, (), model)
        for owner, rows in by_owner.items():
            yield from terms.registered(owner)
            new: list[str] = []
            for batch in _batches(rows):
                outcome = yield from _stored(owner, batch, model)
                new += [row.memory_id for row, is_new in zip(batch, outcome, strict=True) if is_new]
            if embedded:
                yield from supersede_alike(terms, owner, new)
    return [ids.get(id(item), "") for item in items]


def _row(terms: MemoryTerms, item: Item, model: str, vector: bytes, change: bytes = b"") -> NewMemory:
    why = why_sensitive(terms.policy, item.said)
    body = Body(ROW_VERSION, item.owner.name, item.said, item.importance, model, vector, change=change, why=why)
    memory_id = memory_id_of(item.owner, item.kind, item.said, sensitive=why != "")
    return NewMemory(memory_id, item.kind, pack_body(body), item.pinned, item.ttl_us)


def _is_worth(terms: MemoryTerms, item: Item) -> bool:
    if terms.worth_keeping is None:
        return True
    metadata = codec.unpack(item.said.metadata) if item.said.metadata else {}
    return bool(terms.worth_keeping(item.said.content, item.kind, metadata))


def _batches(rows: Iterable[NewMemory]) -> Iterator[tuple[NewMemory, ...]]:
    batch: list[NewMemory] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == ROWS_A_CALL or size + len(row.body) > BYTES_A_CALL):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(row)
        size += len(row.body)
    if batch:
        yield tuple(batch)


def made(terms: MemoryTerms, item: Item, change: bytes) -> Flow[bool]:
    """Store one memory as a change has made it; False if it is there.

    Raises EmbedderError, DimensionMismatch, ModelMismatch.
    """
    library = terms.library()
    (vector,) = yield from do(work(partial(library.encode, [item.said])))
    yield from terms.registered(item.owner)
    (is_new,) = yield from _stored(item.owner, (_row(terms, item, library.model, vector, change),), library.model)
    return is_new


def _stored(owner: Owner, rows: tuple[NewMemory, ...], model: str) -> Flow[tuple[bool, ...]]:
    reply = yield from do(StoreMemories(owner.digest, uuid.uuid4().hex, rows, model))
    if reply.model:
        raise ModelMismatch(
            f"the memories of {owner.agent or owner.user or 'everybody'} have vectors of {reply.model}, this process"
            f" embeds with {model}: nothing was stored. Call reembed(embedder), or use that model"
        )
    return reply.made
