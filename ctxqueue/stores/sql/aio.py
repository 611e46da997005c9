"""The SQL store for event loops: the same functions of a connection, through SQLAlchemy's async engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy.exc import SQLAlchemyError

from ctxqueue.effects import Batch, Commit
from ctxqueue.stores.namespaces import checked_namespace
from ctxqueue.stores.sql import calling, connecting, errors, upgrading
from ctxqueue.stores.sql.handlers import looks_at_one_moment, looks_once
from ctxqueue.stores.sql.hopeful import Contended, GivenUp
from ctxqueue.stores.sql.store import committed, has_moved, hoped, looked
from ctxqueue.stores.sql.writing import Statements
from ctxqueue.stores.waking import AsyncLooking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import URL

    from ctxqueue.effects import Effect
    from ctxqueue.stores.waking import AsyncWake

T = TypeVar("T")


class Opened:
    """What one event loop has: its connections, and where it has one writer at a time the lock for that."""

    def __init__(self, url: URL) -> None:
        self.engine = engine = connecting.async_engine(url)
        self.once = connecting.async_engine(url, once=True)
        self.moment = engine.execution_options(**connecting.looking_at_one_moment(engine.sync_engine))
        self.postgres = engine.dialect.name == "postgresql"
        self.contended = Contended()
        self.writing: contextlib.AbstractAsyncContextManager[object] = (
            contextlib.nullcontext() if self.postgres else asyncio.Lock()
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self.engine.dispose()
        await self.once.dispose()


class AsyncSqlStore:
    """Carries out effects without blocking the event loop; may be used from several loops."""

    shards = range(1)

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._url = connecting.checked_url(url)
        self.may_index = self._postgres = self._url.get_backend_name() == "postgresql"
        self._listener = calling.Listener(self._url)
        self.where = connecting.address_of(self._url)
        self._statements = Statements(self._url.get_backend_name())
        connecting.async_engine(self._url)  # a driver that is missing is told of now
        # Connections belong to the loop they were opened in.
        self._opened: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[Opened]] = WeakKeyDictionary()

    async def verify(self) -> None:
        """Connect and check the schema; an empty database gets ours. Raises StoreError."""
        await self._here()

    async def _here(self) -> Opened:
        """Return what this loop has; whoever comes first opens and checks it, the others wait."""
        loop = asyncio.get_running_loop()
        opening = self._opened.get(loop)
        if opening is None or (opening.done() and (opening.cancelled() or opening.exception())):
            for ended in [each for each in self._opened if each.is_closed()]:
                del self._opened[ended]
            opening = self._opened[loop] = asyncio.ensure_future(self._open())
        return await asyncio.shield(opening)

    async def _open(self) -> Opened:
        opened = Opened(self._url)

        async def check() -> None:
            async with opened.engine.begin() as connection:
                await connection.run_sync(upgrading.check_connection, self.where)

        try:
            await self._trying(check, errors.FIRST_CONTACT_TRIES)
        except BaseException:  # raised on: nobody has this engine to close it by
            await opened.close()
            raise
        return opened

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if isinstance(effect, Batch):
            return cast("T", tuple([await self.perform(each) for each in effect.effects]))
        opened = await self._here()
        engine = opened.once if looks_once(effect) else opened.moment if looks_at_one_moment(effect) else None

        async def attempt() -> T:
            if engine is not None:
                async with engine.connect() as connection:
                    return await connection.run_sync(looked, self.namespace, self._statements, effect)
            if isinstance(effect, Commit) and opened.postgres and opened.contended.hopeful(effect):
                try:
                    async with opened.once.connect() as connection:
                        return cast("T", await connection.run_sync(hoped, self.namespace, self._statements, effect))
                except GivenUp as given_up:
                    if given_up.overtaken:
                        opened.contended.note(effect.workflow_id)
            async with opened.writing, opened.engine.connect() as connection:
                return await connection.run_sync(committed, self.namespace, self._statements, effect)

        return await self._trying(attempt)

    async def _trying(self, attempt: Callable[[], Awaitable[T]], most: int = errors.TRIES) -> T:
        begun = time.monotonic()
        for tries in range(most):
            try:
                return await attempt()
            except SQLAlchemyError as error:
                tired = tries == most - 1 or time.monotonic() - begun > errors.PATIENCE
                if tired or not errors.is_passing(error):
                    raise errors.our_error(error, self.where) from error
            await asyncio.sleep(errors.pause(tries))
        raise AssertionError("the last try returns or raises")

    def listening(self, channel: str) -> AbstractAsyncContextManager[AsyncWake]:
        """Return a block in which one can wait: to be called, or on SQLite, which calls nobody, by looking."""
        return self._listener.alistening(channel) if self._postgres else contextlib.nullcontext(AsyncLooking())

    async def follow(self, workflow_id: str, revision: int, seconds: float) -> None:
        """Return when a workflow may have gone beyond a revision, or after so many seconds."""
        opened = await self._here()

        async def look() -> bool:
            async with opened.once.connect() as connection:
                return await connection.run_sync(has_moved, self.namespace, workflow_id, revision)

        wake, ends = AsyncLooking(), time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            await wake.wait(left)
            if await self._trying(look):
                return

    def shard_of(self, _workflow_id: str) -> int:
        """Return the only shard."""
        return 0

    async def close(self) -> None:
        """Close this loop's connections; the next effect opens new ones."""
        await asyncio.to_thread(self._listener.close)
        opening = self._opened.pop(asyncio.get_running_loop(), None)
        if opening is None:
            return
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:  # whoever made first contact was told of it
            await opening.result().close()
