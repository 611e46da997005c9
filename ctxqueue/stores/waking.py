"""How whoever waits is woken: by the store where it can, else it looks by itself, now and then."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two looks, at first and later."""


class Wake(Protocol):
    """Waits for one name to be called."""

    def wait(self, seconds: float, /) -> bool:
        """Return when it was called, or may have been, or after so many seconds, or fewer: then False."""
        ...


class AsyncWake(Protocol):
    """The same, awaited."""

    async def wait(self, seconds: float, /) -> bool:
        """Return when it was called, or may have been, or after so many seconds, or fewer: then False."""
        ...


class Looking:
    """For a database that calls nobody: each wait is short, and the next one longer."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._never = threading.Event()

    def pause(self, seconds: float) -> float:
        """Return how long to wait for the next look, at most so many seconds."""
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 1.5 * self._pause)
        return min(pause, seconds)

    def wait(self, seconds: float) -> bool:
        """Return after a while."""
        self._never.wait(self.pause(seconds))
        return False


class AsyncLooking(Looking):
    """The same for event loops."""

    async def wait(self, seconds: float) -> bool:  # type: ignore[override]
        """Return after a while."""
        await asyncio.sleep(self.pause(seconds))
        return False


class Callings:
    """Who waits in this process, and for which name."""

    def __init__(self) -> None:
        self._called: dict[str, list[Callable[[], object]]] = {}
        self._changing = threading.Lock()

    def call(self, name: str) -> None:
        """Wake who waits for a name, if anybody does."""
        if name in self._called:
            with self._changing:
                called = tuple(self._called.get(name, ()))
            for each in called:
                each()

    def call_all(self) -> None:
        """Wake all who wait."""
        for name in tuple(self._called):
            self.call(name)

    @contextmanager
    def listening(self, name: str) -> Iterator[Called]:
        """Wait for a name inside the block."""
        event = threading.Event()
        with self._entered(name, event.set):
            yield Called(event)

    @asynccontextmanager
    async def alistening(self, name: str) -> AsyncIterator[AsyncCalled]:
        """Wait for a name inside the block, in an event loop; it may be called by any thread."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():  # one that was given up in the middle of a wait
                loop.call_soon_threadsafe(event.set)

        with self._entered(name, wake):
            yield AsyncCalled(event)

    @contextmanager
    def _entered(self, name: str, wake: Callable[[], object]) -> Iterator[None]:
        with self._changing:
            self._called.setdefault(name, []).append(wake)
        try:
            yield
        finally:
            with self._changing:
                self._called[name].remove(wake)
                if not self._called[name]:
                    del self._called[name]


class Called:
    """Waits for a name of this process; see `Wake`."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def wait(self, seconds: float) -> bool:
        """Return when it was called or after so many seconds."""
        called = self._event.wait(seconds)
        self._event.clear()
        return called


class AsyncCalled:
    """The same, awaited."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> bool:
        """Return when it was called or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
