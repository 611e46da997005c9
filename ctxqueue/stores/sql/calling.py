"""Being called by PostgreSQL: one connection of a process listens, and whoever waits in it is woken by what it hears.

A call goes out behind the transaction that gives cause for it: within, it would let the transactions that call end one
after another only, over the whole database. It may so be lost, with its process or with this connection: whoever waits
looks all the same, now and then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from ctxqueue.stores.sql import connecting
from ctxqueue.stores.sql.pipelining import together
from ctxqueue.stores.waking import Callings, Looking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from sqlalchemy import URL, Connection

    from ctxqueue.stores.waking import AsyncCalled, AsyncWake, Called, Wake

logger = logging.getLogger(__name__)

CHANNEL = "ctxqueue"
LOOK_SECONDS = 2.0
"""Whoever is not called for so long looks."""
FIRST_SECONDS = 2.0
"""So long a wait waits for the connection; without it one looks more often."""
IDLE_SECONDS = 30.0
"""After so long without anybody who waits the connection is closed."""
AGAIN_SECONDS = 0.5
"""Until it is tried again where there was none."""
LOSING_LITTLE = text("SET LOCAL synchronous_commit = off")
"""A call is worth nothing after a crash: nobody waits for it to be on disk."""


def call(connection: Connection, names: Sequence[str]) -> None:
    """Wake who waits by some names, over a connection whose transaction has ended. What fails is logged."""
    try:
        with together(connection):
            connection.execute(LOSING_LITTLE)
            for name in names:
                connection.execute(select(func.pg_notify(CHANNEL, name)))
            connection.commit()
    except SQLAlchemyError as error:
        # What was committed stands, and must not look as if it did not: they look by themselves.
        logger.warning("callers that wait are not woken, and look in %s s at most: %s", LOOK_SECONDS, error)


class Listener:
    """What hears the calls for one process, as long as somebody waits. Thread-safe."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._anew()

    def _anew(self) -> None:
        self._process = os.getpid()
        self._changing = threading.Lock()
        self._callings = Callings()
        self._ears: _Ears | None = None

    @contextmanager
    def listening(self, name: str) -> Iterator[Wake]:
        """Wait for a name inside the block."""
        with self._entered() as ears, self._callings.listening(name) as called:
            ears.hears.wait(FIRST_SECONDS)
            yield _Wake(called, ears)

    @asynccontextmanager
    async def alistening(self, name: str) -> AsyncIterator[AsyncWake]:
        """Wait for a name inside the block, in an event loop."""
        with self._entered() as ears:
            async with self._callings.alistening(name) as called:
                if not ears.hears.is_set():
                    await asyncio.to_thread(ears.hears.wait, FIRST_SECONDS)
                yield _AsyncWake(called, ears)

    @contextmanager
    def _entered(self) -> Iterator[_Ears]:
        if self._process != os.getpid():  # the thread has stayed in the parent
            self._anew()
        with self._changing:
            if self._ears is None or not self._ears.enter():
                self._ears = _Ears(self._url, self._callings)
                self._ears.start()
            ears = self._ears
        try:
            yield ears
        finally:
            ears.leave()

    def close(self) -> None:
        """Close the connection, unless somebody waits: then it is closed a while after nobody does."""
        if self._process != os.getpid():
            return
        with self._changing:
            ears, self._ears = self._ears, None
        if ears is not None and ears.let_go():
            ears.join()


class _Ears(threading.Thread):
    """The thread with the connection."""

    def __init__(self, url: URL, callings: Callings) -> None:
        super().__init__(name="ctxqueue-calls", daemon=True)
        self._engine = connecting.blocking_engine(url, once=True)
        self._callings = callings
        self._changing = threading.Lock()
        self._waiting, self._left = 1, 0.0
        self._is_over = self._was_away = False
        self._mine, self._theirs = socket.socketpair()
        self.hears = threading.Event()
        """Whether what is called now is heard."""

    def enter(self) -> bool:
        """Count one more who waits; False if it is over."""
        with self._changing:
            self._waiting += not self._is_over
            return not self._is_over

    def leave(self) -> None:
        """Count one fewer."""
        with self._changing:
            self._waiting -= 1
            self._left = time.monotonic()

    def let_go(self) -> bool:
        """End it unless somebody waits; return whether it ends."""
        with self._changing:
            self._is_over = not self._waiting
            if self._is_over:
                self._theirs.send(b"\0")
            return self._is_over

    def _is_wanted(self) -> bool:
        with self._changing:
            idle = not self._waiting and time.monotonic() - self._left > IDLE_SECONDS
            self._is_over = self._is_over or idle
            return not self._is_over

    def run(self) -> None:
        """Hear, and call who waits, until it is over."""
        import psycopg  # noqa: PLC0415 - an extra

        with self._mine, self._theirs:
            while self._is_wanted():
                try:
                    self._hear()
                except (SQLAlchemyError, psycopg.Error, OSError) as error:
                    logger.info("calls are not heard for a moment, and those who wait look: %s", type(error).__name__)
                    self._was_away = True
                    self._pause(AGAIN_SECONDS)
                finally:
                    self.hears.clear()
        self._engine.dispose()

    def _hear(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
            driver: Any = connection.connection.driver_connection
            self.hears.set()
            if self._was_away:
                self._callings.call_all()  # they may have been called meanwhile
            try:
                while self._is_wanted():
                    self._pause(IDLE_SECONDS, driver)
                    for heard in driver.notifies(timeout=0):
                        self._callings.call(heard.payload)
            finally:
                with suppress(SQLAlchemyError):  # one that is lost is not to be closed in order
                    connection.invalidate()

    def _pause(self, seconds: float, driver: Any = None) -> None:
        """Return when there is something to be read, or it is over, or after so many seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._mine, selectors.EVENT_READ)
            if driver is not None:
                selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.select(seconds)


class _Wake:
    """See `ctxqueue.stores.waking.Wake`."""

    def __init__(self, called: Called, ears: _Ears) -> None:
        self._called = called
        self._ears = ears
        self._looking = Looking()

    def wait(self, seconds: float) -> bool:
        """Return when it was called or may have been, or when it is time to look."""
        return self._called.wait(_until_a_look(self._ears, self._looking, seconds))


class _AsyncWake:
    """The same, awaited."""

    def __init__(self, called: AsyncCalled, ears: _Ears) -> None:
        self._called = called
        self._ears = ears
        self._looking = Looking()

    async def wait(self, seconds: float) -> bool:
        """Return when it was called or may have been, or when it is time to look."""
        return await self._called.wait(_until_a_look(self._ears, self._looking, seconds))


def _until_a_look(ears: _Ears, looking: Looking, seconds: float) -> float:
    return min(seconds, LOOK_SECONDS) if ears.hears.is_set() else looking.pause(seconds)
