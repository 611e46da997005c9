"""A wire that fails on demand: a TCP proxy on loopback before a Redis-compatible server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from ctxqueue.errors import ConfigurationError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Coroutine

HOST: Final = "127.0.0.1"
CALL_TIMEOUT: Final = 10.0
"""Seconds that a command to the proxy's thread may take."""
CHUNK: Final = 65_536
BACKLOG: Final = 100
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero."""


class FaultProxy:
    """Passes requests and replies on, from construction to ``close()``, until told to fail.

    ``upstream`` is the server's ``redis://`` URL; ``url`` is the same at the proxy's own port. What a method
    says holds when it returns. Requests are told apart by the protocol: a fault hits the same one each time.
    Raises ConfigurationError for a URL without host and port.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        if self._upstream.hostname is None or self._upstream.port is None:
            raise ConfigurationError(f"{upstream!r} names no host and port: a proxy needs redis://host:port/db")
        self.connections = 0
        """Accepted so far."""
        self.requests = 0
        """Passed to the server so far."""
        self.lost = 0
        """Replies lost so far."""
        self._to_lose, self._matching = 0, b""
        self._delay = 0.0
        self._flowing = asyncio.Event()
        self._served: set[asyncio.Task[None]] = set()
        self._servers: dict[asyncio.Task[None], StreamWriter] = {}
        """Connections to the server that are being closed, by what waits for that."""
        self._listener: socket.socket | None = None
        # Never listens: it holds the port while refuse() has nobody there.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind((HOST, 0))
        self.port: int = self._holder.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's URL, by way of the proxy."""
        login, at, _ = self._upstream.netloc.rpartition("@")
        return self._upstream._replace(netloc=f"{login}{at}{HOST}:{self.port}").geturl()

    def lose_replies(self, n: int = 1, *, matching: bytes = b"") -> None:
        """Have the next ``n`` requests that contain ``matching`` applied, but their replies lost.

        The request is passed on; once the server has answered it, the client's connection is reset. What else
        was under way on that connection is lost with it.
        """
        self._matching, self._to_lose = matching, n

    def delay(self, seconds: float) -> None:
        """Pass each request on that much later."""
        self._delay = seconds

    def hang(self) -> None:
        """Pass nothing on, in either direction. What is sent meanwhile arrives after ``resume()``."""
        self._call(self._hang())

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._call(self._refuse())

    def reset_all(self) -> None:
        """Reset every open connection."""
        self._call(self._reset_all())

    def resume(self) -> None:
        """Pass everything on again: no delay, hang, refusal or reply to lose is left."""
        self._to_lose, self._delay = 0, 0.0
        self._call(self._resume())

    def close(self) -> None:
        """Reset what is open, and end; a second call does nothing."""
        if self._loop.is_closed():
            return
        self.refuse()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT)
        self._loop.close()
        self._holder.close()

    def _call(self, command: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(command, self._loop).result(CALL_TIMEOUT)

    async def _hang(self) -> None:
        self._flowing.clear()

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _end(self) -> None:
        await self._reset_all()
        for server in self._servers.values():
            server.transport.abort()  # it may not read what is left for it
        if self._servers:
            await asyncio.wait(self._servers)

    async def _reset_all(self) -> None:
        served = set(self._served)
        for task in served:
            task.cancel()
        if served:
            await asyncio.wait(served)

    async def _resume(self) -> None:
        self._flowing.set()
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=BACKLOG, reuse_port=True)
            self._listener.settimeout(0)
            # Not asyncio.start_server(): one that is closed forgets a connection that it is just accepting.
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # whoever connected has gone again
            return
        connection.settimeout(0)
        self.connections += 1
        accepted = _Client(connection)
        task = self._loop.create_task(self._pass_on(accepted))
        self._served.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._served.discard(task)
            if task.cancelled():  # before it had begun
                accepted.reset()

        task.add_done_callback(ended)

    async def _pass_on(self, client: _Client) -> None:
        try:
            requests = await client.opened()
            await self._flowing.wait()
            replies, server = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
            answering = asyncio.create_task(self._pass_replies(replies, client))
            try:
                await self._pass_requests(requests, server, client)
                await answering
            finally:
                answering.cancel()
                server.close()
                closing = self._loop.create_task(_closed(server))
                self._servers[closing] = server
                closing.add_done_callback(self._servers.pop)
        except asyncio.CancelledError:
            client.reset()
        except OSError:
            pass  # the server is not there: the client finds its connection closed
        finally:
            client.close()

    async def _pass_requests(self, requests: StreamReader, server: StreamWriter, client: _Client) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while request := await _read_request(requests):
                await asyncio.sleep(self._delay)
                await self._flowing.wait()
                if self._to_lose and self._matching in request:
                    self._to_lose -= 1
                    # The server answers in order: once this comes back, the request has been answered.
                    client.last_reply = secrets.token_hex(8).encode()
                    request += b"*2\r\n$4\r\nPING\r\n$16\r\n%s\r\n" % client.last_reply
                self.requests += 1
                server.write(request)
                await server.drain()
                if client.last_reply:
                    return
        # The server reads what it was sent before it sees the end, also if the client has given up.
        server.write_eof()

    async def _pass_replies(self, replies: StreamReader, client: _Client) -> None:
        withheld = b""
        with contextlib.suppress(OSError):
            while chunk := await replies.read(CHUNK):
                if client.last_reply:
                    withheld += chunk
                    if client.last_reply in withheld:
                        self.lost += 1
                        client.reset()
                        return
                else:
                    await self._flowing.wait()
                    await client.write(chunk)
        client.close()


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writer: StreamWriter | None = None
        self.last_reply = b""
        """Once set, nothing more is passed to the client, and this in a reply ends its connection."""

    async def opened(self) -> StreamReader:
        """Return what reads its requests."""
        requests, self._writer = await asyncio.open_connection(sock=self._connection)
        return requests

    async def write(self, chunk: bytes) -> None:
        if self._writer is not None:
            self._writer.write(chunk)
            await self._writer.drain()

    def reset(self) -> None:
        with contextlib.suppress(OSError):  # closed already
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        if self._writer is not None:
            self._writer.transport.abort()
        else:
            self._connection.close()

    def close(self) -> None:
        (self._writer or self._connection).close()


async def _closed(server: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await server.wait_closed()


async def _read_request(requests: StreamReader) -> bytes:
    """Return one whole request as it came; nothing at the end."""
    parts = [await requests.readline()]
    if parts[0].startswith(b"*"):
        for _ in range(int(parts[0][1:])):
            length = await requests.readline()
            parts += length, await requests.readexactly(int(length[1:]) + 2)
    return b"".join(parts)
