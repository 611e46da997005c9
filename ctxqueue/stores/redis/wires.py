"""A pool that lends its connections at the price of a look at them.

redis-py's own counts, locks and reports each loan, which takes longer than to pack, send and read a command.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

import redis
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import TimeoutError as NotInTime

TELLS_OF_MOVES = hasattr(redis.Connection, "should_reconnect")
"""Whether a connection may know that its server is about to move; redis-py 6.4, which kombu 5.6 takes, has none."""


class Wires(redis.ConnectionPool):
    """A connection that comes back rests here, as one that is lent, and goes out again as it is.

    What it was made for, how many there may be, and what becomes of them in a forked process, is the pool's as ever.
    """

    _resting: deque[Any]

    def reset(self) -> None:
        """Begin anew, as a forked process does: its parent's connections are not its own."""
        self._resting = deque()
        super().reset()

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:  # noqa: ARG002 - redis-py's
        """Return a connection that has nothing to read; raises ConnectionError, TimeoutError."""
        if self.pid == os.getpid():
            try:
                wire = self._resting.pop()
            except IndexError:
                pass
            else:
                return self._looked_at(wire)
        return super().get_connection()

    def _looked_at(self, wire: Any) -> Any:
        try:
            try:
                is_clean = not wire.can_read()  # what can be read is the end of it, or was not read by who had it
            except (NotConnected, NotInTime, OSError):
                is_clean = False
            if not is_clean:
                wire.disconnect()
                wire.connect()
        except BaseException:  # raised again: a soft time limit too must not keep the connection
            super().release(wire)
            raise
        return wire

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        if connection.pid == self.pid == os.getpid() and not (TELLS_OF_MOVES and connection.should_reconnect()):
            self._resting.append(connection)
        else:
            super().release(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 - as redis-py has it
        """Close the connections, those that are lent only if so told."""
        while self._resting:
            try:
                super().release(self._resting.pop())
            except IndexError:  # another thread was faster
                break
        super().disconnect(inuse_connections)
