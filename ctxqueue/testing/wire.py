"""A few words with a Redis-compatible server, without a client library: how the testing tools set servers up."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from io import BufferedReader

ANSWER_TIMEOUT: Final = 10.0
"""Seconds."""


def encoded(*words: str | bytes | int) -> bytes:
    """Return one command as it goes over the wire."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def ask(port: int, *words: str | bytes | int, password: str | None = None, timeout: float = ANSWER_TIMEOUT) -> Any:
    """Send one command to the server at a port of loopback and return its reply: str, int, None or a list.

    Raises ConfigurationError for a reply that is an error, OSError for none within ``timeout`` seconds.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as connection, connection.makefile("rb") as replies:
        if password is not None:
            connection.sendall(encoded("AUTH", password))
            _reply(replies, "AUTH")
        connection.sendall(encoded(*words))
        return _reply(replies, str(words[0]))


def _reply(replies: BufferedReader, command: str) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError(f"the server hung up on {command}")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise ConfigurationError(f"the server refuses {command}: {rest.decode(errors='replace')}")
    if kind == b":":
        return int(rest)
    if kind == b"$":
        size = int(rest)
        return None if size < 0 else replies.read(size + 2)[:-2].decode(errors="surrogateescape")
    if kind == b"*":
        return None if int(rest) < 0 else [_reply(replies, command) for _ in range(int(rest))]
    return rest.decode()
