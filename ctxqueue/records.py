"""The bytes of one entry, the same in every store that keeps bytes.

``header | agent id | meta | value``. The header has a fixed form, so that a store's script can write it: codec
version, version, revision, instant written, instant of expiry (0: none), lengths of agent id and meta, commit id.
Meta and value are msgpack; a script copies them without looking inside.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ctxqueue import codec
from ctxqueue.clock import instant
from ctxqueue.errors import RecordDamaged, RecordTooNew, ValueTooLarge
from ctxqueue.models import BY_RANK, GIVEN, Address, ContextEntry, ContextPriority, Disclosure, Veiled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

HEADER = struct.Struct(">BddddHH8s")
MAX_META = 0xFFFF
SMALL_META = 128


class Stamp(NamedTuple):
    """Which write this is: versions can be reissued after a server lost its last commits, the pair cannot."""

    version: int
    commit_id: bytes


class Header(NamedTuple):
    """The fixed part of a record, instants in microseconds."""

    stamp: Stamp
    revision: int
    written_us: int
    expires_us: int
    agent_end: int
    meta_end: int


class Standing(NamedTuple):
    """What an update needs of the record that stands somewhere."""

    stamp: Stamp
    meta: bytes
    value: bytes
    """Packed."""

    @classmethod
    def of(cls, record: bytes) -> Standing:
        """Return it for a record; raises RecordTooNew."""
        header = decode_header(record)
        return cls(header.stamp, record[header.agent_end : header.meta_end], record[header.meta_end :])


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an entry besides its value. New fields go to the end, with a default."""

    created_by: str
    rank: int
    pinned: bool
    sensitive: bool
    depends_on: tuple[str, ...]
    metadata: bytes
    """Packed; empty for none."""
    why: str = ""
    """By what it is sensitive: `rules.access.why_sensitive`."""


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode


@lru_cache(maxsize=4_096)
def _small_meta(encoded: bytes) -> Meta:
    return _decode_meta(encoded)


def decode_meta(encoded: bytes) -> Meta:
    """Undo `encode_meta`; raises RecordDamaged."""
    try:
        # Most entries have no more to say of themselves than what many others of their writer say too.
        return _small_meta(encoded) if len(encoded) <= SMALL_META else _decode_meta(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"what a record says of itself is damaged: {type(error).__name__}") from error


def encode_meta(
    created_by: str,
    priority: ContextPriority,
    *,
    pinned: bool,
    sensitive: bool,
    depends_on: tuple[str, ...],
    metadata: Mapping[str, Any] | None,
    why: str = "",
) -> bytes:
    """Return the bytes; raises ValueTooLarge over 64 KB, NotSerializable."""
    packed = codec.pack(dict(metadata)) if metadata else b""
    encoded = _encode_meta(Meta(created_by, priority.rank, pinned, sensitive, depends_on, packed, why))
    if len(encoded) > MAX_META:
        raise ValueTooLarge(f"metadata and dependencies take {len(encoded)} bytes: at most {MAX_META} are allowed")
    return encoded


def decode_header(record: bytes) -> Header:
    """Return the fixed part; raises RecordTooNew if a newer version of the codec wrote the record."""
    if len(record) < HEADER.size:
        raise RecordDamaged(f"a record has {len(record)} bytes: less than its header")
    if record[0] > codec.CODEC_VERSION:
        raise RecordTooNew(
            f"a record has codec version {record[0]}, this process knows up to {codec.CODEC_VERSION}: upgrade it"
        )
    _, version, revision, written, expires, agent_size, meta_size, commit_id = HEADER.unpack_from(record)
    agent_end = HEADER.size + agent_size
    try:
        stamp = Stamp(int(version), commit_id)
        return Header(stamp, int(revision), int(written), int(expires), agent_end, agent_end + meta_size)
    except (ValueError, OverflowError):  # no number, or an endless one
        raise RecordDamaged("the header of a record is damaged: its numbers are none") from None


def encode_record(
    stamp: Stamp, revision: int, written_us: int, expires_us: int, agent_id: bytes, meta: bytes, value: bytes
) -> bytes:
    """Return the record; what `commit.lua` does inside the server."""
    return (
        HEADER.pack(
            codec.CODEC_VERSION,
            stamp.version,
            revision,
            written_us,
            expires_us,
            len(agent_id),
            len(meta),
            stamp.commit_id,
        )
        + agent_id
        + meta
        + value
    )


def meta_of(record: bytes, header: Header) -> Meta:
    """Return the decoded meta part; raises RecordDamaged."""
    return decode_meta(record[header.agent_end : header.meta_end])


def is_sensitive(record: bytes) -> bool:
    """Whether a record says that its entry is sensitive."""
    return meta_of(record, decode_header(record)).sensitive


def value_of(record: bytes, header: Header) -> bytes:
    """Return the packed value."""
    return record[header.meta_end :]


def _packed(value: bytes, *, sensitive: bool, disclosure: Disclosure) -> bytes | Veiled:
    if not sensitive:
        return value
    return b"" if disclosure == "concealed" else Veiled(value)


def decode_entry(address: Address, record: bytes, disclosure: Disclosure = "secret", mark: str = "") -> ContextEntry:
    """Return the entry; its value is unpacked when first asked for. Raises RecordTooNew.

    ``disclosure`` says how a sensitive value arrives; a concealed one is not in the entry at all.
    ``mark`` is the rule by which it is sensitive whatever the record says.
    """
    header = decode_header(record)
    meta = meta_of(record, header)
    try:
        agent_id, timestamp = record[HEADER.size : header.agent_end].decode(), instant(header.written_us)
        expires_at = instant(header.expires_us) if header.expires_us else None
        priority = BY_RANK[meta.rank]
    except (ValueError, OverflowError, LookupError) as error:
        raise RecordDamaged(f"the record of {address.key!r} is damaged: {type(error).__name__}") from error
    return _entry(
        address,
        header.stamp.version,
        header.revision,
        timestamp,
        expires_at,
        agent_id,
        meta,
        priority,
        value_of(record, header),
        disclosure,
        mark,
    )


def written_entry(
    address: Address,
    stamp: Stamp,
    revision: int,
    written_us: int,
    expires_us: int,
    agent_id: str,
    meta: bytes,
    value: bytes,
) -> ContextEntry:
    """Return the entry that `decode_entry` finds in what was just written."""
    known = decode_meta(meta)
    expires_at = instant(expires_us) if expires_us else None
    return _entry(
        *(address, stamp.version, revision, instant(written_us), expires_at, agent_id, known, BY_RANK[known.rank]),
        *(value, "secret", ""),
    )


def _entry(
    address: Address,
    version: int,
    revision: int,
    timestamp: datetime,
    expires_at: datetime | None,
    agent_id: str,
    meta: Meta,
    priority: ContextPriority,
    value: bytes,
    disclosure: Disclosure,
    mark: str,
) -> ContextEntry:
    sensitive = meta.sensitive or mark != ""
    entry = object.__new__(ContextEntry)
    # Not by its __init__: a frozen dataclass sets each field with a call, which is most of the time this takes.
    vars(entry).update(
        key=address.key,
        scope=address.scope,
        owner=address.owner,
        agent_id=agent_id,
        created_by=meta.created_by,
        priority=priority,
        version=version,
        revision=revision,
        timestamp=timestamp,
        expires_at=expires_at,
        metadata=codec.unpack(meta.metadata) if meta.metadata else {},
        dependencies=meta.depends_on,
        pinned=meta.pinned,
        sensitive=sensitive,
        why_sensitive=meta.why or (f"rule: {mark}" if mark else GIVEN) if sensitive else "",
        disclosure=disclosure,
        packed=_packed(value, sensitive=sensitive, disclosure=disclosure),
    )
    return entry
