"""The store on a master that Sentinels watch: the plain store, whose connections ask them where the master is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from redis import exceptions as rx
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from ctxqueue.stores.redis import connection
from ctxqueue.stores.redis.addresses import SentinelAddress, sentinel_address
from ctxqueue.stores.redis.store import RedisStore

if TYPE_CHECKING:
    import redis


RESTED_SECONDS = 1.0
"""After so long without a call a connection may belong to a master that was replaced, and stands still."""


class MasterConnection(SentinelManagedConnection):
    """A connection that asks for the master each time it connects, and when it has rested."""

    _used = 0.0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Send; redis-py would go back to the address it had before, however often it tries."""
        now = time.monotonic()
        if self._sock is not None and now - self._used > RESTED_SECONDS and self._was_replaced():
            self.disconnect()
        if self._sock is None:
            self.connect_to(self.connection_pool.get_master_address())  # type: ignore[no-untyped-call]
        self._used = now
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    def _was_replaced(self) -> bool:
        """Whether the Sentinels know another master: to find that out from a stopped one takes a whole time-out."""
        try:
            address: tuple[str, int] = self.connection_pool.get_master_address()
        except rx.ConnectionError:  # the master may be well, although no Sentinel answers
            return False
        return address != (self.host, self.port)


class TlsMasterConnection(MasterConnection, SentinelManagedSSLConnection):
    """The same, by TLS."""


class Sentinels(Sentinel):
    """Knows who the master is."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's address; raises a ConnectionError of redis-py."""
        try:
            address: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            raise no_master(error, service_name) from None
        return address


class MasterPool(SentinelConnectionPool):
    """Connections to the master, and those to the Sentinels."""

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Close them; where the master only changed, those to the Sentinels stay."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.close()


class SentinelStore(RedisStore):
    """Carries out effects on the master, whoever that is. Thread-safe."""

    retries = connection.FAILOVER_RETRIES

    def _connections(self, url: str, policy: Retry, most: int) -> redis.ConnectionPool:
        address = sentinel_address(url)
        self.where = str(address)
        manager = Sentinels(list(address.sentinels), address.min_other_sentinels, sentinel_options(address))  # type: ignore[no-untyped-call]
        return MasterPool(  # type: ignore[no-untyped-call]
            address.master_name,
            manager,
            connection_class=TlsMasterConnection if address.tls else MasterConnection,
            max_connections=most,
            **master_options(address, policy),
        )


def no_master(error: Exception, name: str) -> rx.ConnectionError:
    """Return why none was found; redis-py's text names all options of the connections, some releases the password."""
    if "AuthenticationError" in str(error):
        return rx.AuthenticationError("a Sentinel wants sentinel_username and sentinel_password")
    return rx.ConnectionError(f"no Sentinel knows a master {name!r} that is up")


def sentinel_options(address: SentinelAddress) -> dict[str, Any]:
    """Return the options of connections to Sentinels: the next one is asked as soon as one does not answer."""
    return {
        "protocol": 2,
        "socket_timeout": connection.CONNECT_SECONDS,
        "socket_connect_timeout": connection.CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        **address.sentinel_options,
    }


def master_options(address: SentinelAddress, policy: Any) -> dict[str, Any]:
    """Return the options of connections to the master."""
    return {
        "db": address.db,
        "protocol": 2,
        "socket_timeout": connection.SOCKET_SECONDS,
        "socket_connect_timeout": connection.CONNECT_SECONDS,
        "retry": policy,
        **address.options,
    }
