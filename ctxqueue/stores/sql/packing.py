"""What only the engine looks into, as bytes."""

from __future__ import annotations

import msgspec

from ctxqueue.stores.engine.state import Answer, Parked, Run

pack = msgspec.msgpack.Encoder().encode
run = msgspec.msgpack.Decoder(Run).decode
answer = msgspec.msgpack.Decoder(Answer).decode
parked = msgspec.msgpack.Decoder(Parked).decode
