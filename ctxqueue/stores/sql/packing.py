"""What only the engine looks into, as bytes."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import astuple

from ctxqueue import effects as fx
from ctxqueue.stores.engine.state import Answer, Parked, Run

pack = msgspec.msgpack.Encoder().encode
run = msgspec.msgpack.Decoder(Run).decode
answer = msgspec.msgpack.Decoder(Answer).decode
parked = msgspec.msgpack.Decoder(Parked).decode
keys = msgspec.msgpack.Decoder(tuple[str, ...]).decode
condition = msgspec.msgpack.Decoder(list[Any]).decode


class _Change(msgspec.Struct, array_like=True):
    """A `Logged`. New fields go to the end, with a default."""

    kind: str
    address: str
    version: int
    before: int
    sensitive: bool
    agent_id: str = ""


_log = msgspec.msgpack.Decoder(tuple[bytes, str, int, list[_Change]]).decode


def pack_log(record: fx.LogRecord) -> bytes:
    """Return a log record, without its revision, as arrays."""
    changes = [
        _Change(change.kind, change.address, change.version, change.before, change.sensitive, change.agent_id)
        for change in record.changes
    ]
    return pack((record.commit_id, record.agent_id, record.at_us, changes))


def log(revision: int, packed: bytes) -> fx.LogRecord:
    """Undo `pack_log`."""
    commit_id, agent_id, at_us, changes = _log(packed)
    logged = tuple(fx.Logged(*astuple(change)) for change in changes)
    return fx.LogRecord(revision, commit_id, agent_id, at_us, logged)
