"""A wire to a database: bytes are passed on until one request is answered whose reply is to be lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

CHUNK = 65_536


class Wire:
    """Passes on what comes, each connection by two threads. ``url`` is the way through it."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._matching = self._answer = b""
        self.lost = 0
        """Replies lost so far."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        login, at, _ = self._upstream.netloc.rpartition("@")
        return self._upstream._replace(netloc=f"{login}{at}127.0.0.1:{self.port}").geturl()

    def lose_reply(self, matching: bytes, answer: bytes) -> None:
        """Have the next request that contains ``matching`` carried out and its reply lost, with the connection.

        The server has carried it out once what it sends contains ``answer``.
        """
        with self._lock:
            self._matching, self._answer = matching, answer

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._upstream.hostname, self._upstream.port))
                doomed = threading.Event()
                for source, target, requests in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(source, target, doomed, requests), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, doomed: threading.Event, requests: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                if requests:
                    with self._lock:
                        if self._matching and self._matching in chunk:
                            self._matching = b""
                            doomed.set()
                elif doomed.is_set():
                    if self._answer in chunk:
                        self.lost += 1
                        break
                    continue
                target.sendall(chunk)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
