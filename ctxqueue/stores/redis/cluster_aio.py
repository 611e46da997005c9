"""The cluster store for event loops: the same routing over redis-py's async cluster client, one client a loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from ctxqueue.stores.redis import connection
from ctxqueue.stores.redis.addresses import cluster_address
from ctxqueue.stores.redis.aio import MOST_CONNECTIONS, MOST_WAITS, AsyncRedisStore
from ctxqueue.stores.redis.checks import translated
from ctxqueue.stores.redis.cluster import client_options, contact_error, is_in_order
from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.stores.redis.routing import Command, Pause, Refresh, Send, first_contact, routed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from redis.asyncio import Redis

    from ctxqueue.effects import Effect
    from ctxqueue.stores.redis.routing import Step, Words

T = TypeVar("T")

FOR_THE_MAP = 10
"""Connections to a node beside those of calls: the client reads the map of slots by itself."""


class _Client(NamedTuple):
    """One loop's connections, and the places in their queue."""

    cluster: RedisCluster
    places: asyncio.Semaphore

    async def aclose(self) -> None:
        await self.cluster.aclose()

    async def run(self, steps: Generator[Step, Any, T]) -> T:
        try:
            step = next(steps)
            while True:
                reply = None
                if isinstance(step, Send):
                    reply = await asyncio.gather(*(self._sent(node, commands) for node, commands in step.batches))
                elif isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                elif isinstance(step, Refresh):
                    await self._refresh()
                step = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _sent(self, node: ClusterNode, commands: list[Words]) -> list[Any]:
        """Return a reply or an error for each command; they go to one node, on one connection."""
        try:
            async with self.places:  # the client does not wait for a free connection, but fails
                if len(commands) == 1:
                    return [await node.execute_command(*commands[0])]
                pipeline = [PipelineCommand(number, *command) for number, command in enumerate(commands)]
                await node.execute_pipeline(pipeline)
            return [command.result for command in pipeline]
        except RedisError as error:
            return [error] * len(commands)

    async def _refresh(self) -> None:
        """Read the map of slots anew. Where that fails the old one stays, and the next command fails as the last."""
        try:
            await self.cluster.nodes_manager.initialize()
        except (RedisClusterException, RedisError):
            return


class AsyncRedisClusterStore(AsyncRedisStore):
    """Carries out effects on a Redis Cluster without blocking the event loop; may be used from several loops."""

    retries = connection.FAILOVER_RETRIES
    wait_replicas: Any = None

    def _address(self) -> str:
        return str(cluster_address(self._url))

    async def _opened(self) -> _Client:
        address = cluster_address(self._url)
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
            max_connections=MOST_CONNECTIONS + FOR_THE_MAP,
            ssl=address.tls,
            **client_options(address.options),
        )
        client = _Client(cluster, asyncio.Semaphore(MOST_CONNECTIONS))
        try:
            await self._meet(client)
        except BaseException:  # raised on: nobody has this client to close it by
            await client.aclose()
            raise
        return client

    async def _meet(self, client: _Client) -> None:
        try:
            with translated(self.where):
                await client.cluster.initialize()
                await client.run(first_contact(client.cluster, self.namespace, connection.FIRST_CONTACT_RETRIES))
        except RedisClusterException as error:
            raise contact_error(error, self.where) from error

    async def perform(self, effect: Effect[T]) -> T:
        """Carry out one effect; raises StoreError."""
        if is_in_order(effect):
            return cast("T", tuple([await self.perform(each) for each in effect.effects]))
        return await super().perform(effect)

    def _for_waits(self, client: _Client, workflow_id: str = "") -> Redis:
        # What is published at one node is heard at all.
        at = workflow_keys(self.namespace, workflow_id).l if workflow_id else None
        node = client.cluster.get_node_from_key(at) if at else client.cluster.get_random_node()
        if node is None:
            raise RedisClusterException(f"nobody serves the slot of workflow {workflow_id!r}")
        return self._kept(node.name, lambda: self._connections_to(node))

    def _connections_to(self, node: ClusterNode) -> ConnectionPool:
        address = cluster_address(self._url)
        options = client_options(address.options)
        options.pop("require_full_coverage")
        kind = SSLConnection if address.tls else Connection
        return ConnectionPool(kind, max_connections=MOST_WAITS, host=node.host, port=int(node.port), **options)

    async def _replies(self, client: _Client, requests: Sequence[Any]) -> list[Any]:
        commands = [Command.of(request) for request in requests]
        return await client.run(routed(client.cluster, commands, self.retries))
