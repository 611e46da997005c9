"""What only the engine looks into, as bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from ctxqueue import effects as fx
from ctxqueue.errors import RecordDamaged
from ctxqueue.stores.engine.held import Answer, Parked, Ready, Run, Trigger

pack = msgspec.msgpack.Encoder().encode
run = msgspec.msgpack.Decoder(Run).decode
answer = msgspec.msgpack.Decoder(Answer).decode
ready = msgspec.msgpack.Decoder(Ready).decode
trigger = msgspec.msgpack.Decoder(Trigger).decode
parked = msgspec.msgpack.Decoder(Parked).decode
keys = msgspec.msgpack.Decoder(tuple[str, ...]).decode
notices = msgspec.msgpack.Decoder(list[bytes]).decode
condition = msgspec.msgpack.Decoder(list[Any]).decode

_log = msgspec.msgpack.Decoder(tuple[bytes, str, int, tuple[fx.Logged, ...]]).decode


def pack_log(record: fx.LogRecord) -> bytes:
    """Return a log record, without its revision, as arrays."""
    return pack((record.commit_id, record.agent_id, record.at_us, record.changes))


def log(revision: int, packed: bytes) -> fx.LogRecord:
    """Undo `pack_log`."""
    return fx.LogRecord(revision, *_log(packed))


_audited = msgspec.msgpack.Decoder(tuple[fx.AuditAction, str, str, bytes, str, int, tuple[tuple[str, int], ...]]).decode


def pack_audited(record: fx.Audited) -> bytes:
    """Return a record of the audit log, without its id, as an array."""
    return pack(
        (
            *(record.action, record.agent_id, record.workflow_id, record.origin),
            *(record.detail, record.revision, record.places),
        )
    )


def audited(record_id: bytes, packed: bytes) -> fx.Audited:
    """Undo `pack_audited`."""
    try:
        return fx.Audited(record_id, *_audited(packed))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"record {record_id.hex()} of the audit log is damaged: {type(error).__name__}") from None
