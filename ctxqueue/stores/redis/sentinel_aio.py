"""The Sentinel store for event loops: the plain async store, whose connections ask where the master is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis import exceptions as rx
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff

from ctxqueue.stores.redis.addresses import sentinel_address
from ctxqueue.stores.redis.aio import MOST_CONNECTIONS, AsyncRedisStore
from ctxqueue.stores.redis.connection import FAILOVER_RETRIES
from ctxqueue.stores.redis.sentinel import RESTED_SECONDS, master_options, no_master, sentinel_options

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool


class MasterConnection(SentinelManagedConnection):
    """A connection that asks for the master each time it connects, and when it has rested."""

    _used = 0.0

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
        """Send; redis-py would go back to the address it had before, however often it tries."""
        now = time.monotonic()
        if self.is_connected and now - self._used > RESTED_SECONDS and await self._was_replaced():
            await self.disconnect()
        if not self.is_connected:
            await self.connect_to(await self.connection_pool.get_master_address())  # type: ignore[no-untyped-call]
        self._used = now
        await super().send_packed_command(command, check_health)

    async def _was_replaced(self) -> bool:
        """Whether the Sentinels know another master: to find that out from a stopped one takes a whole time-out."""
        try:
            address: tuple[str, int] = await self.connection_pool.get_master_address()
        except rx.ConnectionError:  # the master may be well, although no Sentinel answers
            return False
        return address != (self.host, self.port)


class TlsMasterConnection(MasterConnection, SentinelManagedSSLConnection):
    """The same, by TLS."""


class Sentinels(Sentinel):
    """Knows who the master is."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's address; raises a ConnectionError of redis-py."""
        try:
            address: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError as error:
            raise no_master(error, service_name) from None
        return address


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master, and those to the Sentinels."""

    async def aclose(self) -> None:
        """Close them."""
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


class AsyncSentinelStore(AsyncRedisStore):
    """Carries out effects on the master, whoever that is; may be used from several loops."""

    retries = FAILOVER_RETRIES

    def _address(self) -> str:
        return str(sentinel_address(self._url))

    def _connections(self, policy: Retry, most: int = MOST_CONNECTIONS) -> ConnectionPool:
        address = sentinel_address(self._url)
        options = {**sentinel_options(address), "retry": Retry(NoBackoff(), 0)}
        return MasterPool(  # type: ignore[no-untyped-call]
            address.master_name,
            Sentinels(list(address.sentinels), address.min_other_sentinels, options),  # type: ignore[no-untyped-call]
            connection_class=TlsMasterConnection if address.tls else MasterConnection,
            max_connections=most,
            timeout=None,
            **master_options(address, policy),
        )
