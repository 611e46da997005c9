"""Updates at rest: what names one, what is stored of it, and how its failure is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote, unquote

import msgspec

from ctxqueue import codec, errors, signing
from ctxqueue.envelopes import opened
from ctxqueue.errors import CtxqueueError, InvalidInput, RecordDamaged, UpdateAbandoned
from ctxqueue.models import Agent, Put

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctxqueue.signing import Signer

OPTIONS = tuple(name for name in Put.__struct_fields__ if name != "value")


class UpdateRef(NamedTuple):
    """The name of a stored update. Its operation is the agent's own, as with a direct call."""

    home: str
    """The workflow that holds it: the one that it writes to."""
    agent_id: str
    operation_id: str

    @property
    def update_id(self) -> str:
        """Its name within the inbox."""
        return f"{self.agent_id}\0{self.operation_id}"

    @property
    def owner(self) -> str:
        """Of its journal; see `identity.Identified`."""
        return f"operation:{self.update_id}"

    @classmethod
    def of(cls, home: str, update_id: str) -> Self:
        """Return the reference of what stands in an inbox."""
        agent_id, _, operation_id = update_id.partition("\0")
        return cls(home, agent_id, operation_id)

    def __str__(self) -> str:
        return ":".join(quote(part, safe="") for part in self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Undo ``str``; raises InvalidInput."""
        parts = text.split(":") if isinstance(text, str) else []
        if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - as many as there are fields
            raise InvalidInput(
                f"{text!r:.80} is no id of a stored update: take it from PendingUpdate.id or dead_letters()"
            )
        return cls(*map(unquote, parts))


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of an update. New fields go to the end, with a default."""

    workflow_id: str
    """As it was given: for the messages of errors."""
    merge_strategy: str
    updates: bytes
    agent_type: str = ""
    agent_role: str | None = None
    groups: tuple[str, ...] = ()
    signature: str = ""
    """Of an app with signing keys, over the update's name too."""

    def signed(self, ref: UpdateRef) -> bytes:
        """Return what the signature is of."""
        whose = self.agent_type, self.agent_role, self.groups
        return _encode((*ref, self.workflow_id, self.merge_strategy, self.updates, whose))


UPDATE = "stored update"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Payload).decode


def packed(
    workflow_id: str,
    agent: Agent,
    updates: Mapping[str, Any],
    merge_strategy: str,
    ref: UpdateRef | None = None,
    signer: Signer | None = None,
) -> bytes:
    """Return an update as it is stored, signed in its name; raises NotSerializable."""
    plain = {key: _packed_put(value) if isinstance(value, Put) else [value] for key, value in updates.items()}
    payload = Payload(
        workflow_id, merge_strategy, codec.pack(plain), agent.agent_type, agent.agent_role, tuple(agent.groups)
    )
    if signer is not None and ref is not None:
        payload = msgspec.structs.replace(payload, signature=signer.sign(UPDATE, payload.signed(ref)))
    return _encode(payload)


def _packed_put(put: Put) -> list[Any]:
    given = {name: getattr(put, name) for name in OPTIONS if getattr(put, name) is not None}
    if "ttl" in given and not isinstance(given["ttl"], int | float):
        given["ttl"] = given["ttl"].total_seconds()
    return [put.value, given]


def unpacked(ref: UpdateRef, payload: bytes, signer: Signer | None) -> tuple[str, Agent, str, dict[str, Any]]:
    """Return workflow id, who makes it, merge strategy and updates.

    Raises RecordTooNew, DecryptionError, BadSignature.
    """
    stored = _kept(payload)
    if signer is not None:
        signer.verify(UPDATE, stored.signed(ref), stored.signature, aged=False)
    plain = codec.unpack(stored.updates)
    updates = {key: Put(parts[0], **parts[1]) if len(parts) > 1 else parts[0] for key, parts in plain.items()}
    agent = Agent(ref.agent_id, stored.agent_type, stored.agent_role, stored.groups)
    return stored.workflow_id, agent, stored.merge_strategy, updates


def key_of(payload: bytes) -> str:
    """Return by which key an update is signed; empty: by none. Raises DecryptionError, RecordDamaged."""
    return signing.key_of(_kept(payload).signature)


def _kept(payload: bytes) -> Payload:
    try:
        return _decode(opened(payload))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordDamaged(f"a stored update is damaged: {type(error).__name__}") from error


def packed_failure(error: CtxqueueError) -> bytes:
    """Return an error as the journal keeps it."""
    return _encode((type(error).__name__, str(error)))


def failure_of(packed_error: bytes) -> CtxqueueError:
    """Undo `packed_failure`; what else came with the error is lost, as over a result backend."""
    name, message = msgspec.msgpack.decode(opened(packed_error), type=tuple[str, str])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, CtxqueueError):
        return kind(message)
    return UpdateAbandoned(f"{name}: {message}")
