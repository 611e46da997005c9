"""What the codecs of all effects have in common: a call of a script, and what many replies hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from ctxqueue import effects as fx
from ctxqueue.settings import MAX_RUN_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ctxqueue.stores.redis.keys import ShardKeys
    from ctxqueue.stores.redis.scripts import Script

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode

SENSITIVE_FLAG = 4
WAS_SENSITIVE_FLAG = 8

MAX_RUN_FIELDS = MAX_RUN_CALLS + 10
"""A run's record holds its calls, and ten other fields at most."""


class Sendable(Protocol):
    """What becomes a command of the server."""

    def words(self) -> tuple[str | bytes | int, ...]:
        """Return it as it is sent."""
        ...


class Request(NamedTuple):
    """One call of a script."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]

    def words(self) -> tuple[str | bytes | int, ...]:
        """Return it as a command of the server."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)


class Plain(NamedTuple):
    """A command of the server that is no call of a script."""

    command: tuple[str | bytes | int, ...]

    def words(self) -> tuple[str | bytes | int, ...]:
        """Return it as it is sent."""
        return self.command


class Codec(NamedTuple):
    """Both directions for one effect; more than one request goes as a pipeline."""

    encode: Callable[[str, Any], list[Request]]
    decode: Callable[[Any, list[Any]], Any]


def outgoing_of(flat: list[Any]) -> tuple[fx.Outgoing, ...]:
    """Return items from a flat list of ids and messages."""
    return tuple(fx.Outgoing(flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2))


def outbox_keys(keys: ShardKeys) -> tuple[str, str]:
    """Return the keys of a shard's outbox."""
    return keys.out, keys.msg


def number(_effect: fx.Effect[int], replies: list[Any]) -> int:
    """Return the reply as a number."""
    return int(replies[0])


def truth(_effect: fx.Effect[bool], replies: list[Any]) -> bool:
    """Whether the reply is 1."""
    is_one: bool = replies[0] == 1
    return is_one


def nothing(_effect: fx.Effect[None], _replies: list[Any]) -> None:
    """Return None, whatever the reply."""
    return
